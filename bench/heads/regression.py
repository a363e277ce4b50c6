"""Numbers as targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import DataError
from bench.heads.base import Head, head

if TYPE_CHECKING:
    from torch import Tensor

BINS = 5  # of the targets' range, by equal counts, that splits are stratified by


@head("regression")
class Regression(Head):
    """Targets are floats of shape (N, D), D named values; the loss is half the squared error, the mean over values.

    A model is trained on targets less their mean, in units of their standard deviation, both of its own
    training examples; predictions are in the targets' own units.
    """

    metric = "r2"
    convex = True

    def targets(self, y: Any, classes: Sequence[str], where: str) -> np.ndarray:
        """Return targets as float64, shape (N, D)."""
        y = np.asarray(y)
        if y.dtype.kind not in "fiub":
            raise DataError(f"{where}: targets of a regression must be numbers, got {y.dtype}")
        if not classes:
            raise DataError(f"{where}: a regression needs the name of a value at least")
        y = y.astype(np.float64)
        y = y[:, None] if y.ndim == 1 else y
        if y.ndim != 2 or y.shape[1] != len(classes):
            raise DataError(f"{where}: targets must have shape (N, {len(classes)}), a column a value, got {y.shape}")
        if not np.isfinite(y).all():
            row, column = np.argwhere(~np.isfinite(y))[0]
            raise DataError(f"{where}: example {row}, {classes[column]!r}: {y[row, column]} is no finite number")
        return y

    def strata(self, y: np.ndarray) -> np.ndarray:
        """Return in which of some bins of equal counts an example's first value lies."""
        rank = np.argsort(np.argsort(y[:, 0], kind="stable"), kind="stable")
        return (rank * BINS // len(y)).astype(np.int64)

    def outputs(self, classes: Sequence[str]) -> int:
        """Return the number of values."""
        return len(classes)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return half the squared errors, the mean over values."""
        return 0.5 * (outputs - targets.to(outputs.dtype)).square().mean(2)

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the outputs."""
        return outputs

    def constant_loss(self, targets: Tensor) -> float:
        """Return half the targets' variance, the mean over values."""
        return float(0.5 * targets.double().var(0, correction=0).mean())

    def scale(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation, each of shape (D,); the unit of a constant is 1."""
        spread = targets.double().std(0, correction=0)
        return targets.double().mean(0), spread.where(spread > 0, spread.new_ones(()))
