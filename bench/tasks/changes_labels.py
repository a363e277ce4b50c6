"""Changes to the train pool's labels: harm that is planted, and flagged example by example.

A test set and a validation split that come with the data keep their labels.
"""

from __future__ import annotations

import numpy as np

from bench.errors import DataError
from bench.tasks.arguments import number, one_of, single_label
from bench.tasks.base import Task, change, stratified_order

KINDS = ("uniform", "flip", "permuted")


@change("label_noise", version=1)
def label_noise(task: Task, rng: np.random.Generator, rate: float, kind: str = "uniform") -> Task:
    """Give a share of the train pool wrong labels, the same share of every class (rounded).

    The test set keeps its labels. Every example whose label changed is flagged as harmful.

    Parameters
    ----------
    task : Task
    rng : numpy.random.Generator
    rate : float
        Share of examples that get a wrong label, 0 to 1.
    kind : {"uniform", "flip", "permuted"}
        "uniform": any other class with equal chance (symmetric noise). "flip": the next class, the
        last one's being the first (pair flipping; Han et al., NeurIPS 2018). "permuted": the class
        that a random permutation without fixed point assigns, one for the whole task: systematically
        wrong.

    Returns
    -------
    Task
    """
    single_label("label_noise", task)
    number("label_noise", 0, 1, rate=rate)
    one_of("label_noise", "kind", kind, KINDS)
    chosen = stratified_order(task.y, rng)[: round(rate * len(task.y))]
    n_classes = len(task.classes)
    old = task.y[chosen]
    if kind == "uniform":
        new = (old + rng.integers(1, n_classes, len(old))) % n_classes
    elif kind == "flip":
        new = (old + 1) % n_classes
    else:
        new = derangement(n_classes, rng)[old]
    y = task.y.copy()
    y[chosen] = new
    return _relabelled(task, y)


@change("shuffled_labels", version=1)
def shuffled_labels(task: Task, rng: np.random.Generator, share: float = 1.0) -> Task:
    """Deal the train labels out again at random among a share of the examples (Zhang et al., ICLR 2017).

    Class counts stay as they are, and inputs and labels become independent, which uniform label noise of
    rate 1 does not achieve: its labels are never right. Examples whose label changed are flagged as
    harmful; those that got their own class back are not. The test set keeps its labels. Targets of any kind
    that are arrays can be dealt out.

    Parameters
    ----------
    task : Task
    rng : numpy.random.Generator
    share : float
        Share of the examples that take part, 0 to 1.

    Returns
    -------
    Task
    """
    number("shuffled_labels", 0, 1, share=share)
    if not (task.labelled and isinstance(task.y, np.ndarray)):
        raise DataError(f"shuffled_labels: needs targets in an array; {task.name} is {task.kind}")
    chosen = stratified_order(task.strata, rng)[: round(share * len(task.y))]
    y = task.y.copy()
    y[chosen] = y[rng.permutation(chosen)]
    return _relabelled(task, y)


@change("swapped_labels", version=1)
def swapped_labels(task: Task, rng: np.random.Generator, first: str, second: str) -> Task:
    """Exchange the labels of two classes in the train pool: two lines of a table of classes mixed up.

    The test set keeps its labels. Every example of the two classes is flagged as harmful.

    Parameters
    ----------
    task : Task
    rng : numpy.random.Generator
        Not used: nothing is drawn.
    first, second : str
        Names of classes.

    Returns
    -------
    Task

    Raises
    ------
    DataError
        For a name that is no class, or twice the same.
    """
    single_label("swapped_labels", task)
    one_of("swapped_labels", "first", first, task.classes)
    one_of("swapped_labels", "second", second, task.classes)
    if first == second:
        raise DataError(f'swapped_labels: first and second are both "{first}"; nothing would change')
    a, b = task.classes.index(first), task.classes.index(second)
    return _relabelled(task, np.where(task.y == a, b, np.where(task.y == b, a, task.y)))


def derangement(n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a permutation of 0 to n - 1 that leaves nothing in place: one random cycle through all."""
    order = rng.permutation(n)
    result = np.empty(n, np.int64)
    result[order] = np.roll(order, -1)
    return result


def _relabelled(task: Task, y: np.ndarray) -> Task:
    differ = (y != task.y).reshape(len(y), -1).any(1)
    return task.changed(y=y, harmful=task.flags() | differ)
