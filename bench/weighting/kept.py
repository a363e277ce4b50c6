"""The weights that source examples had in a training, and how well they tell planted harm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

INTERVALS = 10  # into which a training is divided, at most


class Trace:
    """Gathers weights while a stack is trained, relative to uniform ones (1 = as much as any other).

    Parameters
    ----------
    lanes, n : int
        Lanes, and training examples of each.
    steps : int
        Of the training.
    """

    def __init__(self, lanes: int, n: int, steps: int, device: torch.device):
        self._steps, self._intervals = steps, min(INTERVALS, steps)
        self._sum = torch.zeros(self._intervals, lanes, n, device=device)
        self._visits = torch.zeros(self._intervals, lanes, n, device=device)

    def add(self, step: int, positions: Tensor, weights: Tensor) -> None:
        """Take a step's weights in, both of shape (lanes, batch); those of a lane add up to 1."""
        place = step * self._intervals // self._steps
        relative = (weights * weights.shape[1]).to(self._sum.dtype)
        self._sum[place].scatter_add_(1, positions, relative)
        self._visits[place].scatter_add_(1, positions, torch.ones_like(relative))

    def of(self, lane: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a lane's mean weights over the training, shape (N,), and in each interval, (intervals, N).

        NaN where an example was never seen.
        """
        sums, visits = (part[:, lane].double().cpu().numpy() for part in (self._sum, self._visits))
        with np.errstate(invalid="ignore"):
            return sums.sum(0) / visits.sum(0), (sums / visits).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Weights:
    """What a weighting made of a source's training examples.

    Attributes
    ----------
    examples : integer array, shape (N,)
        Which of the source's pool.
    mean : array, shape (N,)
        Mean weight over the steps that saw the example, relative to uniform weights; NaN where none did.
    history : float32 array, shape (intervals, N)
        Mean weight in each stretch of the training.
    harmful : bool array, shape (N,)
    labels : integer array, shape (N,)
    fallbacks : int
        Steps in which every weight was zero, so that uniform ones were used.
    """

    examples: np.ndarray
    mean: np.ndarray
    history: np.ndarray
    harmful: np.ndarray
    labels: np.ndarray
    fallbacks: int

    def summary(self) -> dict[str, Any]:
        """Return the columns of a row that judge the weights; None where that cannot be.

        `weight_auroc` and `weight_average_precision` say how well low weights find the planted harm (chance:
        0.5, and the harmful share); `effective_sample_size` is Kish's, sum(w)^2 / sum(w^2).
        """
        seen = np.isfinite(self.mean)
        weights, harmful = self.mean[seen], self.harmful[seen]
        found: dict[str, Any] = {
            "weight_auroc": None, "weight_average_precision": None, "effective_sample_size": None,
            "weight_fallbacks": self.fallbacks,
        }  # fmt: skip
        if harmful.any() and not harmful.all():
            from sklearn.metrics import average_precision_score, roc_auc_score

            found["weight_auroc"] = float(roc_auc_score(harmful, -weights))
            found["weight_average_precision"] = float(average_precision_score(harmful, -weights))
        if (weights > 0).any():
            found["effective_sample_size"] = float(weights.sum() ** 2 / (weights**2).sum())
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Return what a file keeps of them."""
        values: Mapping[str, np.ndarray] = {
            "examples": self.examples.astype(np.int64), "mean": self.mean, "history": self.history,
            "harmful": self.harmful, "labels": self.labels.astype(np.int64),
        }  # fmt: skip
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in values.items()}
