"""Coefficient of determination."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.metrics.base import REGRESSION, OverClasses, Truth, columns_of, metric


@metric("r2")
class R2(OverClasses):
    """Coefficient of determination: 1 less the share of the variance that is left; of several values, their mean."""

    kinds = (REGRESSION,)
    bounded = False  # from below
    unit = "R2"
    label = "R2"

    def undefined(self, targets: np.ndarray, classes: Sequence[str]) -> str | None:
        """Say where a value is the same for every test example."""
        columns = columns_of(targets, classes)
        if len(columns) < 2:
            return f"it needs two test examples, there are {len(columns)}"
        for name, constant in zip(classes, np.ptp(columns, axis=0) == 0, strict=False):
            if constant:
                return f'"{name}" is the same for every test example'
        return None

    def per_class(self, truth: Truth) -> np.ndarray:
        """Return that of each regressed value."""
        from sklearn.metrics import r2_score

        if not truth.finite or self.undefined(truth.targets, truth.classes):
            return np.full(truth.columns.shape[1], np.nan)
        return r2_score(truth.columns, truth.predicted_columns, multioutput="raw_values")
