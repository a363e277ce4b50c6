"""Mixing another task's examples into a train pool."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.errors import DataError
from bench.tasks import arrays
from bench.tasks.arguments import no_mapping, number, one_of, single_label
from bench.tasks.base import Task, change, stratified_order

LABELS = ("append", "wrap")


def _mixed_names(names: tuple[str, ...], task: Sequence[str], share: float = 0.5, labels: str = "append") -> list[str]:
    """Class names after mixing; an appended name that is taken gets "(mixed)" behind it."""
    one_of("mix", "labels", labels, LABELS)
    result = list(names)
    if labels == "append":
        for name in task:
            while name in result:
                name += " (mixed)"
            result.append(name)
    return result


@change("mix", version=1, classes=_mixed_names, tasks=("task",))
def mix(host: Task, rng: np.random.Generator, /, task: Task, share: float = 0.5, labels: str = "append") -> Task:
    """Mix examples of another task into the train pool; test set and validation split stay the host's own.

    The foreign inputs are fitted to the host's shape and dtype, drawn stratified from the other task's
    train pool and shuffled in. All of them are flagged as harmful, and `domains` numbers them: what the
    host had keeps its numbers (0 where it had none), the others follow.

    Parameters
    ----------
    host : Task
    rng : numpy.random.Generator
    task : Task
        The other task; a suite gives its name or table.
    share : float
        Share of the resulting train pool that is foreign, above 0 and below 1.
    labels : {"append", "wrap"}
        "append": the other task's classes are added to the host's. "wrap": they are mapped onto the
        host's, class k to k modulo their number: planted harm, unless the two tasks share their classes.

    Raises
    ------
    DataError
        When the other task has too few examples for the share, or its inputs cannot be fitted.
    """
    number("mix", 0, 1, share=share)
    one_of("mix", "labels", labels, LABELS)
    if not 0 < share < 1:
        raise DataError(f"mix: share must lie between 0 and 1, neither included; got {share!r}")
    for each in (host, task):
        single_label("mix", each)
        no_mapping("mix", each)
    size = max(1, round(share / (1 - share) * len(host.y)))
    if size > len(task.y):
        most = len(task.y) / (len(task.y) + len(host.y))
        raise DataError(
            f"mix: a share of {share:g} beside {len(host.y)} examples of {host.name} takes {size} of {task.name}, "
            f"which has {len(task.y)}; the most is {most:.3f} (or limit the host first with size_limit)"
        )
    chosen = stratified_order(task.y, rng)[:size]
    x = arrays.concatenate([host.x, _fitted(host, task, chosen)], host.name)
    y = task.y[chosen] + len(host.classes) if labels == "append" else task.y[chosen] % len(host.classes)
    own = np.zeros(len(host.y), np.int64) if host.domains is None else host.domains
    theirs = np.zeros(size, np.int64) if task.domains is None else task.domains[chosen]
    order = rng.permutation(len(x))
    groups = None
    if host.groups is not None or task.groups is not None:
        # An example of a task without groups is one by itself, and nobody of one task is one of the other's.
        ours, foreign = (np.arange(len(t.y)) if t.groups is None else t.groups for t in (host, task))
        groups = np.concatenate([ours, ours.max() + 1 + foreign[chosen]])[order]
    return host.changed(
        x=arrays.take(x, order, host.name),
        y=np.concatenate([host.y, y])[order],
        classes=_mixed_names(host.classes, task.classes, share, labels),
        harmful=np.concatenate([host.flags(), np.ones(size, bool)])[order],
        domains=np.concatenate([own, own.max() + 1 + theirs])[order],
        groups=groups,
    )


def _fitted(host: Task, other: Task, chosen: np.ndarray) -> np.ndarray:
    """The chosen inputs of the other task in the host's shape and dtype."""
    from bench.tasks.fit import fit_images, problem

    reason = problem(other.shape, host.shape)
    if reason:
        raise DataError(f"mix: {other.name} cannot be mixed into {host.name}. {reason}")
    if bool(host.vocabulary) != bool(other.vocabulary):
        raise DataError(f"mix: {other.name} cannot be mixed into {host.name}: one holds token ids, the other numbers")
    x = arrays.take(other.x, chosen, other.name)
    if x.shape[1:] != host.shape:
        x = fit_images(x, host.shape, other.name)
    dtype = host.x.dtype
    if x.dtype == dtype:
        return x

    # Images are 0 to 255 as bytes and 0 to 1 as floats; table values mean the same in every type.
    def converted(part: np.ndarray) -> np.ndarray:
        if dtype == np.uint8:
            return np.round(np.clip(part * (255 if host.is_image else 1), 0, 255)).astype(np.uint8)
        scale = 255 if host.is_image and part.dtype == np.uint8 else 1
        return part.astype(dtype) / dtype.type(scale)

    return arrays.map_rows(converted, x, 8 * x[0].size, other.name)
