"""Registering strategies: functions from a backbone's depth to points and paths in the triangle."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bench.registry import STRATEGIES
from bench.triangle import Phase, Strategy, point

__all__ = ["Phase", "Strategy", "point", "strategy"]


_Family = Callable[..., Iterable[Strategy]]


def strategy(name: str, *, version: int = 1) -> Callable[[_Family], _Family]:
    """Register a function ``(depth, **arguments) -> iterable of Strategy`` (decorator).

    The function is given the backbone's number of blocks L and yields one strategy for each point that
    it stands for.
    """

    def register(function: _Family) -> _Family:
        STRATEGIES.register(name, function, version=version, given=1)
        return function

    return register
