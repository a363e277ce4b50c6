"""The protocol that every task meets: labelled arrays, class names, a train pool and a fixed test set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from bench.errors import DataError
from bench.identity import digest_arrays
from bench.registry import CHANGES, TASKS
from bench.seeding import generator
from bench.tasks import arrays

TEST_SHARE = 0.3
PARTS = ("x", "y", "x_test", "y_test", "harmful", "domains")


@dataclass(frozen=True, eq=False)
class Task:
    """One labelled classification problem.

    Parameters
    ----------
    x : array, shape (N, C, H, W) for images or (N, D) for tables
        Train pool. Images are uint8 (0 to 255) or float (0 to 1); tables are float. May be mapped from
        a file and read-only, where it is large or was read by a worker (:mod:`bench.tasks.arrays`).
    y : integer array, shape (N,)
        Labels, indices into `classes`.
    classes : sequence of str
        Class names, at least two.
    x_test, y_test : arrays, optional
        The fixed test set. Without it, the protocol cuts 30 % of the data off, stratified, in a way
        that depends on nothing but `name` and the data's size, so that it is the same in every trial.
    name : str
        What messages call it; set by the registry.
    version : int
        Raised by the author when the data change.
    harmful : bool array, shape (N,), optional
        Which train examples a change has spoilt on purpose (wrong label, foreign image, ...). No
        training sees it, except the oracle weighting; learned weights are judged on it.
    domains : integer array, shape (N,), optional
        Which of several mixed sources each train example comes from; 0 for the task's own.

    Raises
    ------
    DataError
        For arrays that cannot be a task, with the first thing that is wrong.
    """

    x: np.ndarray
    y: np.ndarray
    classes: Sequence[str]
    x_test: np.ndarray | None = None
    y_test: np.ndarray | None = None
    name: str = "task"
    version: int = 1
    harmful: np.ndarray | None = None
    domains: np.ndarray | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "classes", tuple(str(c) for c in self.classes))
        put(self, "x", np.asarray(self.x))
        put(self, "y", _labels(self.y, self.name))
        if (self.x_test is None) != (self.y_test is None):
            raise DataError(f"{self.name}: give both x_test and y_test, or neither")
        if self.x_test is None:
            self._check(self.x, self.y, "data")
            self._cut_test_set()
        else:
            put(self, "x_test", np.asarray(self.x_test))
            put(self, "y_test", _labels(self.y_test, self.name))
        self._check(self.x, self.y, "train")
        self._check(self.x_test, self.y_test, "test")
        if self.x_test.shape[1:] != self.x.shape[1:]:
            raise DataError(f"{self.name}: train inputs are {self.x.shape[1:]} but test inputs {self.x_test.shape[1:]}")
        for flag, kind in (("harmful", bool), ("domains", np.int64)):
            values = getattr(self, flag)
            if values is not None:
                values = np.asarray(values).astype(kind)
                if values.shape != self.y.shape:
                    raise DataError(f"{self.name}: {flag} has shape {values.shape}, labels have {self.y.shape}")
                put(self, flag, values)

    def _cut_test_set(self) -> None:
        put = object.__setattr__
        order = stratified_order(self.y, generator("test set", self.name, len(self.y)))
        n_test = max(1, round(TEST_SHARE * len(order)))
        if n_test >= len(order):
            raise DataError(f"{self.name}: {len(order)} examples are too few to cut a test set from")
        test, train = np.sort(order[:n_test]), np.sort(order[n_test:])
        put(self, "x_test", arrays.take(self.x, test, self.name))
        put(self, "y_test", self.y[test])
        put(self, "x", arrays.take(self.x, train, self.name))
        for part in ("y", "harmful", "domains"):
            values = getattr(self, part)
            if values is not None:
                put(self, part, np.asarray(values)[train])

    def _check(self, x: np.ndarray, y: np.ndarray, part: str) -> None:
        where = f"{self.name}, {part} set"
        if x.ndim not in (2, 4):
            raise DataError(f"{where}: inputs must be N x C x H x W or N x D, got shape {x.shape}")
        if len(x) != len(y):
            raise DataError(f"{where}: {len(x)} inputs but {len(y)} labels")
        if x.size == 0:
            raise DataError(f"{where}: is empty (shape {x.shape})")
        if x.dtype != np.uint8 and not np.issubdtype(x.dtype, np.floating):
            raise DataError(f"{where}: inputs must be uint8 or float, got {x.dtype}")
        bad = None if x.dtype == np.uint8 else arrays.first_not_finite(x)
        if bad is not None:
            raise DataError(f"{where}: input {bad} has NaN or infinite values")
        if len(self.classes) < 2:
            raise DataError(f"{self.name}: a task needs at least two classes, got {list(self.classes)}")
        if len(set(self.classes)) != len(self.classes):
            raise DataError(f"{self.name}: class names repeat: {list(self.classes)}")
        if y.min() < 0 or y.max() >= len(self.classes):
            bad = int(y.min()) if y.min() < 0 else int(y.max())
            last = len(self.classes) - 1
            raise DataError(f"{where}: label {bad} is outside the {last + 1} classes (0 to {last})")
        if part == "train" and len(np.unique(y)) < 2:
            raise DataError(f"{where}: every label is the same; a task needs examples of two classes")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input: (C, H, W) or (D,)."""
        return self.x.shape[1:]

    @property
    def is_image(self) -> bool:
        """Whether the inputs are images."""
        return self.x.ndim == 4

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the data, class names and version: two tasks with one fingerprint are the same."""
        return digest_arrays(self.parts(), [list(self.classes), self.version], chunks=arrays.chunks)

    def parts(self) -> dict[str, np.ndarray]:
        """Return the arrays by name, without those that it has not."""
        return {part: getattr(self, part) for part in PARTS if getattr(self, part) is not None}

    @classmethod
    def restored(cls, **parts: Any) -> Task:
        """Return a task of the parts that one consisted of; nothing is read to check them again."""
        task = object.__new__(cls)
        given = {"x_test": None, "y_test": None, "harmful": None, "domains": None, "meta": {}, **parts}
        given["classes"] = tuple(given["classes"])
        for part in fields(cls):
            object.__setattr__(task, part.name, given[part.name])
        return task

    def changed(self, **parts: Any) -> Task:
        """Return a copy with some parts replaced (the copy is checked again)."""
        return replace(self, **parts)

    def take(self, index: np.ndarray) -> Task:
        """Return a copy whose train pool holds the examples at `index` only; the test set stays."""
        parts = {"x": arrays.take(self.x, index, self.name), "y": self.y[index]}
        for part in ("harmful", "domains"):
            values = getattr(self, part)
            parts[part] = None if values is None else values[index]
        return self.changed(**parts)

    def flags(self) -> np.ndarray:
        """Per-example harm flags, all false where nothing was planted; shape (N,)."""
        return np.zeros(len(self.y), bool) if self.harmful is None else self.harmful


def _labels(y: Any, name: str) -> np.ndarray:
    y = np.asarray(y)
    if y.ndim != 1:
        raise DataError(f"{name}: labels must be one-dimensional, got shape {y.shape}")
    whole = np.issubdtype(y.dtype, np.integer) or (y.dtype.kind in "fb" and np.array_equal(y, np.round(y)))
    if not whole:
        raise DataError(f"{name}: labels must be integers, got {y.dtype}")
    return y.astype(np.int64)


def stratified_order(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a permutation of the examples of which every prefix is (nearly) stratified.

    The i-th example of a class with m examples takes the place (i + u) / m on a common line, u being
    uniform and drawn once a class; so each prefix holds every class in proportion, rounded, and any two
    sizes are nested.

    Parameters
    ----------
    y : integer array, shape (N,)
    rng : numpy.random.Generator

    Returns
    -------
    integer array, shape (N,)
    """
    place = np.empty(len(y))
    for label in np.unique(y):
        members = rng.permutation(np.nonzero(y == label)[0])
        place[members] = (np.arange(len(members)) + rng.uniform()) / len(members)
    return np.argsort(place, kind="stable")


