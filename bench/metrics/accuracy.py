"""Accuracy."""

from __future__ import annotations

import numpy as np

from bench.metrics.base import MULTI, SINGLE, Metric, Truth, metric


@metric("accuracy")
class Accuracy(Metric):
    """Share of examples that are right; of several labels an example, with every label right (subset accuracy)."""

    kinds = (SINGLE, MULTI)
    bounded = True

    def score(self, truth: Truth) -> float:
        """Return the share of right examples, a fraction."""
        right = truth.predicted == truth.targets
        return float(np.mean(right if right.ndim == 1 else right.all(axis=1)))
