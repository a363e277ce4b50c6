"""Any number of labels an example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import DataError
from bench.heads.base import Head, head

if TYPE_CHECKING:
    from torch import Tensor


@head("multi-label")
class MultiLabel(Head):
    """Targets are bools of shape (N, K), a column a label; outputs are logits, the loss binary cross-entropy."""

    metric = "mean-average-precision"
    convex = True

    def targets(self, y: Any, classes: Sequence[str], where: str) -> np.ndarray:
        """Return targets as bools."""
        y = np.asarray(y)
        if not classes:
            raise DataError(f"{where}: a multi-label task needs the name of a label at least")
        if y.dtype.kind not in "buif":
            raise DataError(f"{where}: targets of a multi-label task must be 0 or 1, got {y.dtype}")
        if y.ndim != 2 or y.shape[1] != len(classes):
            raise DataError(f"{where}: targets must have shape (N, {len(classes)}), a column a label, got {y.shape}")
        if not np.isin(y, (0, 1)).all():
            row, column = np.argwhere(~np.isin(y, (0, 1)))[0]
            raise DataError(f"{where}: example {row}, label {classes[column]!r}: {y[row, column]} is neither 0 nor 1")
        return y.astype(bool)

    def strata(self, y: np.ndarray) -> np.ndarray:
        """Return each example's rarest label (K where it has none)."""
        rare = np.argsort(np.argsort(y.sum(0), kind="stable"), kind="stable")
        ranked = np.where(y, rare, y.shape[1])
        return ranked.min(1).astype(np.int64)

    def outputs(self, classes: Sequence[str]) -> int:
        """Return the number of labels."""
        return len(classes)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return binary cross-entropies, the mean over labels, nats."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        return binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype), reduction="none").mean(2)

    def predict(self, outputs: Tensor) -> Tensor:
        """Return which labels are more probable than not, bools of shape (lanes, N, K)."""
        return outputs > 0

    def scores(self, outputs: Tensor) -> Tensor:
        """Return log-probabilities of the labels, shape (lanes, N, K)."""
        from torch.nn.functional import logsigmoid

        return logsigmoid(outputs)

    def constant_loss(self, targets: Tensor) -> float:
        """Return the mean entropy of the labels' shares, nats."""
        import torch

        shares = targets.double().mean(0)
        return float((torch.special.entr(shares) + torch.special.entr(1 - shares)).mean())
