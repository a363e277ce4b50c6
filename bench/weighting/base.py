"""What a weighting of source examples is, and what it may see of a training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Facts:
    """What a weighting may know before the training begins, of all lanes.

    Attributes
    ----------
    dtype : torch.dtype
        Of the networks.
    y : Tensor of int64, shape (lanes, N)
        Labels of the source's training examples, planted wrong ones included.
    classes : int
    harmful : bool Tensor, shape (lanes, N)
        Planted flags: for the oracle alone.
    domains : Tensor of int64, shape (lanes, N)
    steps, batch : int
        Of the training.
    seeds : sequence of int, one a lane
    inputs, target_inputs : callable
        From a lane to the source's training inputs and the target's labelled ones, flattened: arrays of
        shapes (N, D) and (n, D).
    """

    dtype: torch.dtype
    y: Tensor
    classes: int
    harmful: Tensor
    domains: Tensor
    steps: int
    batch: int
    seeds: Sequence[int]
    inputs: Callable[[int], np.ndarray]
    target_inputs: Callable[[int], np.ndarray]

    @property
    def lanes(self) -> int:
        """How many source models are trained side by side."""
        return len(self.y)

    @property
    def n(self) -> int:
        """Training examples of each lane."""
        return self.y.shape[1]


class Step(Protocol):
    """One step of a training, as a weighting sees it. Lanes never mix: sums over them are safe."""

    number: int  # counted from 0
    rates: Tensor  # learning rates, shape (lanes,)
    network: nn.Module
    parameters: list[Tensor]  # what source and target share: the blocks, and the head where there is one only

    def positions(self, ahead: int = 0) -> Tensor:
        """Return which training examples the batch `ahead` steps later holds, shape (lanes, batch)."""

    def losses(self, network: nn.Module | None = None, ahead: int = 0) -> Tensor:
        """Return the source examples' losses, shape (lanes, batch), with a graph."""

    def losses_along(self, direction: Sequence[Tensor], again: bool = False) -> tuple[Tensor, Tensor]:
        """Return :meth:`losses`, and how they change along a direction of `parameters`, without a graph.

        `again` says that the losses were had before: these have no graph, and move no running statistics.
        """

    def meta_loss(self, network: nn.Module | None = None) -> Tensor:
        """Return the mean loss of the lanes' target examples, summed over lanes."""

    def meta_gradient(self) -> list[Tensor]:
        """Return the gradient of :meth:`meta_loss` with respect to `parameters`."""

    def moved(self, gradients: Sequence[Tensor]) -> AbstractContextManager[None]:
        """Take a plain gradient step at the step's learning rates; take it back on leaving."""


class Weighting(ABC):
    """Weights the source examples of each batch.

    Attributes
    ----------
    fallbacks : Tensor of int64, shape (lanes,)
        In how many steps every weight was zero, so that uniform ones were used.
    """

    def __init__(self, facts: Facts):
        self.facts = facts
        self.fallbacks = torch.zeros(facts.lanes, dtype=torch.int64, device=facts.y.device)

    @abstractmethod
    def __call__(self, step: Step) -> tuple[Tensor, Tensor]:
        """Return the batch's losses with a graph and its weights without, both of shape (lanes, batch).

        The weights of a lane add up to 1.
        """

    def normalised(self, raw: Tensor) -> Tensor:
        """Make weights, at least 0, add up to 1 in each lane; uniform where all are zero, which is counted."""
        total = raw.sum(1, keepdim=True)
        nothing = total == 0
        self.fallbacks += nothing.squeeze(1)
        return torch.where(nothing, 1 / raw.shape[1], raw / total.where(~nothing, 1.0))


class ByRule(Weighting):
    """Weights that follow from the examples, or their losses, and nothing else."""

    def __call__(self, step: Step) -> tuple[Tensor, Tensor]:
        """Return losses and weights."""
        losses = step.losses()
        return losses, self.normalised(self.raw(step, losses.detach()))

    @abstractmethod
    def raw(self, step: Step, losses: Tensor) -> Tensor:
        """Return weights before they are normalised, shape (lanes, batch)."""


class Table(ByRule):
    """Weights fixed before the training.

    Parameters
    ----------
    weights : Tensor, shape (lanes, N)
    """

    def __init__(self, facts: Facts, weights: Tensor):
        super().__init__(facts)
        self.weights = weights.to(facts.dtype)

    def raw(self, step: Step, losses: Tensor) -> Tensor:
        """Look the batch up."""
        return self.weights.gather(1, step.positions())
