"""Which phases of a strategy's path are solved instead of stepped, and at which strengths of the penalty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bench.registry import HEADS
from bench.suite.model import Recipe
from bench.triangle import PLAIN, Strategy

VERSION = 1  # of the solver: raised when its results change


@dataclass(frozen=True)
class Probe:
    """The phases of a path that are solved.

    Attributes
    ----------
    phases : int
        How many, from the first on; 0 where everything is stepped.
    strengths : tuple of float
        Of the penalty, strongest first.
    """

    phases: int = 0
    strengths: tuple[float, ...] = ()


def probe_of(strategy: Strategy, recipe: Recipe, depth: int, kind: str) -> Probe:
    """Return what of a strategy is solved: the first phases that train a head on features that stay as they are.

    Where others follow, whose settings are the learning rates, it is solved at the middle of the grid alone.

    Parameters
    ----------
    depth : int
        Number of the backbone's blocks: where all are frozen, the head alone is trained.
    kind : str
        Of the target: its head must be linear, with a loss that is convex in the outputs.
    """
    if strategy.how != PLAIN or recipe.head != "solved" or recipe.augment or not HEADS.get(kind).function.convex:
        return Probe()
    freezes, grid = [phase.freeze for phase in strategy.path], recipe.strengths
    phases = next((index for index, freeze in enumerate(freezes) if freeze < depth), len(freezes))
    if phases == len(freezes):
        return Probe(phases, grid if phases else ())
    return Probe(phases, (math.sqrt(grid[(len(grid) - 1) // 2] * grid[len(grid) // 2]),) if phases else ())


def identity(strategy: Strategy, probe: Probe) -> dict[str, Any]:
    """Return what decides the result of a strategy, phases of which are solved."""
    return strategy.identity() | {"solved": [VERSION, *probe.strengths]}
