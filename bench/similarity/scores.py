"""Scores of how well a source model's outputs already fit the target's labels."""

from __future__ import annotations

import numpy as np

from bench.similarity.base import View, measure


@measure("leep", near="high")
def leep(view: View) -> float:
    """Log expected empirical prediction of target labels from the source head's probabilities.

    The mean over target examples of log sum_z P(y | z) theta(x)_z, with P(y | z) from the empirical joint
    distribution of labels and source predictions: Nguyen et al., "LEEP", ICML 2020, equations 1 and 2.

    Returns
    -------
    float
        At most 0; higher means more transferable.
    """
    return leep_score(view.target_probabilities, view.target_labels)


def leep_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return LEEP for probabilities, shape (N, Z), and integer labels, shape (N,)."""
    one_hot = np.eye(labels.max() + 1)[labels]
    joint = one_hot.T @ probabilities / len(labels)
    conditional = joint / np.maximum(joint.sum(0, keepdims=True), np.finfo(float).tiny)
    expected = (probabilities @ conditional.T)[np.arange(len(labels)), labels]
    return float(np.log(np.maximum(expected, np.finfo(float).tiny)).mean())
