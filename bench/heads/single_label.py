"""One class an example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import DataError
from bench.heads.base import SINGLE_LABEL, Head, head

if TYPE_CHECKING:
    from torch import Tensor


@head(SINGLE_LABEL)
class SingleLabel(Head):
    """Targets are indices into the classes, int64 of shape (N,); outputs are logits, the loss cross-entropy."""

    metric = "accuracy"
    convex = True

    def targets(self, y: Any, classes: Sequence[str], where: str) -> np.ndarray:
        """Return labels as int64, each the place of one of two or more classes."""
        y = np.asarray(y)
        if y.ndim != 1:
            raise DataError(f"{where}: labels must be one-dimensional, got shape {y.shape}")
        whole = np.issubdtype(y.dtype, np.integer) or (y.dtype.kind in "fb" and np.array_equal(y, np.round(y)))
        if not whole:
            raise DataError(f"{where}: labels must be integers, got {y.dtype}")
        if len(classes) < 2:
            raise DataError(f"{where}: a task needs at least two classes, got {list(classes)}")
        y = y.astype(np.int64)
        if y.size and (y.min() < 0 or y.max() >= len(classes)):
            bad, last = int(y.min()) if y.min() < 0 else int(y.max()), len(classes) - 1
            raise DataError(f"{where}: label {bad} is outside the {last + 1} classes (0 to {last})")
        return y

    def strata(self, y: np.ndarray) -> np.ndarray:
        """Return the labels."""
        return y

    def outputs(self, classes: Sequence[str]) -> int:
        """Return the number of classes."""
        return len(classes)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return cross-entropies, nats."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return mean cross-entropies, nats."""
        from torch.nn.functional import cross_entropy

        if len(outputs) == 1:  # torch's own mean, which sums in another order
            return cross_entropy(outputs[0], targets[0]).unsqueeze(0)
        return self.losses(outputs, targets).mean(1)

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the classes with the largest logits, int64 of shape (lanes, N)."""
        return outputs.argmax(2)

    def scores(self, outputs: Tensor) -> Tensor:
        """Return log-probabilities, shape (lanes, N, K)."""
        return outputs.log_softmax(2)

    def constant_loss(self, targets: Tensor) -> float:
        """Return the entropy of the classes' shares, nats: log K where they are balanced."""
        import torch

        shares = torch.bincount(targets).double() / len(targets)
        return float(torch.special.entr(shares).sum())
