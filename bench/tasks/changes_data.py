"""Changes to which classes and examples a task has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.errors import DataError, unknown
from bench.identity import generator
from bench.tasks.arguments import number, one_of, single_label, whole
from bench.tasks.base import PER_EXAMPLE, Task, change, stratified_order
from bench.tasks.batches import take
from bench.tasks.splits import whole_groups
from bench.trial import SINGLE_LABEL

HALVES = ("first", "second")


def _class_indices(names: Sequence[str], keep: Sequence[str | int]) -> list[int]:
    """Look classes up by name (text) or index (a number); the order of `keep` stays."""
    if isinstance(keep, (str, int)) or not keep:
        raise DataError(f"classes: give a list of class names or indices; got {keep!r}")
    found = []
    for item in keep:
        if isinstance(item, str):
            if item not in names:
                raise unknown("class", item, names)
            found.append(names.index(item))
            continue
        whole("classes", 0, index=item)
        if item >= len(names):
            raise DataError(f"classes: index {item} is outside the {len(names)} classes (0 to {len(names) - 1})")
        found.append(int(item))
    if len(set(found)) != len(found):
        raise DataError(f"classes: a class is given twice in {list(keep)}")
    if len(found) < 2:
        raise DataError(f"classes: a task needs at least two classes; got {list(keep)}")
    return found


def _kept_classes(names: tuple[str, ...], keep: Sequence[str | int]) -> list[str]:
    return [names[i] for i in _class_indices(names, keep)]


@change("classes", version=1, classes=_kept_classes)
def classes(task: Task, rng: np.random.Generator, keep: Sequence[str | int]) -> Task:
    """Keep some of the classes, in the order given, in the train pool, the test set and a given validation split.

    Parameters
    ----------
    task : Task
    rng : numpy.random.Generator
        Not used.
    keep : sequence of str or int
        Class names (text) or indices (numbers), at least two.

    Raises
    ------
    UnknownName
        For a name that is no class, with the nearest match.
    DataError
        For an index outside the classes, a repeated or a single class, or no example left.
    """
    single_label("classes", task)
    return _keep_classes(task, _class_indices(task.classes, keep))


def _keep_classes(task: Task, indices: Sequence[int]) -> Task:
    new_label = np.full(len(task.classes), -1)
    new_label[list(indices)] = np.arange(len(indices))
    parts: dict[str, Any] = {"classes": [task.classes[i] for i in indices]}

    def kept(x: Any, y: np.ndarray) -> tuple[Any, np.ndarray]:
        rows = np.nonzero(new_label[y] >= 0)[0]
        return take(x, rows, task.name), new_label[y[rows]]

    for part in ("", "_test", "_val"):
        y = getattr(task, f"y{part}")
        if y is not None:
            parts[f"x{part}"], parts[f"y{part}"] = kept(getattr(task, f"x{part}"), y)
    parts["further"] = {name: kept(*pair) for name, pair in task.further.items()}
    train = np.nonzero(new_label[task.y] >= 0)[0]
    parts |= {name: value[train] for name in PER_EXAMPLE if (value := getattr(task, name)) is not None}
    return task.changed(**parts)


def _half_of_classes(n_classes: int, half: str, seed: int | None) -> list[int]:
    one_of("class_half", "half", half, HALVES)
    if n_classes < 4:
        raise DataError(f"class_half: needs at least four classes, so that a half has two; there are {n_classes}")
    # The seed alone decides, never which half is asked for: so the two halves are complementary.
    order = np.arange(n_classes) if seed is None else generator("class half", n_classes, seed).permutation(n_classes)
    middle = (n_classes + 1) // 2
    return sorted(int(i) for i in (order[:middle] if half == "first" else order[middle:]))


def _half_names(names: tuple[str, ...], half: str = "first", seed: int | None = None) -> list[str]:
    return [names[i] for i in _half_of_classes(len(names), half, seed)]


@change("class_half", version=1, classes=_half_names)
def class_half(task: Task, rng: np.random.Generator, half: str = "first", seed: int | None = None) -> Task:
    """Keep half of the classes: A or B of Yosinski et al. (NeurIPS 2014).

    Parameters
    ----------
    task : Task
    rng : numpy.random.Generator
        Not used, since the two halves must come from one split.
    half : {"first", "second"}
        The first has the odd class where their number is odd.
    seed : int, optional
        Split the classes at random by this seed; without it in their own order.
    """
    single_label("class_half", task)
    return _keep_classes(task, _half_of_classes(len(task.classes), half, seed))


@change("example_half", version=1)
def example_half(task: Task, rng: np.random.Generator, half: str = "first", seed: int = 0, share: float = 0.5) -> Task:
    """Keep half of the train pool, or another share, every class in proportion; the two parts are disjoint.

    The control BnB of Yosinski et al. (NeurIPS 2014) trains its source model on one half of the target's
    examples and its target model on the other. The test set stays whole. Where examples have groups, the two
    parts share none, and are as near to the share as whole groups allow.

    Parameters
    ----------
    task : Task
    rng : numpy.random.Generator
        Not used, since the two halves must come from one split.
    half : {"first", "second"}
    seed : int
        Which split.
    share : float
        Of the examples that the first part has, 0 to 1; the second part has the others.

    Raises
    ------
    DataError
        For a share outside 0 to 1, or one that leaves a part without an example.
    """
    one_of("example_half", "half", half, HALVES)
    number("example_half", 0, 1, share=share)
    rng = generator("example half", len(task.y), seed)
    if task.groups is not None:
        wanted = math.floor(share * len(task.y) + 0.5)
        first = whole_groups(task.strata, task.groups, wanted, rng, task.kind == SINGLE_LABEL)
        if not 0 < first.sum() < len(first):
            raise DataError(f"example_half: share = {share!r} of {len(first)} examples leaves a part without any group")
        return task.take(np.nonzero(first == (half == "first"))[0])
    order = stratified_order(task.strata, rng)
    middle = math.floor(share * len(order) + 0.5)  # halves upwards
    if not 0 < middle < len(order):
        raise DataError(f"example_half: share = {share!r} of {len(order)} examples leaves a part without any")
    return task.take(np.sort(order[:middle] if half == "first" else order[middle:]))


@change("size_limit", version=1)
def size_limit(task: Task, rng: np.random.Generator, examples: int | None = None, per_class: int | None = None) -> Task:
    """Keep at most so many train examples, stratified; the test set stays whole.

    Parameters
    ----------
    task : Task
    rng : numpy.random.Generator
    examples : int, optional
        In all; every class in proportion.
    per_class : int, optional
        Of each class. Give one of the two.

    Raises
    ------
    DataError
        When a class would be left without an example.
    """
    if (examples is None) == (per_class is None):
        raise DataError(f"size_limit: give examples or per_class; got examples={examples}, per_class={per_class}")
    order = stratified_order(task.strata, rng)
    if per_class is not None:
        single_label("size_limit: per_class", task)
        whole("size_limit", 1, per_class=per_class)
        return task.take(np.sort(_first_of_each(task.y, order, np.full(len(task.classes), per_class))))
    whole("size_limit", 1, examples=examples)
    kept = np.sort(order[:examples])
    lost = np.setdiff1d(task.y, task.y[kept]) if task.kind == SINGLE_LABEL else ()
    if len(lost):
        names = ", ".join(f'"{task.classes[i]}"' for i in lost)
        raise DataError(f"size_limit: {examples} examples leave none of class {names}; use more, or per_class")
    return task.take(kept)


@change("imbalance", version=1)
def imbalance(
    task: Task, rng: np.random.Generator, ratio: float | None = None, shares: Mapping[str, float] | None = None
) -> Task:
    """Make the train pool's classes unequal by leaving examples out; the test set stays whole.

    Parameters
    ----------
    task : Task
    rng : numpy.random.Generator
    ratio : float, optional
        How many times larger the first class is than the last, at least 1; sizes fall geometrically in
        class order (long-tailed; Cui et al., CVPR 2019) and are as large as the data allow.
    shares : mapping, optional
        From class name to the share of its examples that is kept, above 0; other classes stay whole.
        Give one of the two. No class falls below one example.

    Raises
    ------
    DataError
        For a ratio below 1, or a share that is 0 or outside 0 to 1.
    UnknownName
        For a name that is no class, with the nearest match.
    """
    single_label("imbalance", task)
    if (ratio is None) == (shares is None):
        raise DataError(f"imbalance: give ratio or shares; got ratio={ratio!r}, shares={shares!r}")
    counts = np.bincount(task.y, minlength=len(task.classes))
    wanted = _long_tail(counts, ratio) if shares is None else counts * _shares(task, shares)
    limits = np.maximum(np.round(wanted), 1).astype(int)
    return task.take(np.sort(_first_of_each(task.y, rng.permutation(len(task.y)), limits)))


def _long_tail(counts: np.ndarray, ratio: float) -> np.ndarray:
    number("imbalance", 1, ratio=ratio)
    present = np.nonzero(counts)[0]
    profile = np.zeros(len(counts))
    profile[present] = float(ratio) ** (-np.arange(len(present)) / (len(present) - 1))
    return profile * (counts[present] / profile[present]).min()


def _shares(task: Task, shares: Mapping[str, Any]) -> np.ndarray:
    if not isinstance(shares, Mapping):
        raise DataError(f"imbalance: shares must map class names to numbers; got {shares!r}")
    result = np.ones(len(task.classes))
    for name, share in shares.items():
        if name not in task.classes:
            raise unknown("class", str(name), task.classes)
        number("imbalance", 0, 1, **{str(name): share})
        if share == 0:
            raise DataError(f'imbalance: share 0 would remove class "{name}"; use the change "classes" for that')
        result[task.classes.index(name)] = share
    return result


def _first_of_each(y: np.ndarray, order: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """The first examples of each class along `order`, as many as `limits` allows; indices into `y`."""
    return np.concatenate([order[y[order] == label][:limit] for label, limit in enumerate(limits)])
