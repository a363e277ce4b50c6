"""Mean average precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.metrics.base import MULTI, OverClasses, Truth, metric


@metric("mean-average-precision")
class MeanAveragePrecision(OverClasses):
    """Mean over the labels that occur of average precision, the area under precision against recall in steps."""

    kinds = (MULTI,)
    bounded = True
    label = "mean average precision"

    def undefined(self, targets: np.ndarray, classes: Sequence[str]) -> str | None:
        """Say where no label occurs."""
        return None if np.any(targets) else "no test example has any label"

    def per_class(self, truth: Truth) -> np.ndarray:
        """Return the average precision of each label; NaN where it has no example."""
        from sklearn.metrics import average_precision_score

        values = np.full(truth.targets.shape[1], np.nan)
        if truth.finite:
            for k in np.nonzero(truth.targets.any(axis=0))[0]:
                values[k] = average_precision_score(truth.targets[:, k], truth.scores[:, k])
        return values
