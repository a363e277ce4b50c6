"""Macro-averaged F1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.metrics.base import MULTI, SINGLE, OverClasses, Truth, metric


@metric("macro-f1")
class MacroF1(OverClasses):
    """Mean over the classes or labels that occur of F1, the harmonic mean of precision and recall."""

    kinds = (SINGLE, MULTI)
    bounded = True
    label = "macro-F1"

    def undefined(self, targets: np.ndarray, classes: Sequence[str]) -> str | None:
        """Say where no label occurs."""
        return None if np.asarray(targets).ndim == 1 or np.any(targets) else "no test example has any label"

    def per_class(self, truth: Truth) -> np.ndarray:
        """Return the F1 of each class or label; NaN where it has no example."""
        true, said = truth.columns, truth.predicted_columns
        both, either = (true & said).sum(axis=0), true.sum(axis=0) + said.sum(axis=0)
        return np.where(true.any(axis=0), 2 * both / np.maximum(either, 1), np.nan)
