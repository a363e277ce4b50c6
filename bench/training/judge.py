"""How well outputs agree with targets: by the primary metric of a suite, and by the kind's own loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.heads.base import SINGLE_LABEL, Head, head_of

if TYPE_CHECKING:
    from bench.training.lanes import Lane


@dataclass(frozen=True)
class Look:
    """What validation data, or a test set, say of one model.

    Attributes
    ----------
    score : float
        By the primary metric, more being better; NaN where it is undefined.
    loss : float
        The mean of the kind's own loss.
    accuracy : float
        Of single labels; NaN for other kinds.
    """

    score: float
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Judge:
    """Judges the outputs of several models at once.

    Attributes
    ----------
    head : Head
        Of the targets' kind.
    metric : str
        The primary one.
    classes : tuple of str
    """

    head: Head
    metric: str
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, kind: str = SINGLE_LABEL, metric: str | None = None, classes: Sequence[str] = ()) -> Judge:
        """Return the judge of a kind of task, by its own metric where none is named."""
        head = head_of(kind)
        return cls(head, metric or head.metric, tuple(classes))

    def look(self, outputs: Any, targets: Any, lanes: Sequence[Lane] = ()) -> list[Look]:
        """Judge each lane's outputs, each with a leading axis of lanes, in the targets' own units.

        The loss is that which the lanes are trained with: of targets in the lanes' units.
        """
        scores = self._accuracy(outputs, targets)
        if lanes and lanes[0].scale is not None:
            outputs, targets = (
                torch.stack([lane.scaled(part) for lane, part in zip(lanes, values, strict=True)])
                for values in (outputs, targets)
            )
        losses = self.head.loss(outputs, targets).tolist()
        return [Look(score, loss, score) for score, loss in zip(scores, losses, strict=True)]

    def _accuracy(self, outputs: Tensor, targets: Tensor) -> list[float]:
        if self.head.kind == SINGLE_LABEL:
            return (self.head.predict(outputs) == targets).float().mean(1).tolist()
        return [float("nan")] * len(targets)
