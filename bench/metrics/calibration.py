"""Expected calibration error."""

from __future__ import annotations

import numpy as np

from bench.metrics.base import SINGLE, Metric, Truth, metric

BINS = 15


@metric("expected-calibration-error")
class CalibrationError(Metric):
    """Minus the mean of |accuracy - confidence| over 15 equally wide bins of confidence (Guo et al., ICML 2017)."""

    kinds = (SINGLE,)
    bounded = True
    label = "minus calibration error"

    def score(self, truth: Truth) -> float:
        """Return minus the mean over examples of their bin's |accuracy - confidence|, from -1 to 0."""
        if not truth.finite:
            return np.nan
        confidence = np.exp(np.asarray(truth.scores, dtype=np.float64)).max(axis=1)
        right = truth.predicted == truth.targets
        # Bins are open below, as in the paper: (0, 1/15], (1/15, 2/15], ...
        bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
        off = np.bincount(bins, weights=right - confidence, minlength=BINS)
        return -float(np.abs(off).sum() / len(right))
