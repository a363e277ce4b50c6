"""Area under the ROC curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.metrics.base import MULTI, SINGLE, OverClasses, Truth, columns_of, metric


@metric("auroc")
class AUROC(OverClasses):
    """Area under the ROC curve; of more than two classes, and of labels, the mean of each against the rest.

    The mean is over the classes or labels that occur; of two classes both have the same area.
    """

    kinds = (SINGLE, MULTI)
    bounded = True
    label = "AUROC"

    def undefined(self, targets: np.ndarray, classes: Sequence[str]) -> str | None:
        """Say where there is nothing to tell apart: every test example is of one class, or alike in every label."""
        columns = columns_of(targets, classes)
        if _both(columns).any():
            return None
        if np.asarray(targets).ndim > 1:
            return "each label has all test examples or none"
        only = [classes[int(k)] for k in np.flatnonzero(columns.any(axis=0))]
        return f'every test example is of class "{only[0]}"' if only else "there is no test example"

    def per_class(self, truth: Truth) -> np.ndarray:
        """Return the area of each class or label against the rest; NaN where it has all examples or none."""
        values = np.full(len(truth.classes), np.nan)
        if truth.finite:
            columns, scores = truth.columns, truth.scores if truth.targets.ndim > 1 else _log_odds(truth.scores)
            for k in np.nonzero(_both(columns))[0]:
                values[k] = _area(scores[:, k], columns[:, k])
        return values


def _area(scores: np.ndarray, there: np.ndarray) -> float:
    """Return the share of pairs of a positive and a negative example that are in order, ties counted half.

    By the positives' ranks (Mann and Whitney, 1947): quick enough for every trial.
    """
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    positive = int(there.sum())
    return float((ranks[place[there]].sum() - positive * (positive + 1) / 2) / (positive * (len(there) - positive)))


def _both(columns: np.ndarray) -> np.ndarray:
    """Which classes or labels have examples and lack some, shape (K,)."""
    return np.asarray(columns.any(axis=0) & ~columns.all(axis=0))


def _log_odds(scores: np.ndarray) -> np.ndarray:
    """Order examples by each class's log odds, as by its probability; near 1 probabilities are no longer told apart."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape[1] < 2:
        return scores
    # The rest of a probability is what is left of 1, but of the largest, which may round to 1, the sum of the others.
    rest = np.log1p(-np.exp(np.minimum(scores, np.log(0.75))))
    row, top = np.arange(len(scores)), scores.argmax(axis=1)
    others = scores.copy()
    others[row, top] = -np.inf
    largest = others.max(axis=1)
    rest[row, top] = largest + np.log(np.exp(others - largest[:, None]).sum(axis=1))
    return scores - rest
