"""What every change to a task must keep, a user's own included: the checks behind ``ntbench check``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.identity import generator
from bench.registry import Entry
from bench.tasks.base import Task

# What a built-in change is tried with where its defaults alone are not enough.
EXAMPLES: dict[str, dict[str, Any]] = {
    "classes": {"keep": ["a", "c"]},
    "imbalance": {"ratio": 4.0},
    "size_limit": {"examples": 40},
    "label_noise": {"rate": 0.4},
    "swapped_labels": {"first": "a", "second": "b"},
    "rotation": {"degrees": 20.0},
    "blur": {"sigma": 1.0},
    "input_noise": {"std": 0.2},
}


def example_task(*, image: bool = True, name: str = "example", n: int = 80) -> Task:
    """Return a small task with four classes that can be told apart, and with one flagged example.

    Images are uint8 of shape (1, 8, 8), table rows float of shape (4,).
    """
    rng = generator("example task", name, image)
    y = np.arange(n) % 4
    y_test = np.arange(30) % 4
    if image:
        x, x_test = (rng.integers(0, 100, (len(v), 1, 8, 8)) + 50 * v[:, None, None, None] for v in (y, y_test))
        x, x_test = x.astype(np.uint8), x_test.astype(np.uint8)
    else:
        x, x_test = (rng.standard_normal((len(v), 4)) + 2 * v[:, None] for v in (y, y_test))
    return Task(x, y, ["a", "b", "c", "d"], x_test, y_test, name=name, harmful=np.arange(n) == 0)


def check_change(entry: Entry, arguments: Mapping[str, Any] | None = None) -> list[str]:
    """Run the contract on a change.

    It returns a Task, the same one for the same random numbers, without touching the one it was given;
    where it keeps every example, it keeps the harm flags already planted. It may refuse images or
    tables with a clear error, but not both.

    Parameters
    ----------
    entry : Entry
    arguments : mapping, optional
        The change's own; its defaults without them. Those that are tasks may be left out.

    Returns
    -------
    list of str
        What is wrong, a sentence each; empty when all is well.
    """
    arguments = dict(arguments or {})
    problems = entry.problems(_filled(entry, arguments, image=True))
    if problems:
        return problems
    refused = refusals(entry, arguments)
    for image in (True, False):
        if image not in refused:
            what = "images" if image else "tables"
            try:
                problems += [f"on {what}: {problem}" for problem in _check_on(entry, arguments, image)]
            except Exception as error:
                problems.append(f"on {what}: {type(error).__name__}: {error}")
    if len(refused) == 2:
        problems.append(f"works on neither images nor tables: {'; '.join(dict.fromkeys(refused.values()))}")
    return problems


def _filled(entry: Entry, arguments: Mapping[str, Any], image: bool) -> dict[str, Any]:
    """Return the arguments with a task for each that is one."""
    tasks = {name: example_task(image=image, name="other") for name in entry.meta.get("tasks", ())}
    return {**tasks, **arguments}


def refusals(entry: Entry, arguments: Mapping[str, Any]) -> dict[bool, str]:
    """Return with which clear error a change refuses images (True) or tables (False), where it does."""
    found = {}
    for image in (True, False):
        try:
            entry.function(
                example_task(image=image), generator("check", entry.name), **_filled(entry, arguments, image)
            )
        except BenchError as error:
            found[image] = str(error)
        except Exception:
            continue  # a mistake, which the contract says as one
    return found


def _check_on(entry: Entry, arguments: Mapping[str, Any], image: bool) -> Iterator[str]:
    given = example_task(image=image)
    before = given.changed().fingerprint
    arguments = _filled(entry, arguments, image)
    made = entry.function(given, generator("check", entry.name), **arguments)
    if not isinstance(made, Task):
        yield f"must return a bench.Task, but returned {type(made).__name__}"
        return
    if given.changed().fingerprint != before:
        yield "changes the task that it is given in place; copy the arrays first"
        return
    again = entry.function(given, generator("check", entry.name), **arguments)
    if made.fingerprint != again.fingerprint:
        yield "two calls with the same random numbers differ; draw them from the generator that is handed in"
    if len(made.y) == len(given.y) and not made.flags()[given.flags()].all():
        yield "drops harm flags that were planted before; combine them: task.flags() | mine"
