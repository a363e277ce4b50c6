"""Registering weightings (no torch here)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.registry import WEIGHTINGS


def weighting(
    name: str,
    *,
    version: int = 1,
    learns_from: str | None = None,
    judges: str | None = None,
    check: Callable[..., None] | None = None,
) -> Callable:
    """Register a function ``(facts, **arguments) -> Weighting`` under `name` (decorator).

    Parameters
    ----------
    name : str
        What a suite calls it.
    version : int
        Raise it when the weights change.
    learns_from : {"labels", "inputs"}, optional
        What it uses of the target's labelled examples. There is then a source model for every target
        size and trial. One that learns from labels may have the arguments `head` ("own" or "shared"),
        `meta_share` and `meta_batch`, which the harness reads too.
    judges : {"harmful", "domains", "classes"}, optional
        What a source must have: without it, the weighting is uniform and not run.
    check : callable, optional
        Takes the arguments and raises :class:`bench.BenchError` for values that cannot be, before
        anything is run.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        WEIGHTINGS.register(
            name, function, version=version, given=1, learns_from=learns_from, judges=judges, check=check
        )
        return function

    return register
