"""Which trials, and which source models, are trained together.

Nothing depends on it but time: what a lane computes depends on its place in the stack, which follows from
the trial, and not on its companions. So groups may be formed of whatever is missing.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

from bench.suite.plan import Plan
from bench.trial import Group, SourceModel, Trial

T = TypeVar("T")
HELD = 4  # times as many starting points as there are lanes


def place_of(plan: Plan, unit: Trial | SourceModel) -> int:
    """Return a trial's or source model's place in a stack, counted round.

    The seeds of one strategy and pair take places one after the other; other strategies and pairs begin
    elsewhere, so that all places of a large stack are used.
    """
    if isinstance(unit, SourceModel):
        return unit.seed + zlib.crc32(unit.source.encode())
    strategy = plan.strategy(unit)
    if not strategy.uses_source:
        return unit.seed
    return unit.seed + zlib.crc32(f"{unit.model.source} {unit.model.weighting} {strategy.identity()}".encode())


def shared(plan: Plan, trial: Trial) -> Hashable:
    """Return what trials that are trained together have in common, and may thus be read from any of them."""
    strategy, common = plan.strategy(trial), (trial.target, trial.backbone, trial.target_size)
    if strategy.how.sources:
        common += (trial.model.source, trial.model.weighting)
    return (*common, strategy.shared)


def pack_trials(plan: Plan, trials: Iterable[Trial]) -> Iterator[Group]:
    """Group trials whose networks and batches have the same shapes, as many as there are lanes.

    Trials are taken in the plan's order, and never held but for a few times as many starting points (a
    source model, or none, and a seed) as there are lanes. Groups with one `start` read the same ones.
    """
    waiting: list[Trial] = []
    starts: dict[tuple[SourceModel | None, int], str | None] = {}
    place: Hashable = None
    number = 0
    for trial in trials:
        start, source = (trial.model, trial.seed), trial.model.source if trial.model else None
        if waiting and (
            (trial.target, trial.backbone) != place
            or (start not in starts and _enough(_lanes(plan, trial), starts, source))
        ):
            yield from _groups(plan, waiting, number)
            waiting, starts, number = [], {}, number + 1
        place = (trial.target, trial.backbone)
        starts[start] = source
        waiting.append(trial)
    yield from _groups(plan, waiting, number)


def _enough(lanes: int, starts: dict, source: str | None) -> bool:
    """Whether another start would better begin a new batch: what is there fills stacks."""
    if len(starts) < lanes:
        return False
    return lanes == 1 or len(starts) >= HELD * lanes or source not in starts.values()


def _lanes(plan: Plan, trial: Trial) -> int:
    return plan.lanes(trial.backbone, plan.input_shape(trial.target), task=trial.target)


def _groups(plan: Plan, trials: list[Trial], start: int) -> Iterator[Group]:
    alike: dict[Hashable, list[Trial]] = {}
    for trial in trials:
        alike.setdefault(shared(plan, trial), []).append(trial)
    for found in alike.values():
        first = found[0]
        lanes = plan.lanes(first.backbone, plan.input_shape(first.target), plan.strategy(first), task=first.target)
        for stack in _stacks(found, lambda trial: place_of(plan, trial), lanes):
            yield Group(stack, start)


def _stacks(units: Iterable[T], place: Callable[[T], int], lanes: int) -> Iterator[tuple[T, ...]]:
    """Deal units out by their places, one of each place a stack."""
    by_place: list[list[T]] = [[] for _ in range(lanes)]
    for unit in units:
        by_place[place(unit) % lanes].append(unit)
    for row in range(max(map(len, by_place))):
        yield tuple(column[row] for column in by_place if row < len(column))


def pack_models(plan: Plan, models: Iterable[SourceModel]) -> Iterator[Group]:
    """Group source models whose networks have the same shape, as many as there are lanes."""
    alike: dict[Hashable, list[SourceModel]] = {}
    for model in models:
        learns_from = (model.meta.target, model.meta.size) if model.meta else ()
        how, card, classes = plan.source_method(model.source), plan.card(model.source), len(plan.classes(model.source))
        kind = None if card is None else card.kind
        shape = (model.backbone, model.shape, model.weighting, kind, classes, how, *learns_from)
        alike.setdefault(shape, []).append(model)
    stacks: list[tuple[SourceModel, ...]] = []
    for found in alike.values():
        first = found[0]
        how = plan.source_method(first.source)
        lanes = plan.lanes(first.backbone, first.shape, how=how, task=first.source)
        stacks += _stacks(found, lambda model: place_of(plan, model), lanes)
    # The large ones first, so that none of them is left for one worker while the others wait.
    for number, stack in enumerate(sorted(stacks, key=len, reverse=True)):
        yield Group(stack, number)
