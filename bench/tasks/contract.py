"""What every task must keep, a user's own included: the checks behind ``ntbench check``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.tasks import arrays
from bench.tasks.base import Task
from bench.tasks.batches import Inputs, Targets, shared_rows, take
from bench.trial import SINGLE_LABEL

MAX_LEAK = 0.05


def check_task(build: Callable[[], Task]) -> list[str]:
    """Run the contract on a task.

    Parameters
    ----------
    build : callable
        Makes the task anew; called twice.

    Returns
    -------
    list of str
        What is wrong, a sentence each; empty when all is well.
    """
    try:
        task, again = build(), build()
    except BenchError as error:
        return [f"cannot be built: {error}"]
    except Exception as error:
        return [f"cannot be built: {type(error).__name__}: {error}"]
    for made in (task, again):
        if not isinstance(made, Task):
            return [f"must return a bench.Task, but returned {type(made).__name__}"]
    checks = (_repeats(task, again), _fingerprint(task), _classes(task), _inputs(task), _split(task))
    return [problem for found in checks for problem in found]


def _repeats(task: Task, again: Task) -> list[str]:
    """Two builds are the same, down to the fingerprint."""
    if task.classes != again.classes:
        return [f"two builds give different class names: {list(task.classes)} and {list(again.classes)}"]
    found, parts, others = [], task.parts(), again.parts()
    for part in dict.fromkeys([*parts, *others]):
        a, b = parts.get(part), others.get(part)
        if (a is None) != (b is None) or not arrays.same(a, b):
            found.append(f"two builds differ in {part}; draw random numbers from a generator with a fixed seed")
    if not found and task.fingerprint != again.fingerprint:
        found.append("two builds have the same data but different fingerprints; the version changes between them")
    return found


def _fingerprint(task: Task) -> list[str]:
    """A copy has the same fingerprint, and one with a changed value anywhere another."""
    found = []
    if task.fingerprint != task.changed().fingerprint:
        found.append("a copy has another fingerprint: it depends on more than the data")
    for part in ("x", "y", "x_test", "y_test", "x_val", "y_val"):
        value = getattr(task, part)
        if value is None:
            continue
        changed = _one_value_changed(value) if part.startswith("x") else _two_changed_places(value)
        if changed is not None and task.changed(**{part: changed}).fingerprint == task.fingerprint:
            found.append(f"the fingerprint does not notice a changed value in {part}")
    return found


def _one_value_changed(x: Inputs) -> Inputs:
    """Return inputs with another first value."""
    if isinstance(x, Mapping):
        name = next(iter(x))
        return {**x, name: _one_value_changed(x[name])}
    array = arrays.map_rows(np.copy, x)
    first = (0,) * array.ndim
    array[first] = 0 if array[first] else 1
    return array


def _two_changed_places(y: Any) -> Any:
    """Return targets of which two that differ have changed places, so that a copy is still a task; None if none do."""
    if isinstance(y, Targets):
        unlike = next((i for i, target in enumerate(y) if not _equal(target, y[0])), 0)
    else:
        unlike = int(np.argmax((y != y[0]).reshape(len(y), -1).any(1)))
    order = np.arange(len(y))
    order[[0, unlike]] = [unlike, 0]
    return take(y, order) if unlike else None


def _equal(target: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return all(np.array_equal(target[name], other[name]) for name in target)


def _classes(task: Task) -> list[str]:
    """Every class has examples to train on and to be tested on."""
    found = []
    if task.kind != SINGLE_LABEL:
        return found
    for y, where in ((task.y, "train pool"), (task.y_test, "test set")):
        counts = np.bincount(y, minlength=len(task.classes))
        missing = [f'"{name}"' for name, count in zip(task.classes, counts, strict=True) if not count]
        if missing:
            more = ", ..." if len(missing) > 5 else ""
            found.append(f"no example in the {where} of class {', '.join(missing[:5])}{more}")
    return found


def _inputs(task: Task) -> list[str]:
    """Inputs have one type, the range and the layout that networks are given, and are not all the same."""
    found = []
    parts = {"test": task.x_test, **{f'"{name}" test': x for name, (x, _) in task.further.items()}}
    for key in task.x if task.is_mapping else (None,):
        of, own = (f' of "{key}"', task.x[key]) if key else ("", task.x)
        for where, x in parts.items():
            other = x[key] if key else x
            if own.dtype != other.dtype:
                found.append(f"train inputs{of} are {own.dtype} but {where} inputs {other.dtype}")
    if task.is_image:
        channels, _, width = task.shape
        if channels > 4 and width in (1, 3, 4):
            found.append(f"images of shape {task.shape} look like H x W x C; they must be C x H x W")
        for where, x in {"train": task.x, **parts}.items():
            low, high = (0, 1) if x.dtype == np.uint8 else arrays.extremes(x)
            if low < 0 or high > 1:
                found.append(f"float images must lie in 0 to 1, but {where} inputs go from {low:g} to {high:g}")
    elif not task.is_mapping and task.x.dtype != np.int64 and not np.issubdtype(task.x.dtype, np.floating):
        found.append(f"tables must be float, got {task.x.dtype} (and token ids int64)")
    every = task.x.values() if task.is_mapping else (task.x,)
    if all((part == x[:1]).all() for x in every for part in arrays.chunks(x)):
        found.append("every train input is the same")
    return found


def _split(task: Task) -> list[str]:
    """Test and validation images are no copies of train images (rows of a table may well repeat)."""
    if not task.is_image:
        return []
    found = []
    for x, where in ((task.x_test, "test"), (task.x_val, "validation")):
        shared = 0 if x is None else shared_rows(task.x, x)
        if shared and shared > MAX_LEAK * len(x):
            found.append(f"{shared} of {len(x)} {where} images are also in the train pool")
    return found
