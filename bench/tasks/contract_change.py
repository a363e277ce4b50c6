"""What every change to a task must keep, a user's own included: the checks behind ``ntbench check``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.registry import Entry
from bench.seeding import generator
from bench.tasks.base import Task

PARTS = ("x", "y", "x_test", "y_test", "harmful", "domains")


def example_task(*, image: bool = True, name: str = "example", n: int = 60) -> Task:
    """Return a small task with three classes that can be told apart, and with one flagged example.

    Images are uint8 of shape (1, 8, 8), table rows float of shape (4,).
    """
    rng = generator("example task", name, image)
    y = np.arange(n) % 3
    y_test = np.arange(30) % 3
    if image:
        x, x_test = (rng.integers(0, 128, (len(v), 1, 8, 8)) + 60 * v[:, None, None, None] for v in (y, y_test))
        x, x_test = x.astype(np.uint8), x_test.astype(np.uint8)
    else:
        x, x_test = (rng.standard_normal((len(v), 4)) + 2 * v[:, None] for v in (y, y_test))
    return Task(x, y, ["a", "b", "c"], x_test, y_test, name=name, harmful=np.arange(n) == 0)


def check_change(entry: Entry, arguments: Mapping[str, Any] | None = None) -> list[str]:
    """Run the contract on a change.

    It returns a Task, the same one for the same random numbers, without touching the one it was given;
    where it keeps every example, it keeps the harm flags already planted. It may refuse images or
    tables with a clear error, but not both.

    Parameters
    ----------
    entry : Entry
    arguments : mapping, optional
        The change's own; its defaults without them.

    Returns
    -------
    list of str
        What is wrong, a sentence each; empty when all is well.
    """
    arguments = dict(arguments or {})
    problems = entry.problems(arguments)
    if problems:
        return problems
    refusals = []
    for image in (True, False):
        what = "images" if image else "tables"
        try:
            problems += [f"on {what}: {problem}" for problem in _check_on(entry, arguments, image)]
        except BenchError as error:
            refusals.append(f"{what}: {error}")
        except Exception as error:
            problems.append(f"on {what}: {type(error).__name__}: {error}")
    if len(refusals) == 2:
        problems.append(f"works on neither images nor tables ({'; '.join(refusals)})")
    return problems


def _check_on(entry: Entry, arguments: Mapping[str, Any], image: bool) -> Iterator[str]:
    given = example_task(image=image)
    before = given.changed().fingerprint
    made, again = (entry.function(given, generator("check", entry.name), **arguments) for _ in range(2))
    if not isinstance(made, Task):
        yield f"must return a bench.Task, but returned {type(made).__name__}"
        return
    if given.changed().fingerprint != before:
        yield "changes the task that it is given in place; copy the arrays first"
        return
    if made.fingerprint != again.fingerprint:
        yield "two calls with the same random numbers differ; draw them from the generator that is handed in"
    if len(made.y) == len(given.y) and not made.flags()[given.flags()].all():
        yield "drops harm flags that were planted before; combine them: task.flags() | mine"
