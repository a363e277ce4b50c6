"""What a run finds on its machine: device, workers, and how trainings are laid out on it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bench.errors import BenchError
from bench.suite.plan import Plan
from bench.trial import named_shapes, shape_text


def choose_device(device: str) -> str:
    """Return "cpu" or "cuda" for "auto", "cpu" or "cuda".

    Raises
    ------
    BenchError
        When CUDA is asked for and there is none.
    """
    if device == "cpu":
        return "cpu"
    if device not in ("auto", "cuda"):
        raise BenchError(f'--device "{device}" is not one of auto, cpu, cuda')
    # Importing torch takes seconds, so it is only asked where there is a driver at all.
    if Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi"):
        import torch

        if torch.cuda.is_available():
            return "cuda"
    if device == "cuda":
        raise BenchError("--device cuda: torch finds no CUDA device on this machine")
    return "cpu"


def default_jobs(device: str) -> int:
    """Return how many workers to start: one a usable core, or one for a GPU."""
    return 1 if device == "cuda" else usable_cores()


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def layout(plan: Plan) -> str:
    """Say how many trainings share a stack, and in which precision they compute."""
    said = []
    for index, spec in enumerate(plan.backbones):
        shapes = {plan.input_shape(target): target for target in plan.targets}
        for shape, target in sorted(shapes.items(), key=lambda pair: (bool(named_shapes(pair[0])), pair)):
            lanes = plan.lanes(index, shape, task=target)
            many = f"{lanes} side by side" if lanes > 1 else "one by one"
            said.append(f"{spec.label} on {shape_text(shape)} {many}")
    return f"trainings: {', '.join(said)}; {plan.suite.precision}"
