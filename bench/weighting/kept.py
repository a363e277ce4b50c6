"""What source examples weighed in a training and what their losses were, and how well weights tell planted harm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

INTERVALS = 10  # into which a training is divided, at most


class Trace:
    """Gathers weights, relative to uniform ones (1 = as much as any other), and losses while a stack is trained.

    Parameters
    ----------
    lanes, n : int
        Lanes, and training examples of each.
    steps : int
        Of the training.
    """

    def __init__(self, lanes: int, n: int, steps: int, device: torch.device):
        self._steps, self._intervals = steps, min(INTERVALS, steps)
        # Of weights and losses, and how often an example was seen.
        self._weights, self._losses, self._visits = torch.zeros(3, self._intervals, lanes, n, device=device)

    def add(self, step: int, positions: Tensor, weights: Tensor, losses: Tensor) -> None:
        """Take a step in: arguments of shape (lanes, batch); the weights of a lane add up to 1."""
        place = step * self._intervals // self._steps
        relative = (weights * weights.shape[1]).to(self._weights.dtype)
        self._weights[place].scatter_add_(1, positions, relative)
        self._losses[place].scatter_add_(1, positions, losses.detach().to(relative.dtype))
        self._visits[place].scatter_add_(1, positions, torch.ones_like(relative))

    def of(self, lane: int) -> dict[str, np.ndarray]:
        """Return a lane's means over the training and in each interval, as :class:`Weights` names them.

        NaN where an example was not seen.
        """
        visits = self._visits[:, lane].double().cpu().numpy()
        found = {}
        for mean, history, gathered in (("mean", "history", self._weights), ("loss", "losses", self._losses)):
            sums = gathered[:, lane].double().cpu().numpy()
            with np.errstate(invalid="ignore"):
                found[mean], found[history] = sums.sum(0) / visits.sum(0), (sums / visits).astype(np.float32)
        return found


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
        Mean weight in each stretch of the training, all of nearly the same number of steps.
    loss : array, shape (N,)
        Mean cross-entropy of the example over the steps that saw it, nats, before each step; NaN where none did.
    losses : float32 array, shape (intervals, N)
        The same in each stretch of the training.
    harmful : bool array, shape (N,)
    labels : integer array, shape (N,)
    fallbacks : int
        Steps in which every weight was zero, so that uniform ones were used.
    """

    examples: np.ndarray
    mean: np.ndarray
    history: np.ndarray
    loss: np.ndarray
    losses: np.ndarray
    harmful: np.ndarray
    labels: np.ndarray
    fallbacks: int

    def summary(self) -> dict[str, Any]:
        """Return the columns of a row that judge the weights; None where that cannot be.

        `weight_auroc` and `weight_average_precision` say how well low weights find the planted harm (chance:
        0.5, and the harmful share); `effective_sample_size` is Kish's, sum(w)^2 / sum(w^2);
        `weight_loss_correlation` is Spearman's over the examples, of weight and loss in the last stretch.
        """
        seen = np.isfinite(self.mean)
        weights, harmful = self.mean[seen], self.harmful[seen]
        found: dict[str, Any] = {
            "weight_auroc": None, "weight_average_precision": None, "effective_sample_size": None,
            "weight_fallbacks": self.fallbacks, "weight_loss_correlation": self._correlation(),
        }  # fmt: skip
        if harmful.any() and not harmful.all():
            from sklearn.metrics import average_precision_score, roc_auc_score

            found["weight_auroc"] = float(roc_auc_score(harmful, -weights))
            found["weight_average_precision"] = float(average_precision_score(harmful, -weights))
        if (weights > 0).any():
            found["effective_sample_size"] = float(weights.sum() ** 2 / (weights**2).sum())
        return found

    def _correlation(self) -> float | None:
        """Return Spearman's correlation of weight and loss at the end; None where either is the same for all."""
        from scipy.stats import spearmanr

        weights, losses = self.history[-1], self.losses[-1]
        seen = np.isfinite(weights) & np.isfinite(losses)
        weights, losses = weights[seen], losses[seen]
        if len(weights) < 2 or np.ptp(weights) == 0 or np.ptp(losses) == 0:
            return None
        return float(spearmanr(weights, losses).statistic)

    def tensors(self) -> dict[str, Tensor]:
        """Return what a file keeps of them."""
        values: Mapping[str, np.ndarray] = {
            "examples": self.examples.astype(np.int64), "mean": self.mean, "history": self.history,
            "loss": self.loss, "losses": self.losses, "harmful": self.harmful, "labels": self.labels.astype(np.int64),
        }  # fmt: skip
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in values.items()}
