"""Mean absolute error."""

from __future__ import annotations

import numpy as np

from bench.metrics.base import REGRESSION, OverClasses, Truth, metric


@metric("mae")
class MAE(OverClasses):
    """Minus the mean absolute error, in the target's unit; of several values, the mean of theirs."""

    kinds = (REGRESSION,)
    bounded = False
    unit = ""
    label = "minus MAE"

    def per_class(self, truth: Truth) -> np.ndarray:
        """Return that of each regressed value."""
        from sklearn.metrics import mean_absolute_error

        if not truth.finite:
            return np.full(truth.columns.shape[1], np.nan)
        return -mean_absolute_error(truth.columns, truth.predicted_columns, multioutput="raw_values")
