"""What a suite's `metric` means: by what models are chosen and judged, and what rules it out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, Problem
from bench.registry import HEADS, METRICS, Entry
from bench.schema import ACCURACY
from bench.suite.model import Suite
from bench.trial import SINGLE_LABEL, Card

if TYPE_CHECKING:
    from bench.suite.plan import Plan


def kind_of(card: Card | None) -> str:
    """Return the kind of a task; that of most while its data have not been read."""
    return SINGLE_LABEL if card is None else card.kind


def metric_of(suite: Suite, kind: str) -> Entry:
    """Return the primary metric of a target of a kind: the suite's, or the kind's own where the suite names none."""
    return METRICS.get(suite.metric or HEADS.get(kind).function.metric)


def metric_identity(suite: Suite, kind: str) -> list[object]:
    """Return what of the metric decides a trial's result; nothing of accuracy, as keys have it from the beginning."""
    entry = metric_of(suite, kind)
    return [] if entry.name == ACCURACY else ["metric", entry.name, entry.version]


def check_metric_key(suite: Suite) -> list[Problem]:
    """Find what is wrong with a suite's `metric`, as far as that shows without data."""
    if suite.metric is None:
        return []
    try:
        entry = METRICS.get(suite.metric)
    except BenchError as error:
        return [Problem("metric", str(error))]
    return _margin(suite, entry, "metric")


def metric_problems(plan: Plan, tests: Mapping[str, Any]) -> list[Problem]:
    """Find targets that their metric cannot judge.

    Parameters
    ----------
    tests : mapping of target to its test targets
        As tasks keep them.
    """
    found = []
    for target in plan.targets:
        card = plan.card(target)
        if card is None:
            continue
        place, kind = "metric" if plan.suite.metric else f'target "{target}"', kind_of(card)
        entry = metric_of(plan.suite, kind)
        if kind not in entry.meta["kinds"]:
            able = ", ".join(name for name in METRICS.names() if kind in METRICS.get(name).meta["kinds"])
            judged = " and ".join(entry.meta["kinds"])
            message = f'"{entry.name}" judges {judged} tasks, the target "{target}" is {kind}; for those: {able}'
            found.append(Problem(place, message))
            continue
        if not plan.suite.metric:
            found += _margin(plan.suite, entry, place)
        why = _undefined(entry, tests[target], card.classes) if target in tests else None
        if why is not None:
            message = f'"{entry.name}" is undefined on the test set of "{target}": {why}'
            found.append(Problem(place, f"{message}; name another metric or give other test data"))
    return list(dict.fromkeys(found))


def _undefined(entry: Entry, targets: Any, classes: tuple[str, ...]) -> str | None:
    try:
        return entry.function().undefined(targets, classes)
    except BenchError:
        raise
    except Exception as error:
        if entry.built_in:
            raise
        return entry.raised(error)


def _margin(suite: Suite, entry: Entry, place: str) -> list[Problem]:
    """Demand a margin of equivalence where there is none that makes sense for every metric of its kind."""
    if entry.meta["bounded"] or "margin" in suite.statistics.model_fields_set:
        return []
    unit = f"in {entry.meta['unit']}" if entry.meta["unit"] else "in the unit of the target"
    message = f'"{entry.name}" is not bounded, so that no margin of equivalence fits all data'
    return [Problem(place, f"{message}; say one, {unit}: [statistics] margin = ...")]