def task(
    name: str,
    *,
    version: int = 1,
    classes: Sequence[str] | Callable[..., Sequence[str]] | None = None,
    paths: Sequence[str] = (),
    **meta: Any,
) -> Callable:
    """Register a function ``(root, **arguments) -> Task`` under `name` (decorator).

    Parameters
    ----------
    name : str
        What a suite calls it.
    version : int
        Raise it when the function's data change: rows of the old version are then no longer reused.
    classes : sequence of str, or callable, optional
        Class names, where they are known without the data: lets a plan be exact without reading it.
        Where they depend on the arguments, a callable that takes the same keyword arguments as the
        task function and returns the names. :func:`bench.registry.known_classes` reads either.
    paths : sequence of str
        Arguments that are paths: the function gets them absolute, relative ones being the suite's, and
        they are no part of any key. Rows are told apart by the data that are read there.
    """

    def register(function: Callable[..., Task]) -> Callable[..., Task]:
        TASKS.register(name, function, version=version, given=1, classes=classes, paths=tuple(paths), **meta)
        return function

    return register


def change(
    name: str,
    *,
    version: int = 1,
    classes: Callable[..., Sequence[str]] | None = None,
    tasks: Sequence[str] = (),
    **meta: Any,
) -> Callable:
    """Register a function ``(task, rng, **arguments) -> Task`` that changes a task (decorator).

    Parameters
    ----------
    name : str
        What a suite calls it (with underscores: it stands among a task's arguments).
    version : int
        Raise it when the function's results change.
    classes : callable, optional
        For a change that alters the class names: takes the names before it, then the same keyword
        arguments (in place of a task its class names), and returns the names after it.
    tasks : sequence of str, optional
        Arguments that are tasks: a suite gives their name or table, the function gets them built.
    """

    def register(function: Callable[..., Task]) -> Callable[..., Task]:
        CHANGES.register(name, function, version=version, given=2, classes=classes, tasks=tuple(tasks), **meta)
        return function

    return register
