"""What every strategy must keep, a user's own included: the checks behind ``ntbench check``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from bench.errors import BenchError
from bench.identity import digest
from bench.registry import Entry
from bench.triangle import Strategy

DEPTHS = range(1, 7)


def check_strategy(entry: Entry, arguments: Mapping[str, Any] | None = None) -> list[str]:
    """Run the contract on a strategy.

    For backbones of 1 to 6 blocks it yields points and paths in the triangle 0 <= f <= n <= L, the same
    ones each time, each once, and told apart by what a row says of them. It may refuse a depth with a
    clear error, or have no point there, but not at every one.

    Parameters
    ----------
    entry : Entry
    arguments : mapping, optional
        The strategy's own; its defaults without them.

    Returns
    -------
    list of str
        What is wrong, a sentence each; empty when all is well.
    """
    arguments = dict(arguments or {})
    problems = entry.problems(arguments)
    if problems:
        return problems
    yielded = False
    for depth in DEPTHS:
        try:
            points, again = (list(entry.function(depth, **arguments)) for _ in range(2))
        except BenchError as error:
            refusal = str(error)
            continue
        except Exception as error:
            problems.append(f"for {depth} blocks: {type(error).__name__}: {error}")
            continue
        yielded = yielded or bool(points)
        refusal = ""
        problems += [f"for {depth} blocks: {problem}" for problem in _check_points(points, again, depth)]
    if not yielded and not problems:
        problems.append(f"yields no point for any backbone of 1 to 6 blocks{f': {refusal}' if refusal else ''}")
    return list(dict.fromkeys(problems))


def _check_points(points: list[Any], again: list[Any], depth: int) -> list[str]:
    """Check what was yielded for one depth."""
    wrong = next((p for p in points if not isinstance(p, Strategy)), None)
    if wrong is not None:
        return [f"must yield bench.Strategy objects (see bench.point), but yielded {type(wrong).__name__}"]
    problems = []
    if points != again:
        problems.append("two calls yield different points; the order must be the same too")
    problems += [
        f'"{p.name}" copies {p.transfer} blocks, more than the backbone has' for p in points if p.transfer > depth
    ]
    identities = Counter(digest(p.identity()) for p in points)
    if any(n > 1 for n in identities.values()):
        problems.append("one point is yielded twice")
    rows = Counter((p.name, p.transfer, p.frozen) for p in {digest(p.identity()): p for p in points}.values())
    problems += [
        f'two different strategies have the name "{name}", n = {n} and f = {f}; give them different names'
        for (name, n, f), times in rows.items()
        if times > 1
    ]
    return problems
