"""No targets: for a source whose model is trained without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import BenchError
from bench.heads.base import Head, head

if TYPE_CHECKING:
    from torch import Tensor


@head("unlabelled")
class Unlabelled(Head):
    """Targets are zeros that mean nothing; only a method with a loss of its own can train on them."""

    metric = ""
    has_loss = False

    def targets(self, y: Any, classes: Sequence[str], where: str) -> np.ndarray:
        """Return zeros."""
        return np.zeros(len(y), np.int64)

    def strata(self, y: np.ndarray) -> np.ndarray:
        """Return zeros: nothing to stratify by."""
        return np.zeros(len(y), np.int64)

    def outputs(self, classes: Sequence[str]) -> int:
        """Return 1: a head that nothing reads, so that networks have one shape."""
        return 1

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Refuse: there is nothing to compare with."""
        raise BenchError("the data have no labels: train on them with a method that has a loss of its own")

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the outputs."""
        return outputs

    def constant_loss(self, targets: Tensor) -> float:
        """Return NaN: there is no prediction."""
        return float("nan")
