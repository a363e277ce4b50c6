"""From a suite's specification of a task to its data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from bench.atomic_write import write_whole
from bench.errors import BenchError, DataError, StoreError
from bench.identity import generator
from bench.registry import CHANGES, TASKS
from bench.suite.specs import TaskSpec
from bench.tasks.arrays import chunks, memory_limit
from bench.tasks.base import Task
from bench.trial import SINGLE_LABEL, Card


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
        memory_limit()  # a mistake in it shows at once, and not with the first large array
        if spec.parent is not None:
            task = build_task(spec.parent, root)
        else:
            task = _call(TASKS.get(spec.base), root, **spec.arguments)
            task = task.changed(version=TASKS.get(spec.base).version)
        for index, (name, arguments) in enumerate(spec.changes):
            entry = CHANGES.get(name)
            plain = {k: v.seed if isinstance(v, TaskSpec) else v for k, v in arguments.items()}
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
    train, test = (_counts(task, y) for y in (task.y, task.y_test))
    return Card(
        name=task.name,
        fingerprint=task.fingerprint,
        version=task.version,
        classes=tuple(task.classes),
        shape=task.shape if task.is_mapping else tuple(int(n) for n in task.shape),
        n_train=len(task.y),
        n_test=len(task.y_test),
        class_counts=train,
        test_counts=test,
        n_harmful=int(task.flags().sum()),
        n_domains=1 if task.domains is None else len(np.unique(task.domains)),
        measured=None if task.measured is None else "".join("01"[int(m)] for m in task.measured),
        n_val=task.n_val,
        n_groups=0 if task.groups is None else len(np.unique(task.groups)),
        notes=task.notes,
        vocabulary=task.vocabulary,
        kind=task.kind,
        inputs=tuple(task.vocabularies.items()),
        further=tuple((name, len(y)) for name, (_, y) in task.further.items()),
    )


def _counts(task: Task, y: Any) -> tuple[int, ...]:
    """Return the examples of each class, or that have each label."""
    if task.kind == SINGLE_LABEL:
        return tuple(np.bincount(y, minlength=len(task.classes)).tolist())
    return tuple(y.sum(0).tolist()) if task.kind == "multi-label" else ()


DESCRIPTION = "task.json"


def save_task(task: Task, path: Path) -> None:
    """Write a built task as a folder of `.npy` files, for worker processes to read: whole or not at all.

    Raises
    ------
    StoreError
        When it cannot be written.
    """

    def write(place: Path) -> None:
        place.mkdir()
        parts = task.parts()
        for name, array in parts.items():
            _write_array(place / f"{name}.npy", array)
        described = {"name": task.name, "version": task.version, "classes": list(task.classes), "kind": task.kind}
        text = json.dumps({"parts": list(parts), "task": described})
        (place / DESCRIPTION).write_text(text, encoding="utf-8")
        if path.is_dir():
            shutil.rmtree(path)  # a folder that is not empty cannot be replaced

    write_whole(path, write)


def _write_array(path: Path, array: np.ndarray) -> None:
    """Write an array as `numpy.save` does, some rows at a time."""
    layout = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, layout)
        for part in chunks(array):
            file.write(np.ascontiguousarray(part).data)


def read_task(path: Path) -> Task:
    """Read what :func:`save_task` wrote; inputs are mapped read-only, so that processes share them.

    Raises
    ------
    StoreError
        When something is missing or damaged.
    """
    try:
        text = json.loads((path / DESCRIPTION).read_text(encoding="utf-8"))
        arrays = {
            name: np.load(path / f"{name}.npy", mmap_mode="r" if name.startswith("x") else None, allow_pickle=False)
            for name in text["parts"]
        }
        return Task.restored(**text["task"], **arrays)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"cannot read the task in {path}: {getattr(error, 'strerror', None) or error}") from error
