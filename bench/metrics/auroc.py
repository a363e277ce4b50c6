"""Area under the ROC curve."""

from __future__ import annotations

import numpy as np

from bench.metrics.base import MULTI, SINGLE, Metric, Truth, columns_of, metric


@metric("auroc")
class AUROC(Metric):
    """Area under the ROC curve; of more than two classes, and of labels, the mean of each against the rest.

    The mean is over the classes or labels that occur; of two classes both have the same area.
    """

    kinds = (SINGLE, MULTI)
    bounded = True
    label = "AUROC"

    def score(self, truth: Truth) -> float:
        """Return the area, a fraction; 0.5 is chance."""
        values = self.per_class(truth)
        return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan

    def undefined(self, targets: np.ndarray, classes: tuple[str, ...]) -> str | None:
        """Say where there is nothing to tell apart: every test example is of one class, or alike in every label."""
        columns = columns_of(targets, classes)
        if _both(columns).any():
            return None
        if np.asarray(targets).ndim > 1:
            return "each label has all test examples or none"
        only = [name for name, there in zip(classes, columns.any(axis=0), strict=True) if there]
        return f'every test example is of class "{only[0]}"' if only else "there is no test example"

    def per_class(self, truth: Truth) -> np.ndarray:
        """Return the area of each class or label against the rest; NaN where it has all examples or none."""
        from scipy.stats import rankdata

        if not truth.finite:
            return np.full(len(truth.classes), np.nan)
        columns, scores = truth.columns, truth.scores if truth.targets.ndim > 1 else _log_odds(truth.scores)
        # The share of pairs in order, by ranks (Mann and Whitney): one sort for all classes.
        positive = columns.sum(axis=0)
        pairs = positive * (len(columns) - positive)
        ahead = (rankdata(scores, axis=0) * columns).sum(axis=0) - positive * (positive + 1) / 2
        return np.where(pairs > 0, ahead / np.maximum(pairs, 1), np.nan)


def _both(columns: np.ndarray) -> np.ndarray:
    """Which classes or labels have examples and lack some, shape (K,)."""
    return columns.any(axis=0) & ~columns.all(axis=0)


def _log_odds(scores: np.ndarray) -> np.ndarray:
    """Order examples by each class's log odds, as by its probability; near 1 probabilities are no longer told apart."""
    from scipy.special import logsumexp

    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape[1] < 2:
        return scores
    # The rest of a probability is what is left of 1, but of the largest, which may round to 1, the sum of the others.
    rest = np.log1p(-np.exp(np.minimum(scores, np.log(0.75))))
    row, top = np.arange(len(scores)), scores.argmax(axis=1)
    others = scores.copy()
    others[row, top] = -np.inf
    rest[row, top] = logsumexp(others, axis=1)
    return scores - rest
