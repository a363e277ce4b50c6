"""Tell a training that collapsed: one that ends no better than a prediction that is the same for every example."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.schema import FAR_LOSS

if TYPE_CHECKING:
    from bench.training.lanes import Lane

# A batch's loss is noisy, and a first look at few examples more so: these leave room for both.
WORSE = 1.25  # times the constant prediction's loss, and the lowest seen: a training loss above it has grown
STUCK = 0.95  # of the constant prediction's loss: a training that does not end below it has learned nothing
BURST = 2.0  # times the constant prediction's loss, and the first: a training loss above it was blown up on the way


def constant_loss(lane: Lane) -> float:
    """Return the least training loss of one prediction for all of a lane's examples.

    Of single labels that is the entropy of the classes' shares, log K where they are balanced, in nats; where
    the losses of sources are added to the target's, each has one.
    """
    found = lane.data.head.constant_loss(lane.targets(lane.split.train))
    return found + sum(source.data.head.constant_loss(source.y) for source in lane.sources)


class Losses:
    """The training losses of the lanes of a stack, as far as a collapse shows in them.

    Attributes
    ----------
    first, highest : Tensor, shape (lanes,)
        Of the first step's batch, before it; and the most of any step.
    """

    def __init__(self) -> None:
        self.first = self.highest = torch.empty(0)

    def add(self, losses: Tensor) -> None:
        """Take a step's losses in, shape (lanes,); nothing is waited for on a GPU."""
        losses = losses.detach()
        if not len(self.first):
            self.first, self.highest = losses.clone(), losses.clone()
        else:
            torch.maximum(self.highest, losses, out=self.highest)

    def collapsed(
        self, lane: int, curve: Sequence[tuple[float, int, float, float, float]], constant: float,
        labels: Tensor | None, val_accuracy: float,
    ) -> bool:  # fmt: skip
        """Say whether a lane's training collapsed, by its last checkpoint.

        It did where it ended with a training loss above a constant prediction's and above what it had been, or
        not below the constant one after a burst on the way, as networks whose units died do; and is neither
        surely more often right than the most frequent class, nor better on validation than the constant by its
        loss. Or with a validation loss far above the constant one and no more right than that class. A loss that
        falls from high up, of a rate too small or of few steps, is no collapse.

        Parameters
        ----------
        curve : sequence of (learning rate, step, train loss, validation loss, validation score)
            Of the lane's checkpoints, none of which diverged.
        constant : float
            Loss of a constant prediction, as :func:`constant_loss` gives it.
        labels : Tensor of int64, shape (N,), or None
            Of the validation examples; None for other kinds than single labels, which the losses alone judge.
        val_accuracy : float
            At the last checkpoint, of single labels.
        """
        first, highest = float(self.first[lane]), float(self.highest[lane])
        _, _, last, val_loss, _ = curve[-1]
        most = lucky = math.inf
        if labels is not None:
            most, n = float(torch.bincount(labels).max() / len(labels)), len(labels)
            lucky = most + 2 * math.sqrt(most * (1 - most) / n)  # two standard errors above chance
        grown = last > WORSE * max(constant, min(first, *(point[2] for point in curve)))
        burst = not math.isfinite(highest) or highest > BURST * max(constant, first)
        # Of few rare examples a batch may hold many: a validation loss below the constant one's says that it learned.
        learned = val_loss < STUCK * constant or val_accuracy > lucky
        lost = (grown or (burst and last >= STUCK * constant)) and not learned
        return lost or (val_loss > FAR_LOSS * constant and not val_accuracy > most)
