"""How well outputs agree with targets: by the primary metric of a suite, and by the kind's own loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bench.heads.base import SINGLE_LABEL, Head, head_of
from bench.metrics.base import Metric, OverClasses, Truth, of_kind
from bench.registry import METRICS
from bench.schema import ACCURACY

if TYPE_CHECKING:
    from bench.training.lanes import Lane

NOTHING = float("nan")
MANY = 100  # classes, above which the primary metric's values by class are kept alone


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
    scores : mapping of metric to float
        By every metric of the kind, NaN where undefined; of a test set alone.
    by_class : mapping of metric to array, shape (K,)
        Values of single classes, labels or regressed values, by the metrics that have them; of a test set alone.
    """

    score: float
    loss: float
    accuracy: float
    scores: Mapping[str, float] = field(default_factory=dict)
    by_class: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Judge:
    """Judges the outputs of several models at once.

    Attributes
    ----------
    head : Head
        Of the targets' kind.
    metric : str
        The primary one; empty where there is none, as of a kind without targets.
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
        accuracies = self._accuracy(outputs, targets)
        scores = accuracies
        if self.metric and not (self.metric == ACCURACY and self.head.kind == SINGLE_LABEL):
            scores = [self._score(self.metric, truth) for truth in self._truths(outputs, targets)]
        losses = self._losses(outputs, targets, lanes)
        return [Look(*values) for values in zip(scores, losses, accuracies, strict=True)]

    def test(self, outputs: Any, targets: Any, lanes: Sequence[Lane], chosen: Sequence[int]) -> dict[int, Look]:
        """Judge the outputs of the `chosen` lanes on a test set by every metric of the kind; arguments as of `look`.

        A judge that knows no classes looks, and no more.
        """
        if not self.classes:
            looks = self.look(outputs, targets, lanes)
            return {lane: looks[lane] for lane in chosen}
        accuracies, losses = self._accuracy(outputs, targets), self._losses(outputs, targets, lanes)
        names = of_kind(self.head.kind)
        found = {}
        for lane, truth in zip(chosen, self._truths(outputs, targets, chosen), strict=True):
            # What torch says of accuracy is what validation says: their sums are rounded alike.
            plain = {ACCURACY: accuracies[lane]} if self.head.kind == SINGLE_LABEL else {}
            by_class = {name: _asked(name, lambda metric, truth=truth: metric.per_class(truth)) for name in names}
            scores = {
                name: plain[name] if name in plain else self._score(name, truth, by_class[name]) for name in names
            }
            kept = {
                name: values
                for name, values in by_class.items()
                if values is not None and (name == self.metric or len(self.classes) <= MANY)
            }
            found[lane] = Look(scores.get(self.metric, NOTHING), losses[lane], accuracies[lane], scores, kept)
        return found

    def _accuracy(self, outputs: Tensor, targets: Tensor) -> list[float]:
        if self.head.kind == SINGLE_LABEL:
            return (self.head.predict(outputs) == targets).float().mean(1).tolist()
        return [NOTHING] * len(targets)

    def _losses(self, outputs: Any, targets: Any, lanes: Sequence[Lane]) -> list[float]:
        if lanes and lanes[0].scale is not None:
            outputs, targets = (
                torch.stack([lane.scaled(part) for lane, part in zip(lanes, values, strict=True)])
                for values in (outputs, targets)
            )
        return self.head.loss(outputs, targets).tolist() if self.head.has_loss else [NOTHING] * len(targets)

    def is_sound(self, look: Look) -> bool:
        """Whether a model's loss is a number, where its kind has one."""
        return math.isfinite(look.loss) or (not self.head.has_loss and self.head.metric != "")

    def _truths(self, outputs: Any, targets: Any, chosen: Sequence[int] | None = None) -> list[Truth]:
        """Return the targets of lanes (all by default) beside what is predicted of them, on the CPU."""
        predicted, scores = self.head.predict(outputs), self.head.scores(_wide(outputs))
        lanes = range(len(targets)) if chosen is None else chosen
        parts = ([_plain(part[lane]) for lane in lanes] for part in (targets, predicted, scores))
        return [Truth(*values, self.classes) for values in zip(*parts, strict=True)]

    def _score(self, name: str, truth: Truth, values: np.ndarray | None = None) -> float:
        """Return a score; `values` are those of single classes, where they are known.

        Raises
        ------
        BenchError
            When a plug-in's metric raises.
        """
        if values is not None and METRICS.get(name).function.score is OverClasses.score:
            return OverClasses.average(values)
        return float(_asked(name, lambda metric: metric.score(truth)))


def _asked(name: str, ask: Any) -> Any:
    entry = METRICS.get(name)
    metric: Metric = entry.function()
    with entry.blamed(), np.errstate(divide="ignore", invalid="ignore"):
        return ask(metric)


def _wide(outputs: Any) -> Any:
    return outputs.float() if isinstance(outputs, Tensor) else outputs


def _plain(values: Any) -> Any:
    """Return a tensor as an array; targets of a plug-in's kind may be lists."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def stored_point(point: Sequence[float]) -> list[float | None]:
    """Return a point of a curve as a ledger holds it: setting and step as they are, then losses and score."""
    return [*point[:2], *map(storable, point[2:])]


def storable(value: float | None) -> float | None:
    """Return a number as a ledger can hold it: what is undefined is missing."""
    return None if value is None or not math.isfinite(value) else float(value)
