"""Log loss."""

from __future__ import annotations

import numpy as np

from bench.metrics.base import MULTI, SINGLE, Metric, Truth, metric


@metric("log-loss")
class LogLoss(Metric):
    """Mean log probability of what is true (minus the cross-entropy), nats; of several labels, the mean over them."""

    kinds = (SINGLE, MULTI)
    bounded = False
    unit = "nats"
    label = "minus log loss"

    def score(self, truth: Truth) -> float:
        """Return minus the mean loss, at most 0."""
        if not truth.finite:
            return np.nan
        if truth.targets.ndim == 1:
            return float(np.mean(truth.scores[np.arange(len(truth.targets)), truth.targets], dtype=np.float64))
        return float(np.mean(_by_label(truth)))

    def per_class(self, truth: Truth) -> np.ndarray | None:
        """Return minus the loss of each label; one class has no loss of its own."""
        return None if truth.targets.ndim == 1 else _by_label(truth)


def _by_label(truth: Truth) -> np.ndarray:
    """Return the mean log probability of what is true of each label, shape (K,)."""
    scores = np.asarray(truth.scores, dtype=np.float64)
    # Never log of 0, whatever rounding made of a probability next to 1.
    absent = np.log1p(-np.exp(np.minimum(scores, -np.finfo(np.float64).eps)))
    return np.asarray(np.where(truth.targets, scores, absent).mean(axis=0))
