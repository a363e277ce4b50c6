"""What the entries of a suite's `strategies` mean: registered names, and points or paths of the suite's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

from bench.errors import BenchError, Problem, nearest
from bench.identity import digest
from bench.registry import STRATEGIES, Entry
from bench.suite.choices import read_adaptation, read_method
from bench.suite.specs import read_entry
from bench.triangle import FULL, PLAIN, Adapt, How, Phase, Strategy

T = TypeVar("T")
MAX_POINTS = 10_000  # of the triangle for one backbone, more than anybody trains
_OWN_KEYS = ("name", "transfer", "freeze", "path", "keep_head", "copied_lr", "steps", "adapt", "method")


def read_strategies(values: tuple[str | Mapping[str, Any], ...], depth: int, problems: list[Problem]) -> list[Strategy]:
    """Expand the entries of `strategies` for a backbone of `depth` blocks: scratch first, each point once.

    Two names for one point and path give one trial; the first name in the suite's order stays.
    """
    found: dict[str, Strategy] = {}
    count = 0
    for entry in ["scratch", *values]:
        place = "strategies" if entry == "scratch" else f"strategies[{values.index(entry)}]"
        points = _read_strategy(entry, depth, place, problems)
        count += len(points)
        if count > MAX_POINTS:
            message = f"more than {MAX_POINTS:,} points of the triangle for {depth} blocks; say which: depths = [...]"
            problems.append(Problem(place, message))
            break
        for strategy in points:
            found.setdefault(digest(strategy.identity()), strategy)
    names: dict[tuple, Strategy] = {}
    for strategy in found.values():
        row = (strategy.name, strategy.transfer, strategy.frozen)
        if row in names:
            message = f'two different strategies are called "{row[0]}" with n = {row[1]}, f = {row[2]}; rename one'
            problems.append(Problem("strategies", message))
        names[row] = strategy
    return list(found.values())


def _read_strategy(value: str | Mapping[str, Any], depth: int, place: str, problems: list[Problem]) -> list[Strategy]:
    table = {"strategy": value} if isinstance(value, str) else dict(value)
    found: list[str] = []
    adapt = _tried(found, read_adaptation, table.pop("adapt", FULL.name))
    how = _tried(found, read_method, table.pop("method", PLAIN.name))
    if "strategy" in table:
        points, rename = _registered(table, depth, found)
    else:
        own = _own_strategy(table, depth, found)
        points, rename = ([own], own.name) if own else ([], None)
    if points:
        points = _tried(found, _with_choices, points, how or PLAIN, adapt or FULL, depth, rename, found) or []
    problems.extend(Problem(place, message) for message in dict.fromkeys(found))
    return [] if found else points


def _tried(found: list[str], function: Callable[..., T], *arguments: Any) -> T | None:
    """Return what a function returns; None where it raises, which is added to `found`."""
    try:
        return function(*arguments)
    except BenchError as error:
        found.append(str(error))
        return None


def _registered(table: Mapping[str, Any], depth: int, found: list[str]) -> tuple[list[Strategy], str | None]:
    """Return the points of a table that names a registered strategy, and what they are called instead."""
    arguments = dict(table)
    rename, name = arguments.pop("name", None), arguments.pop("strategy")
    if not isinstance(name, str) or not isinstance(rename, str | None):
        found.append('strategy and name must be text: strategy = "..."')
        rename = None
    entry = read_entry(STRATEGIES, name, arguments, found) if isinstance(name, str) else None
    return (entry and _tried(found, _points_of, entry, depth, arguments)) or [], rename


def _with_choices(
    points: list[Strategy], how: How, adapt: Adapt, depth: int, rename: str | None, wrong: list[str]
) -> list[Strategy]:
    """Give points a method and an adaptation, and the name that the suite says; else theirs behind the point's own.

    Where either can make no difference, the point is what it is without; where that is so at every point, it is
    added to `wrong`.
    """
    beside = "".join(f"+{choice.label}" for choice, none in ((how, PLAIN), (adapt, FULL)) if choice != none)
    found, clash = [], False
    for strategy in points:
        changes: dict[str, Any] = {"name": strategy.name + beside if rename is None else rename}
        if how != PLAIN and strategy.how != PLAIN:
            wrong.append(f'method = "{how.label}": strategy "{strategy.name}" has a method of its own')
            clash = True
        if _minds_method(strategy, how):
            changes["how"] = how
        if any(phase.freeze < depth for phase in strategy.path):
            changes["adapt"] = adapt
        found.append(replace(strategy, **changes))
    if how != PLAIN and not clash and not any(strategy.how == how for strategy in found):
        needed = how.copied and points[0].trained
        what = "copied blocks that train (copied=True in its decorator)" if needed else "a strategy that trains"
        wrong.append(f'method = "{how.label}" has no effect in "{points[0].name}"; it needs {what}')
    if adapt != FULL and not any(strategy.adapt == adapt for strategy in found):
        what = "nothing is trained" if not points[0].trained else "the head alone is trained"
        message = f'adapt = "{adapt.label}" has no effect in "{points[0].name}", where {what}'
        wrong.append(f"{message}; it needs a block that is not frozen")
    return found


def _minds_method(strategy: Strategy, how: How) -> bool:
    """Whether a method can make a difference to a strategy."""
    if how == PLAIN or not strategy.trained:
        return False
    return not how.copied or any(phase.freeze < strategy.transfer for phase in strategy.path)


def _points_of(entry: Entry, depth: int, arguments: Mapping[str, Any]) -> list[Strategy]:
    """Return the points that a registered strategy yields for a backbone of `depth` blocks.

    Raises
    ------
    BenchError
        For whatever a plug-in's function raises, and for what is no point of the triangle.
    """
    with entry.blamed(mistakes=(TypeError, ValueError)):
        points = list(islice(entry.function(depth, **arguments), MAX_POINTS + 1))
    for strategy in points:
        if not isinstance(strategy, Strategy):
            raise BenchError(f'strategy "{entry.name}" yields {strategy!r}, not a bench.Strategy (see bench.point)')
        if strategy.transfer > depth:
            what = f"transfer depth {strategy.transfer} is more than the backbone's {depth} blocks"
            raise BenchError(f'strategy "{strategy.name}": {what}')
        if strategy.adapt != FULL:
            raise BenchError(
                f'strategy "{strategy.name}" sets what trains: that is for the suite to say, by adapt = "..."'
            )
    return points


def _own_strategy(table: Mapping[str, Any], depth: int, found: list[str]) -> Strategy | None:
    """Build a strategy from a table with its own name, transfer depth and freeze depth or path."""
    before = len(found)
    unknown = [key for key in table if key not in _OWN_KEYS]
    found += [f'"{key}" is not part of a strategy{nearest(key, [*_OWN_KEYS, "strategy"])}' for key in unknown]
    found += [
        f'a strategy of your own needs "{key}" (or name a registered one: strategy = "...")'
        for key in ("name", "transfer")
        if key not in table
    ]
    if "freeze" in table and "path" in table:
        found.append('give "freeze" or "path", not both')
    transfer = _tried(found, _blocks, table.get("transfer", 0), "transfer", depth)
    path = _path(table.get("path", [{"freeze": table.get("freeze", 0)}]), depth, found)
    options = {key: _tried(found, _number, table[key], key) for key in ("copied_lr", "steps") if key in table}
    keep_head = table.get("keep_head", False)
    if not isinstance(keep_head, bool):
        found.append(f"keep_head = {keep_head!r} is neither true nor false")
    if len(found) > before:
        return None
    return _tried(found, lambda: Strategy(str(table["name"]), transfer, path, keep_head, **options))


def _path(stages: Any, depth: int, found: list[str]) -> tuple[Phase, ...]:
    if not isinstance(stages, list | tuple) or not all(isinstance(stage, Mapping) for stage in stages):
        found.append("path is a list of tables such as { freeze = 2, share = 0.5 }")
        return ()
    keys, path = ("freeze", "share", "lr"), []
    for stage in stages:
        found += [f'"{key}" is not part of a path{nearest(key, keys)}' for key in stage if key not in keys]
        freeze = _tried(found, _blocks, stage.get("freeze", 0), "freeze", depth)
        path.append(Phase(freeze, *(_tried(found, _number, stage.get(key, 1.0), key) for key in keys[1:])))
    return tuple(path)


def _blocks(value: Any, what: str, depth: int) -> int:
    value = depth if value == "all" else value
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= depth:
        raise BenchError(f'{what} = {value!r} is not within 0 to {depth}, nor "all"')
    return value


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BenchError(f"{what} = {value!r} is not a number")
    return float(value)
