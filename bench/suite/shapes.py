"""Input shapes that are known before any data are read, and the networks that cannot take them."""

from __future__ import annotations

from collections.abc import Mapping

from bench.errors import Problem
from bench.registry import BACKBONES, CHANGES, TASKS
from bench.suite.model import Suite
from bench.suite.specs import BackboneSpec, TaskSpec

UNKNOWN = 0  # a size that only the data tell


def known_shape(spec: TaskSpec) -> tuple[int, ...] | None:
    """Return the shape of one input as far as it is known without the data, sizes that are not as UNKNOWN."""
    if not all(CHANGES.get(name).built_in for name, _ in spec.changes):
        return None  # those of ntbench keep the shape, others may not
    if spec.parent is not None:
        return known_shape(spec.parent)
    known = TASKS.get(spec.base).meta.get("shape")
    try:
        shape = known(**spec.arguments) if callable(known) else known
        return None if shape is None else tuple(int(side) for side in shape)
    except (TypeError, ValueError, OverflowError):
        return None  # an argument is wrong; building the task says which


def refuses(spec: BackboneSpec, shape: tuple[int, ...]) -> str | None:
    """Say why a backbone cannot take inputs of a shape, as far as it declares that; None if it can."""
    entry = BACKBONES.get(spec.name)
    declared = entry.meta.get("refuses")
    try:
        return declared(tuple(shape), **spec.arguments) if declared else None
    except Exception as error:
        if entry.built_in:
            raise
        return entry.raised(error)


def shape_problems(
    suite: Suite, backbones: Mapping[int, BackboneSpec], targets: Mapping[str, TaskSpec]
) -> list[Problem]:
    """Find backbones that cannot take a target's inputs, where their shape is known without the data.

    Parameters
    ----------
    backbones : mapping of int to BackboneSpec
        Those that could be read, by their place in the suite.
    targets : mapping of str to TaskSpec
        Those that could be read.
    """
    found = []
    for target, task in targets.items():
        shape, size = known_shape(task), suite.image_size
        if shape is None:
            continue
        images = len(shape) == 3
        if images and size:
            shape = (shape[0], size, size)
        if images and UNKNOWN in shape:
            continue
        for index, spec in backbones.items():
            problem = refuses(spec, shape)
            if problem:
                told = problem.partition(", got ")[0] if UNKNOWN in shape else problem
                what = f'target "{target}"' if images else f'target "{target}", a table: try "mlp"'
                found.append(Problem(f"backbones[{index}]", f"{told} ({what})"))
    return found
