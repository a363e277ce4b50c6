"""Registering strategies: functions from a backbone's depth to points and paths in the triangle."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bench.registry import STRATEGIES
from bench.triangle import Phase, Strategy, point

__all__ = ["Phase", "Strategy", "point", "strategy"]


def strategy(name: str, *, version: int = 1) -> Callable:
    """Register a function ``(depth, **arguments) -> iterable of Strategy`` (decorator).

    The function is given the backbone's number of blocks L and yields one strategy for each point that
    it stands for.
    """

    def register(function: Callable[..., Iterable[Strategy]]) -> Callable[..., Iterable[Strategy]]:
        STRATEGIES.register(name, function, version=version, given=1)
        return function

    return register
