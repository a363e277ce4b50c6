"""Trying a plan's networks before anything is trained: shapes, depths and handed-in models."""

from __future__ import annotations

from pathlib import Path

from bench.errors import Problem
from bench.launch.units import run_unit
from bench.suite.plan import Plan
from bench.suite.weightings import UNIFORM
from bench.trial import Check


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
    for target, sources in plan.targets.items():
        for backbone in range(len(plan.backbones)):
            checks = [Check(target, backbone)]
            given = [source for source in sources if source in plan.models]
            checks += [Check(target, backbone, plan.source_model(name, target, backbone, UNIFORM, 0)) for name in given]
            for unit in checks:
                (record,) = run_unit(runner, unit, Path())
                if "error" in record:
                    found.append(Problem(record["place"], record["error"]))
                    break  # a network that cannot be built takes no model either
    return found
