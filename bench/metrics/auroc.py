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
        from sklearn.metrics import roc_auc_score

        values = np.full(len(truth.classes), np.nan)
        if truth.finite:
            columns, scores = truth.columns, truth.scores if truth.targets.ndim > 1 else _log_odds(truth.scores)
            for k in np.nonzero(_both(columns))[0]:
                values[k] = roc_auc_score(columns[:, k], scores[:, k])
        return values


def _both(columns: np.ndarray) -> np.ndarray:
    """Which classes or labels have examples and lack some, shape (K,)."""
    return columns.any(axis=0) & ~columns.all(axis=0)


def _log_odds(scores: np.ndarray) -> np.ndarray:
    """Order examples by each class's log odds, as by its probability; near 1 probabilities are no longer told apart."""
    from scipy.special import logsumexp

    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape[1] < 2:
        return scores
    rest = [logsumexp(np.delete(scores, k, axis=1), axis=1) for k in range(scores.shape[1])]
    return scores - np.stack(rest, axis=1)
