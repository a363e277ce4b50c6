"""How many source models and trials a suite has: done, failed and missing. No torch, no data."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

from bench.suite.cost import Shape, source_shape, trial_shapes
from bench.suite.plan import EVERYTHING, Block, Plan
from bench.suite.selection import Selection

if TYPE_CHECKING:
    from bench.ledger.records import SourceRecord
    from bench.ledger.stored import Stored


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
    shapes : dict of Shape -> Tally
        All of both, by what decides how long they take.
    """

    trials: dict[Group, Tally] = field(default_factory=dict)
    models: dict[str, Tally] = field(default_factory=dict)
    shapes: dict[Shape, Tally] = field(default_factory=dict)

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
    cells = _Cells(plan)
    for block in plan.blocks(selection):
        source = block.origin[0] if block.origin else None
        label, strategies = plan.backbones[block.backbone].label, plan.strategies[block.backbone]
        groups = {
            index: counts.trials.setdefault(Group(source, block.target, label, strategies[index].name), Tally())
            for index in block.strategies
        }
        if stored and (stored.done or stored.failed):
            _compare(plan, block, stored, groups, cells.of(block))
        else:
            cells.add_missing(block)
            for tally in groups.values():
                tally.missing += len(block.sizes) * len(block.seeds)
    cells.into(counts.shapes)
    _count_models(plan, stored, selection, counts)
    return counts


class _Cells:
    """Trials by (target, backbone, strategy, size): what decides their shape, whatever their source."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self._tallies: dict[tuple[str, int, int], dict[int, Tally]] = defaultdict(lambda: defaultdict(Tally))
        self._alike: Counter[tuple[str, int, tuple[int, ...], tuple[int, ...]]] = Counter()

    def of(self, block: Block) -> dict[int, dict[int, Tally]]:
        """Return a block's cells by strategy and size."""
        return {index: self._tallies[block.target, block.backbone, index] for index in block.strategies}

    def add_missing(self, block: Block) -> None:
        """Count all of a block as missing."""
        # Blocks of a target's many sources are alike, and spread out once.
        self._alike[block.target, block.backbone, block.strategies, block.sizes] += len(block.seeds)

    def into(self, shapes: dict[Shape, Tally]) -> None:
        """Add all of them up by shape."""
        for (target, backbone, indices, sizes), n in self._alike.items():
            for index, size in product(indices, sizes):
                self._tallies[target, backbone, index][size].missing += n
        for (target, backbone, index), by_size in self._tallies.items():
            shape_of = trial_shapes(self._plan, target, backbone, self._plan.strategies[backbone][index])
            for size, tally in by_size.items():
                shapes.setdefault(shape_of(size), Tally()).add(tally)


def _compare(
    plan: Plan, block: Block, stored: Stored, groups: dict[int, Tally], cells: dict[int, dict[int, Tally]]
) -> None:
    for trial in plan.expand(block):
        group, cell = groups[trial.strategy], cells[trial.strategy][trial.target_size]
        seconds = stored.done.get(trial.key)
        if seconds is not None:
            group.done += 1
            cell.done += 1
            group.seconds += seconds
            cell.seconds += seconds
        elif trial.key in stored.failed:
            group.failed += 1
            cell.failed += 1
        else:
            group.missing += 1
            cell.missing += 1


def _count_models(plan: Plan, stored: Stored | None, selection: Selection, counts: Counts) -> None:
    for model in plan.source_models(selection):
        if model.source in plan.models:
            continue
        tally = _of_model(stored.models.get(model.key) if stored else None)
        counts.models.setdefault(plan.backbones[model.backbone].label, Tally()).add(tally)
        shape = source_shape(plan, model)
        counts.shapes.setdefault(shape, Tally()).add(tally)


def _of_model(record: SourceRecord | None) -> Tally:
    if record is None:
        return Tally(missing=1)
    return Tally(done=1, seconds=record.seconds) if record.ok else Tally(failed=1)
