"""The protocol that every task meets: inputs, targets of one kind, their names, a train pool and a fixed test set."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from bench.errors import DataError
from bench.heads.base import SINGLE_LABEL, head_of
from bench.identity import digest_arrays, generator
from bench.registry import CHANGES, TASKS
from bench.tasks import arrays, batches
from bench.tasks.batches import Inputs, Targets, length, take
from bench.tasks.splits import cut_test, encode_groups, stratified_order

__all__ = ["PARTS", "Task", "change", "stratified_order", "task"]

TEST_SHARE = 0.3
UNLABELLED = "unlabelled"
PER_EXAMPLE = ("harmful", "domains", "groups")  # of the train pool, beside its inputs and labels
PARTS = ("x", "y", "x_test", "y_test", "harmful", "domains", "measured", "x_val", "y_val", "groups")


@dataclass(frozen=True, eq=False)
class Task:
    """One problem to learn, of one kind: inputs, targets, a train pool and a fixed test set.

    Parameters
    ----------
    x : array, shape (N, C, H, W) for images, (N, D) for tables or (N, T) for token ids; or a mapping of arrays
        Train pool. Images are uint8 (0 to 255) or float (0 to 1); tables are float; token ids are whole
        numbers from 0 (kept as int64), for a backbone that takes integers. May be mapped from
        a file and read-only, where it is large or was read by a worker (:mod:`bench.tasks.arrays`).
        A mapping, such as ids and mask, holds arrays of N rows each, of any shape and kind of number.
    y : targets of N examples
        What the head of the `kind` takes: for "single-label" an integer array of shape (N,), indices into
        `classes`; for "multi-label" 0 and 1, shape (N, K); for "regression" numbers, shape (N, D) or (N,); for
        "unlabelled" None. A plug-in's kind may keep a list of mappings of arrays, such as boxes and labels.
    classes : sequence of str
        Names of the classes (at least two), of the labels, or of the numbers that are predicted.
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
        Of the targets: "single-label", "multi-label", "regression", "unlabelled" (a source only) or that of a
        plug-in's head.
    further : mapping of str to (x, y), optional
        Further test sets, such as shifted ones, by what rows call them (letters, digits and _).

    Raises
    ------
    DataError
        For arrays that cannot be a task, with the first thing that is wrong.
    """

    x: Inputs
    y: Any
    classes: Sequence[str]
    x_test: Inputs | None = None
    y_test: Any = None
    name: str = "task"
    version: int = 1
    harmful: np.ndarray | None = None
    domains: np.ndarray | None = None
    measured: np.ndarray | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    x_val: Inputs | None = None
    y_val: Any = None
    groups: np.ndarray | None = None
    notes: Sequence[str] = ()
    kind: str = SINGLE_LABEL
    further: Mapping[str, tuple[Inputs, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "classes", tuple(str(c) for c in self.classes))
        put(self, "notes", tuple(self.notes))
        if len(set(self.classes)) != len(self.classes):
            raise DataError(f"{self.name}: class names repeat: {list(self.classes)}")
        for part in ("test", "val"):
            lacks = [getattr(self, f"{axis}_{part}") is None for axis in "xy"]
            if lacks[0] != lacks[1] and (lacks[0] or self.labelled):
                raise DataError(f"{self.name}: give both x_{part} and y_{part}, or neither")
        self._check("", "data" if self.x_test is None and self.x_val is None else "train")
        if self.groups is not None:
            put(self, "groups", encode_groups(self.groups, len(self.y), self.name))
        if self.x_test is None and self.x_val is not None:
            self._test_on_validation()
        if self.x_test is None:
            self._cut_test_set()
        if len(self.y) > 0 and self.labelled and not isinstance(self.y, Targets) and (self.y == self.y[0]).all():
            what = "label is the same; a task needs examples of two classes"
            what = what if self.kind == SINGLE_LABEL else "target is the same: there is nothing to learn"
            raise DataError(f"{self.name}, train set: every {what}")
        self._check("_test", "test")
        if self.x_val is not None:
            self._check("_val", "validation")
        self._check_further()
        for flag, dtype in (("harmful", bool), ("domains", np.int64)):
            values = getattr(self, flag)
            if values is not None:
                values = np.asarray(values).astype(dtype)
                if values.shape != (len(self.y),):
                    raise DataError(f"{self.name}: {flag} has shape {values.shape}, there are {len(self.y)} examples")
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
            f"test set: the {length(self.x_test):,} examples of the given validation split, as there is no other; "
            "validation is cut from the train pool"
        )
        put(self, "notes", (*self.notes, note))

    def _cut_test_set(self) -> None:
        put = object.__setattr__
        train, test, note = protocol_cut(self.strata, self.groups, self.name, self.name, self.kind)
        put(self, "notes", (*self.notes, note))
        for part in "xy":
            put(self, f"{part}_test", take(getattr(self, part), test, self.name))
            put(self, part, take(getattr(self, part), train, self.name))
        for part in PER_EXAMPLE:
            values = getattr(self, part)
            if values is not None:
                put(self, part, np.asarray(values)[train])
        if self.groups is not None:  # numbered as in a copy
            put(self, "groups", encode_groups(self.groups, len(train), self.name))

    def _check(self, end: str, what: str) -> None:
        """Check the train pool (""), the test set ("_test") or the validation split ("_val") and keep it."""
        x, y = self._checked(getattr(self, f"x{end}"), getattr(self, f"y{end}"), what)
        object.__setattr__(self, f"x{end}", x)
        object.__setattr__(self, f"y{end}", y)

    def _checked(self, x: Any, y: Any, what: str) -> tuple[Inputs, Any]:
        """Return inputs and targets as a task keeps them; those of other parts must be as the train pool's are."""
        where = f"{self.name}, {what} set"
        x = batches.inputs(x, where)
        if y is None:
            if self.labelled:
                raise DataError(f'{where}: has no targets, which a {self.kind} task needs; or say kind = "unlabelled"')
            y = np.zeros(length(x), np.int64)
        y = head_of(self.kind).targets(y, self.classes, where)
        y = Targets(y, where) if isinstance(y, list | tuple) else y
        batches.check_inputs(x, len(y), where)
        if what not in ("train", "data"):
            batches.check_alike(self.x, x, self.name, what)
        return x, y

    def _check_further(self) -> None:
        """Check the further test sets against the train pool."""
        checked = {}
        for name, pair in (self.further or {}).items():
            if not isinstance(name, str) or not re.fullmatch(r"\w+", name, re.ASCII):
                raise DataError(f"{self.name}: a further test set needs a name of letters, digits and _, got {name!r}")
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise DataError(f'{self.name}: further test set "{name}" must be (x, y), got {type(pair).__name__}')
            checked[name] = self._checked(*pair, f"test_{name}")
        object.__setattr__(self, "further", checked)

    @property
    def labelled(self) -> bool:
        """Whether the task has targets: what lacks them can be a source only."""
        return self.kind != UNLABELLED

    @property
    def strata(self) -> np.ndarray:
        """What splits of the train pool are stratified by, shape (N,): the labels, or what stands for them."""
        return head_of(self.kind).strata(self.y)

    @property
    def shape(self) -> tuple[Any, ...]:
        """Shape of one input: (C, H, W) or (D,); of a mapping, (name, shape) after (name, shape)."""
        return batches.shape_of(self.x)

    @property
    def is_image(self) -> bool:
        """Whether the inputs are images."""
        return not self.is_mapping and self.x.ndim == 4

    @property
    def is_mapping(self) -> bool:
        """Whether inputs are mappings of several arrays."""
        return isinstance(self.x, Mapping)

    @property
    def n_val(self) -> int:
        """Examples of the validation split that comes with the data."""
        return 0 if self.y_val is None else len(self.y_val)

    @cached_property
    def vocabulary(self) -> int:
        """One more than the largest token id; 0 where inputs are numbers, or mappings."""
        return 0 if self.is_mapping else self._vocabulary(self.x, "")

    @cached_property
    def vocabularies(self) -> dict[str, int]:
        """Of inputs that are mappings: by name, one more than the largest whole number, or 0 for other numbers."""
        return {name: self._vocabulary(part, f".{name}") for name, part in self.x.items()} if self.is_mapping else {}

    def _vocabulary(self, x: np.ndarray, key: str) -> int:
        if x.dtype.kind != "i":
            return 0
        parts = [part for name, part in self.parts().items() if name.startswith("x") and name.endswith(key)]
        return 1 + max(0, *(int(arrays.extremes(part)[1]) for part in parts))

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the data, class names and version: two tasks with one fingerprint are the same."""
        kind = [] if self.kind == SINGLE_LABEL else [self.kind]
        return digest_arrays(self.parts(), [list(self.classes), self.version, *kind], chunks=arrays.chunks)

    def parts(self) -> dict[str, np.ndarray]:
        """Return the arrays by name, without those that it has not.

        Those of a mapping are called "x.ids" and so on, a further test set's "x_test_night" and "y_test_night".
        """
        found = {part: getattr(self, part) for part in PARTS}
        for name, pair in self.further.items():
            found |= dict(zip((f"x_test_{name}", f"y_test_{name}"), pair, strict=True))
        flat = [batches.flat(name, value) for name, value in found.items() if value is not None]
        return {name: array for part in flat for name, array in part.items()}

    @classmethod
    def restored(cls, **parts: Any) -> Task:
        """Return a task of the parts that one consisted of; nothing is read to check them again."""
        task = object.__new__(cls)
        described = {name: value for name, value in parts.items() if not isinstance(value, np.ndarray)}
        found = batches.nested({name: value for name, value in parts.items() if isinstance(value, np.ndarray)})
        names = [name.removeprefix("x_test_") for name in found if name.startswith("x_test_")]
        further = {name: (found.pop(f"x_test_{name}"), found.pop(f"y_test_{name}")) for name in names}
        given = {**dict.fromkeys(PARTS), "meta": {}, "notes": (), "kind": SINGLE_LABEL, "further": further}
        given |= described | found
        given["classes"] = tuple(given["classes"])
        for part in fields(cls):
            object.__setattr__(task, part.name, given[part.name])
        return task

    def changed(self, **parts: Any) -> Task:
        """Return a copy with some parts replaced (the copy is checked again).

        Inputs of another shape have other columns: what was said of the old ones (`measured`) goes with them.
        """
        if "x" in parts and (isinstance(parts["x"], Mapping) or np.shape(parts["x"])[1:] != self.shape):
            parts = {"measured": None, **parts}
        return replace(self, **parts)

    def mapped(self, function: Callable[[Any], Any]) -> Task:
        """Return a copy whose inputs are what a function makes of them: of the pool, then test, validation, further."""
        names = [name for name in ("x", "x_test", "x_val") if getattr(self, name) is not None]
        made = {name: function(getattr(self, name)) for name in names}
        further = {name: (function(x), y) for name, (x, y) in self.further.items()}
        return self.changed(**made, further=further)

    def take(self, index: np.ndarray) -> Task:
        """Return a copy whose train pool holds the examples at `index` only; test sets and validation stay."""
        parts = {"x": take(self.x, index, self.name), "y": take(self.y, index, self.name)}
        for part in PER_EXAMPLE:
            values = getattr(self, part)
            parts[part] = None if values is None else values[index]
        return self.changed(**parts)

    def flags(self) -> np.ndarray:
        """Per-example harm flags, all false where nothing was planted; shape (N,)."""
        return np.zeros(len(self.y), bool) if self.harmful is None else self.harmful


def protocol_cut(
    strata: np.ndarray, groups: np.ndarray | None, name: str, where: str, kind: str = SINGLE_LABEL
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return which examples the protocol trains on and tests on where no test set is given, and a note of the cut.

    It depends on nothing but the strata (labels), the groups, their number and `name`.

    Raises
    ------
    DataError
        Of what `where` calls the data, when there are too few.
    """
    rng = generator("test set", name, len(strata))
    return cut_test(strata, groups, TEST_SHARE, rng, where, classed=kind == SINGLE_LABEL)


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
