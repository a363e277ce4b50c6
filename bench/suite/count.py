"""How many source models and trials a suite has: done, failed and missing. No torch, no data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.suite.plan import EVERYTHING, Block, Plan
from bench.suite.selection import Selection

if TYPE_CHECKING:
    from bench.store import Stored


@dataclass
class Tally:
    """Units of work by state.

    Attributes
    ----------
    done, failed, missing : int
    seconds : float
        What those that are done took in all.
    """

    done: int = 0
    failed: int = 0
    missing: int = 0
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """All of them."""
        return self.done + self.failed + self.missing

    def add(self, other: Tally) -> None:
        """Take another tally in."""
        self.done += other.done
        self.failed += other.failed
        self.missing += other.missing
        self.seconds += other.seconds


@dataclass(frozen=True)
class Group:
    """Trials that are counted together; `source` is None for those that copy nothing."""

    source: str | None
    target: str
    backbone: str
    strategy: str

    @property
    def pair(self) -> str:
        """The pair, or the target alone."""
        return f"{self.source} -> {self.target}" if self.source else self.target


@dataclass
class Counts:
    """What a suite comes to.

    Attributes
    ----------
    trials : dict of Group -> Tally
    models : dict of backbone label -> Tally
        Source models to train; those that are handed in are not counted.
    """

    trials: dict[Group, Tally] = field(default_factory=dict)
    models: dict[str, Tally] = field(default_factory=dict)

    @property
    def all_trials(self) -> Tally:
        """Every trial."""
        return _sum(self.trials)

    @property
    def all_models(self) -> Tally:
        """Every source model."""
        return _sum(self.models)

    def by(self, name: str) -> dict[str, Tally]:
        """Return tallies by an attribute of the groups, in the plan's order."""
        found: dict[str, Tally] = {}
        for group, tally in self.trials.items():
            found.setdefault(getattr(group, name), Tally()).add(tally)
        return found


def _sum(tallies: Mapping[object, Tally]) -> Tally:
    total = Tally()
    for tally in tallies.values():
        total.add(tally)
    return total


def count(plan: Plan, stored: Stored | None = None, selection: Selection = EVERYTHING) -> Counts:
    """Count a plan's source models and trials against what a run folder holds.

    Trials are never held: where nothing is stored they are not even expanded.

    Parameters
    ----------
    plan : Plan
        With the cards of what is stored, without which nothing counts as done.
    stored : Stored, optional
    """
    counts = Counts()
    for block in plan.blocks(selection):
        names = [plan.strategies[block.backbone][index].name for index in block.strategies]
        tallies = {}
        for index, name in zip(block.strategies, names, strict=True):
            source = block.origin[0] if block.origin else None
            group = Group(source, block.target, plan.backbones[block.backbone].label, name)
            tallies[index] = counts.trials.setdefault(group, Tally())
        if stored and (stored.done or stored.failed):
            _compare(plan, block, stored, tallies)
        else:
            for tally in tallies.values():
                tally.missing += len(block.sizes) * len(block.seeds)
    for model in plan.source_models(selection):
        if model.source not in plan.models:
            tally = counts.models.setdefault(plan.backbones[model.backbone].label, Tally())
            record = stored.models.get(model.key) if stored else None
            tally.add(_of_model(record))
    return counts


def _compare(plan: Plan, block: Block, stored: Stored, tallies: Mapping[int, Tally]) -> None:
    for trial in plan.expand(block):
        tally = tallies[trial.strategy]
        if trial.key in stored.done:
            tally.done += 1
            tally.seconds += stored.done[trial.key]
        elif trial.key in stored.failed:
            tally.failed += 1
        else:
            tally.missing += 1


def _of_model(record: Mapping[str, object] | None) -> Tally:
    if record is None:
        return Tally(missing=1)
    return Tally(done=1, seconds=record["seconds"]) if record["status"] == "ok" else Tally(failed=1)
