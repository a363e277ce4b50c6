"""Trying a plan's networks before anything is trained: shapes, depths and handed-in models."""

from __future__ import annotations

from pathlib import Path

from bench.errors import Problem
from bench.launch.units import run_unit
from bench.suite.plan import EVERYTHING, Plan, Selection
from bench.suite.weightings import UNIFORM
from bench.trial import Check


def model_checks(plan: Plan, target: str, backbone: int, selection: Selection = EVERYTHING) -> list[Check]:
    """Return the checks of the handed-in models that go to a target."""
    given = [name for name in plan.targets[target] if name in plan.models and selection.has_pair(name, target)]
    return [Check(target, backbone, plan.source_model(name, target, backbone, UNIFORM, 0)) for name in given]


def network_problems(plan: Plan) -> list[Problem]:
    """Build each backbone for each target, pass a batch through it, and load the models that are handed in.

    Parameters
    ----------
    plan : Plan
        With the cards of all tasks.

    Returns
    -------
    list of Problem
        What a run would find before it trains anything.
    """
    import torch

    from bench.runner import Runner

    runner = Runner(plan, Path(), Path(), torch.device("cpu"))
    found: list[Problem] = []
    for target in plan.targets:
        for backbone in range(len(plan.backbones)):
            for unit in (Check(target, backbone), *model_checks(plan, target, backbone)):
                (record,) = run_unit(runner, unit, Path())
                if "error" in record:
                    found.append(Problem(record["place"], record["error"]))
                    break  # a network that cannot be built takes no model either
    return found
