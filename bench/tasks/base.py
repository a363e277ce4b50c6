"""The protocol that every task meets: labelled arrays, class names, a train pool and a fixed test set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from bench.errors import DataError
from bench.heads.base import SINGLE_LABEL
from bench.identity import digest_arrays
from bench.registry import CHANGES, TASKS
from bench.seeding import generator
from bench.tasks import arrays
from bench.tasks.splits import cut_test, encode_groups, stratified_order

__all__ = ["PARTS", "Task", "change", "stratified_order", "task"]

TEST_SHARE = 0.3
PER_EXAMPLE = ("harmful", "domains", "groups")  # of the train pool, beside its inputs and labels
PARTS = ("x", "y", "x_test", "y_test", "harmful", "domains", "measured", "x_val", "y_val", "groups")


@dataclass(frozen=True, eq=False)
class Task:
    """One labelled classification problem.

    Parameters
    ----------
    x : array, shape (N, C, H, W) for images, (N, D) for tables or (N, T) for token ids
        Train pool. Images are uint8 (0 to 255) or float (0 to 1); tables are float; token ids are whole
        numbers from 0 (kept as int64), for a backbone that takes integers. May be mapped from
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
    measured : bool array, shape (D,), optional
        Of a table: the columns that a suite's `standardise` brings to mean 0 and spread 1 (those of a
        category are not; none is where the task is to be left as it is). Without it, nothing is said: the
        table is standardised only where the suite asks for it.
    x_val, y_val : arrays, optional
        A validation split that comes with the data: used where the recipe says ``validation = "given"``,
        else by nobody. Without `x_test`, it is the test set, and validation is cut from the train pool.
    groups : array of whole numbers or strings, shape (N,), optional
        What each train example belongs to (a patient, a site): no cut of the protocol tears a group apart.
        Kept as numbers.
    notes : sequence of str
        What was done to the data that their files do not say, a sentence each with its counts: cuts, rows
        left out, images cropped. No part of the fingerprint.
    kind : str
        What the targets are: a registered head.

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
    measured: np.ndarray | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    x_val: np.ndarray | None = None
    y_val: np.ndarray | None = None
    groups: np.ndarray | None = None
    notes: Sequence[str] = ()
    kind: str = SINGLE_LABEL

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "classes", tuple(str(c) for c in self.classes))
        put(self, "x", _inputs(self.x))
        put(self, "y", _labels(self.y, self.name))
        put(self, "notes", tuple(self.notes))
        for part in ("test", "val"):
            if (getattr(self, f"x_{part}") is None) != (getattr(self, f"y_{part}") is None):
                raise DataError(f"{self.name}: give both x_{part} and y_{part}, or neither")
        if self.groups is not None:
            put(self, "groups", encode_groups(self.groups, len(self.y), self.name))
        if self.x_test is None and self.x_val is not None:
            self._test_on_validation()
        if self.x_test is None:
            self._check(self.x, self.y, "data")
            self._cut_test_set()
        self._check(self.x, self.y, "train")
        self._check_held("test")
        if self.x_val is not None:
            self._check_held("val")
        for flag, kind in (("harmful", bool), ("domains", np.int64)):
            values = getattr(self, flag)
            if values is not None:
                values = np.asarray(values).astype(kind)
                if values.shape != self.y.shape:
                    raise DataError(f"{self.name}: {flag} has shape {values.shape}, labels have {self.y.shape}")
                put(self, flag, values)
        if self.measured is not None:
            put(self, "measured", np.asarray(self.measured).astype(bool))
            if self.measured.shape != self.shape:
                raise DataError(f"{self.name}: measured has shape {self.measured.shape}, an input {self.shape}")

    def _test_on_validation(self) -> None:
        put = object.__setattr__
        for part in ("x", "y"):
            put(self, f"{part}_test", getattr(self, f"{part}_val"))
            put(self, f"{part}_val", None)
        note = (
            f"test set: the {len(self.y_test):,} examples of the given validation split, as there is no other; "
            "validation is cut from the train pool"
        )
        put(self, "notes", (*self.notes, note))

    def _cut_test_set(self) -> None:
        put = object.__setattr__
        train, test, note = protocol_cut(self.y, self.groups, self.name, self.name)
        put(self, "notes", (*self.notes, note))
        put(self, "x_test", arrays.take(self.x, test, self.name))
        put(self, "y_test", self.y[test])
        put(self, "x", arrays.take(self.x, train, self.name))
        for part in ("y", *PER_EXAMPLE):
            values = getattr(self, part)
            if values is not None:
                put(self, part, np.asarray(values)[train])
        if self.groups is not None:  # numbered as in a copy
            put(self, "groups", encode_groups(self.groups, len(train), self.name))

    def _check_held(self, part: str) -> None:
        """Check the test set ("test") or the validation split ("val") against the train pool."""
        x = _inputs(getattr(self, f"x_{part}"))
        object.__setattr__(self, f"x_{part}", x)
        object.__setattr__(self, f"y_{part}", _labels(getattr(self, f"y_{part}"), self.name))
        what = {"val": "validation"}.get(part, part)
        self._check(x, getattr(self, f"y_{part}"), what)
        if x.shape[1:] != self.x.shape[1:]:
            raise DataError(f"{self.name}: train inputs are {self.x.shape[1:]} but {what} inputs {x.shape[1:]}")
        if (self.x.dtype.kind == "i") != (x.dtype.kind == "i"):
            raise DataError(f"{self.name}: train inputs are {self.x.dtype} but {what} inputs {x.dtype}")

    def _check(self, x: np.ndarray, y: np.ndarray, part: str) -> None:
        where = f"{self.name}, {part} set"
        if x.ndim not in (2, 4):
            raise DataError(f"{where}: inputs must be N x C x H x W or N x D, got shape {x.shape}")
        if len(x) != len(y):
            raise DataError(f"{where}: {len(x)} inputs but {len(y)} labels")
        if x.size == 0:
            raise DataError(f"{where}: is empty (shape {x.shape})")
        tokens = x.dtype == np.int64 and x.ndim == 2
        if x.dtype != np.uint8 and not tokens and not np.issubdtype(x.dtype, np.floating):
            raise DataError(
                f"{where}: images must be uint8 or float, tables float and token ids integers of shape N x T; "
                f"got {x.dtype} of shape {x.shape}"
            )
        if tokens and (least := arrays.extremes(x)[0]) < 0:
            raise DataError(f"{where}: token ids must be 0 or more, got {least}")
        bad = arrays.first_not_finite(x) if x.dtype.kind == "f" else None
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

    @property
    def n_val(self) -> int:
        """Examples of the validation split that comes with the data."""
        return 0 if self.y_val is None else len(self.y_val)

    @cached_property
    def vocabulary(self) -> int:
        """One more than the largest token id; 0 where inputs are numbers."""
        if self.x.dtype.kind != "i":
            return 0
        return 1 + int(max(arrays.extremes(part)[1] for name, part in self.parts().items() if name.startswith("x")))

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
        given = {**dict.fromkeys(PARTS), "meta": {}, "notes": (), "kind": SINGLE_LABEL, **parts}
        given["classes"] = tuple(given["classes"])
        for part in fields(cls):
            object.__setattr__(task, part.name, given[part.name])
        return task

    def changed(self, **parts: Any) -> Task:
        """Return a copy with some parts replaced (the copy is checked again).

        Inputs of another shape have other columns: what was said of the old ones (`measured`) goes with them.
        """
        if "x" in parts and np.shape(parts["x"])[1:] != self.shape:
            parts = {"measured": None, **parts}
        return replace(self, **parts)

    def mapped(self, function: Callable[[np.ndarray], np.ndarray]) -> Task:
        """Return a copy whose inputs are what a function makes of them: of the pool, then test, then validation."""
        names = [name for name in ("x", "x_test", "x_val") if getattr(self, name) is not None]
        return self.changed(**{name: function(getattr(self, name)) for name in names})

    def take(self, index: np.ndarray) -> Task:
        """Return a copy whose train pool holds the examples at `index` only; test and validation stay."""
        parts = {"x": arrays.take(self.x, index, self.name), "y": self.y[index]}
        for part in PER_EXAMPLE:
            values = getattr(self, part)
            parts[part] = None if values is None else values[index]
        return self.changed(**parts)

    def flags(self) -> np.ndarray:
        """Per-example harm flags, all false where nothing was planted; shape (N,)."""
        return np.zeros(len(self.y), bool) if self.harmful is None else self.harmful


def _inputs(x: Any) -> np.ndarray:
    """Return inputs as an array, token ids as int64."""
    x = np.asarray(x)
    return x.astype(np.int64) if x.ndim == 2 and x.dtype.kind in "iu" and x.dtype not in (np.uint8, np.int64) else x


def _labels(y: Any, name: str) -> np.ndarray:
    y = np.asarray(y)
    if y.ndim != 1:
        raise DataError(f"{name}: labels must be one-dimensional, got shape {y.shape}")
    whole = np.issubdtype(y.dtype, np.integer) or (y.dtype.kind in "fb" and np.array_equal(y, np.round(y)))
    if not whole:
        raise DataError(f"{name}: labels must be integers, got {y.dtype}")
    return y.astype(np.int64)


def protocol_cut(y: np.ndarray, groups: np.ndarray | None, name: str, where: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Return which examples the protocol trains on and tests on where no test set is given, and a note of the cut.

    It depends on nothing but the labels, the groups, their number and `name`.

    Raises
    ------
    DataError
        Of what `where` calls the data, when there are too few.
    """
    return cut_test(y, groups, TEST_SHARE, generator("test set", name, len(y)), where)


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
