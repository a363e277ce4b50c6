"""Balanced accuracy."""

from __future__ import annotations

import numpy as np

from bench.metrics.base import SINGLE, OverClasses, Truth, metric


@metric("balanced-accuracy")
class BalancedAccuracy(OverClasses):
    """Mean recall over the classes that occur, so that a rare class counts as much as a frequent one."""

    kinds = (SINGLE,)
    bounded = True
    label = "balanced accuracy"

    def per_class(self, truth: Truth) -> np.ndarray:
        """Return the recall of each class; NaN where the class has no example."""
        of_class, right = truth.columns, truth.predicted == truth.targets
        number = of_class.sum(axis=0)
        return np.where(number > 0, (of_class & right[:, None]).sum(axis=0) / np.maximum(number, 1), np.nan)
