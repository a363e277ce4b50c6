"""How long what is missing of a suite may take: from stored times, else a guess that says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.suite.cost import CostModel, Shape, source_shape, trial_shapes
from bench.suite.count import Counts
from bench.suite.plan import EVERYTHING, Plan
from bench.suite.selection import Selection


@dataclass(frozen=True)
class Estimate:
    """A time.

    Attributes
    ----------
    seconds : float
        On one core, for training all source models and trials that are missing.
    measured : float
        Share of it whose shape has stored times of its own, 0 to 1.
    predicted : float
        Share that is predicted from stored times of other shapes. The rest is a guess.
    """

    seconds: float
    measured: float
    predicted: float

    @property
    def guessed(self) -> float:
        """Share that rests on nothing that was measured."""
        return max(0.0, 1.0 - self.measured - self.predicted)


def estimate(plan: Plan, counts: Counts) -> Estimate:
    """Estimate how long the missing source models and trials take on one core."""
    model = CostModel(plan, counts.shapes)
    seconds = model.total(np.array([tally.missing for tally in counts.shapes.values()]))
    total = float(seconds.sum())
    if not total:
        return Estimate(0.0, 1.0, 0.0)
    return Estimate(total, *(float(seconds[part].sum()) / total for part in (model.measured, model.predicted)))


class Forecast:
    """How long the units still missing take, learning from each that finishes.

    Parameters
    ----------
    plan : Plan
    counts : Counts
        Of the same plan and selection.
    selection : Selection
    retry_failed : bool
        Whether what failed before is missing too.

    Attributes
    ----------
    informed : bool
        Whether the data had been read when this was made: else shapes are provisional.
    """

    def __init__(self, plan: Plan, counts: Counts, selection: Selection = EVERYTHING, retry_failed: bool = False):
        self._plan = plan
        self._model = CostModel(plan, counts.shapes)
        self._left = np.array([t.missing + t.failed * retry_failed for t in counts.shapes.values()], float)
        self._done = np.zeros_like(self._left)
        self._of_kind = {kind: np.array([s.kind == kind for s in counts.shapes], bool) for kind in ("source", "trial")}
        self._shapes: dict[tuple, Callable[[int], Shape | None]] = {}
        self._models = {model.key: source_shape(plan, model) for model in plan.source_models(selection) if model.key}
        self.informed = all(plan.card(name) is not None for name in plan.tasks)

    @property
    def grounded(self) -> bool:
        """Whether nothing of it is a mere guess."""
        known = self._model.measured | self._model.predicted
        return bool(known[self._left > 0].all())

    def missing(self, kind: str) -> int:
        """Return how many units of a kind ("source" or "trial") are missing."""
        return int(self._left[self._of_kind[kind]].sum())

    def add(self, record: dict[str, Any]) -> None:
        """Take in a finished unit's record; one that failed is no longer missing and teaches nothing."""
        shape = self._shape(record)
        if shape not in self._model.index:
            return
        place = self._model.index[shape]
        self._left[place] = max(0.0, self._left[place] - 1)
        row = record.get("row", record)
        if row["status"] == "ok":
            self._done[place] += 1
            self._model.add(shape, row["seconds"])

    def seconds(self, kind: str) -> tuple[float, float]:
        """Return the seconds on one core of a kind's units: of those added, and of those still missing."""
        mine = self._of_kind[kind]
        return tuple(float(self._model.total(units)[mine].sum()) for units in (self._done, self._left))

    def _shape(self, record: dict[str, Any]) -> Shape | None:
        if record["kind"] == "source":
            return self._models.get(record["key"])
        row = record["row"]
        strategy = (row["strategy"], row["transfer_depth"], row["frozen_depth"])
        place = (row["target"], row["backbone"], *strategy)
        if place not in self._shapes:
            self._shapes[place] = self._shapes_at(*place[:2], strategy)
        return self._shapes[place](row["target_size"])

    def _shapes_at(self, target: str, label: str, wanted: tuple[str, int, int]) -> Callable[[int], Shape | None]:
        for place, spec in enumerate(self._plan.backbones):
            for strategy in self._plan.strategies[place] if spec.label == label else ():
                if (strategy.name, strategy.transfer, strategy.frozen) == wanted:
                    return trial_shapes(self._plan, target, place, strategy)
        return lambda size: None
