"""From a suite's specification of a task to its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError, DataError
from bench.registry import CHANGES, TASKS
from bench.seeding import generator
from bench.store import write_whole
from bench.suite.specs import TaskSpec
from bench.tasks.base import Task
from bench.trial import Card


def build_task(spec: TaskSpec, root: Path) -> Task:
    """Build a task: the registered function's data, then each change in the order written.

    A change's random numbers depend on its name, its arguments and how often it stands before, and on
    nothing else: the same change plants the same harm in tasks of the same size.

    Raises
    ------
    DataError
        When the data cannot be read or a change cannot be made; the message starts with the task's name.
    """
    try:
        if spec.parent is not None:
            task = build_task(spec.parent, root)
        else:
            task = _call(TASKS.get(spec.base), root, **spec.arguments)
            task = task.changed(version=TASKS.get(spec.base).version)
        for index, (name, arguments) in enumerate(spec.changes):
            entry = CHANGES.get(name)
            plain = {k: v.digest if isinstance(v, TaskSpec) else v for k, v in arguments.items()}
            before = sum(other == name for other, _ in spec.changes[:index])
            built = {k: build_task(v, root) if isinstance(v, TaskSpec) else v for k, v in arguments.items()}
            task = _call(entry, task, generator("change", name, entry.version, plain, before), **built)
        return task.changed(name=spec.name)
    except DataError as error:
        text = str(error)
        raise DataError(text if text.startswith(spec.name) else f"{spec.name}: {text}") from error


def _call(entry: Any, *given: Any, **arguments: Any) -> Task:
    """Call a registered function; a wrong value in the suite is the user's mistake, not a bug."""
    try:
        result = entry.function(*given, **arguments)
    except BenchError:
        raise
    except (Exception, SystemExit) as error:
        if not entry.built_in:
            raise DataError(entry.raised(error)) from error
        if not isinstance(error, (TypeError, ValueError)):
            raise
        shown = ", ".join(f"{k} = {v!r}" for k, v in arguments.items() if not isinstance(v, Task))
        raise DataError(f'{entry.kind} "{entry.name}" ({shown}): {error}') from error
    if not isinstance(result, Task):
        raise DataError(f'{entry.kind} "{entry.name}" returned {type(result).__name__}, not a bench.Task')
    return result


def card_of(task: Task) -> Card:
    """Return what a plan must know of `task`."""
    counts = np.bincount(task.y, minlength=len(task.classes))
    return Card(
        name=task.name,
        fingerprint=task.fingerprint,
        version=task.version,
        classes=tuple(task.classes),
        shape=tuple(int(n) for n in task.shape),
        n_train=len(task.y),
        n_test=len(task.y_test),
        class_counts=tuple(int(c) for c in counts),
    )


_PARTS = ("x", "y", "x_test", "y_test", "harmful", "domains")


def save_task(task: Task, path: Path) -> None:
    """Write a built task as safetensors, for worker processes to read.

    Raises
    ------
    StoreError
        When it cannot be written.
    """
    import json

    from safetensors.numpy import save_file

    arrays = {part: np.ascontiguousarray(getattr(task, part)) for part in _PARTS if getattr(task, part) is not None}
    described = {"name": task.name, "version": task.version, "classes": list(task.classes)}
    write_whole(path, lambda place: save_file(arrays, place, metadata={"task": json.dumps(described)}))


def read_task(path: Path) -> Task:
    """Read what :func:`save_task` wrote."""
    import json

    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        described = json.loads(file.metadata()["task"])
    return Task(**arrays, **described)
