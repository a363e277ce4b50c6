"""What is run: source models and trials, each with a key made of what decides its result."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA_VERSION = 2
SINGLE_LABEL = "single-label"  # the kind of task where none is said
UNIFORM = "uniform"  # the weighting that treats all source examples alike
SHOWN_CLASSES = 12


def counts_text(classes: Sequence[str], *counts: Sequence[int], most: int | None = SHOWN_CLASSES) -> str:
    """Write the examples of each class, of one part or of several: "ants 123 + 70, bees 121 + 83"; `most` classes."""
    shown = [f"{name} {' + '.join(f'{n:,}' for n in each)}" for name, *each in zip(classes, *counts, strict=True)]
    more = "" if most is None or len(shown) <= most else f", ... and {len(shown) - most} more classes"
    return ", ".join(shown[:most]) + more


@dataclass(frozen=True, slots=True)
class Card:
    """What a plan must know of a task without holding its data.

    Attributes
    ----------
    name : str
        What the suite calls it; two names of one task are told apart by nothing else, so it is not compared.
    fingerprint : str
        Digest of the data at their own shape.
    version : int
    classes : tuple of str
    shape : tuple of int, or of (name, tuple of int)
        Shape of one input as the task gives it; of a mapping, that of each of its inputs.
    n_train, n_test : int
    class_counts : tuple of int
        Train examples of each class, or that have each label; empty for other kinds of task.
    n_harmful : int
        Train examples that are flagged as spoilt on purpose.
    n_domains : int
        Different domains that train examples are numbered by; 1 where they are not.
    measured : str or None
        A table's columns, "1" for each that is standardised and "0" for the others; None where the task
        says nothing of them.
    n_val : int
        Examples of the validation split that comes with the data.
    n_groups : int
        Groups of the train pool that no cut tears apart; 0 where there are none.
    notes : tuple of str
        What was done to the data that their files do not say, such as a test set that was cut off. The
        fingerprint tells data apart, so that two cards may be equal whatever they note.
    test_counts : tuple of int
        Test examples of each class; empty in ledgers that were written before they were kept.
    vocabulary : int
        One more than the largest token id; 0 where inputs are numbers.
    kind : str
        Of the task: what its targets are.
    inputs : tuple of (str, int)
        Of inputs that are mappings: what each is called, and one more than its largest whole number (0 for other
        numbers).
    further : tuple of (str, int)
        Names of the further test sets, and how many examples each has.
    """

    name: str = field(compare=False)
    fingerprint: str
    version: int
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    n_train: int
    n_test: int
    class_counts: tuple[int, ...] = ()
    n_harmful: int = 0
    n_domains: int = 1
    measured: str | None = None
    n_val: int = field(default=0, compare=False)
    n_groups: int = field(default=0, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    test_counts: tuple[int, ...] = field(default=(), compare=False)

    @property
    def majority(self) -> int | None:
        """Class with the most examples in the train pool, the first of equals; None where they were not counted."""
        return self.class_counts.index(max(self.class_counts)) if any(self.class_counts) else None

    @property
    def majority_accuracy(self) -> float | None:
        """Test accuracy of predicting the train pool's most frequent class for every example; None if unknown.

        The class is chosen by training labels, as a classifier would have to choose it: where the test set
        has another majority, always predicting that one would score more, but nothing in training says so.
        """
        known = self.majority is not None and len(self.test_counts) == len(self.class_counts)
        if self.kind != SINGLE_LABEL or not known or not self.n_test:
            return None
        return self.test_counts[self.majority] / self.n_test

    vocabulary: int = 0
    kind: str = SINGLE_LABEL
    inputs: tuple[tuple[str, int], ...] = ()
    further: tuple[tuple[str, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the card as JSON-able values."""
        values = asdict(self)
        for name, default in (("measured", None), ("kind", SINGLE_LABEL), ("inputs", ()), ("further", ())):
            if values[name] == default:
                del values[name]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Card:
        """Build a card from what :meth:`to_json` gave."""
        tuples = {name: tuple(values[name]) for name in ("classes", "class_counts")}
        tuples |= {name: tuple(values.get(name, ())) for name in ("test_counts", "notes")}
        tuples |= {name: tuple((key, n) for key, n in values.get(name, ())) for name in ("inputs", "further")}
        tuples["shape"] = shape_from_json(values["shape"])
        return cls(**{**values, **tuples})


def named_shapes(shape: Sequence[Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of inputs that are mappings by name; nothing for the shape of an array."""
    return dict(shape) if shape and isinstance(shape[0], tuple) else {}


def is_array_shape(shape: Sequence[Any], axes: int) -> bool:
    """Whether a shape is that of an array with so many axes: 3 for an image, 1 for a row of a table."""
    return len(shape) == axes and not named_shapes(shape)


def shape_text(shape: Sequence[Any]) -> str:
    """Write the shape of one input: "1 x 8 x 8", or "ids 6, mask 6" of a mapping."""
    if named := named_shapes(shape):
        return ", ".join(f"{name} {' x '.join(map(str, sizes)) or 1}" for name, sizes in named.items())
    return " x ".join(map(str, shape))


@dataclass(frozen=True, slots=True)
class Meta:
    """The labelled target examples that a weighting learns from: those of one trial, validation left out.

    Attributes
    ----------
    target : str
    size : int
        Labelled target examples in all.
    seed : int
        Of the trial, which draws them.
    """

    target: str
    size: int
    seed: int


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A backbone trained on a source task under a weighting, with one seed.

    Attributes
    ----------
    key : str
        Digest of what decides the model; empty while the data have not been read.
    source : str
        Name of a task, or of a model that the user hands in.
    shape : tuple of int
        Shape of the inputs it is trained on (the target's).
    backbone : int
        Index into the suite's backbones.
    weighting : str
        What the suite calls it.
    meta : Meta or None
        The target's examples that the weighting learns from; None where it needs none.
    trained : bool
        Whether there is such a model; if not, the source's examples alone are used, beside the target's.
    standardised_by : str or None
        Task whose train pool standardises the source's table; None where its inputs are taken as they are.
    """

    key: str
    source: str
    backbone: int
    shape: tuple[int, ...]
    weighting: str
    seed: int
    meta: Meta | None = None
    trained: bool = True
    standardised_by: str | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """One strategy on one pair, backbone and target size, with one seed: one row of the table.

    Attributes
    ----------
    key : str
        Digest of what decides the result; empty while the data have not been read.
    model : SourceModel or None
        None for a strategy that copies nothing.
    strategy : int
        Index into the plan's strategies of this backbone.
    target_size : int
        Labelled target examples in all; 0 where the strategy uses none.
    """

    key: str
    model: SourceModel | None
    target: str
    backbone: int
    strategy: int
    target_size: int
    seed: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """The similarity of a source, with its model, to a target."""

    key: str
    model: SourceModel
    target: str


@dataclass(frozen=True, slots=True)
class Check:
    """Whether a backbone takes a target's inputs or, with a model, whether that handed-in model fits it."""

    target: str
    backbone: int
    model: SourceModel | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Trials, or source models, that are trained together.

    Attributes
    ----------
    start : hashable
        Groups with an equal start read the same source models: best run in one place. No result
        depends on it.
    """

    members: tuple[Trial, ...] | tuple[SourceModel, ...]
    start: int = 0


Unit = Group | Measurement | Check

_KINDS: dict[str, type] = {"source": SourceModel, "similarity": Measurement, "trial": Trial, "check": Check}


def unit_to_json(unit: Unit | Trial | SourceModel) -> dict[str, Any]:
    """Return a unit of work as JSON-able values."""
    if isinstance(unit, Group):
        return {"unit": "group", "members": [unit_to_json(member) for member in unit.members]}
    kind = next(name for name, cls in _KINDS.items() if type(unit) is cls)
    return {"unit": kind, **asdict(unit)}


def unit_from_json(values: dict[str, Any]) -> Unit | Trial | SourceModel:
    """Build a unit of work from what :func:`unit_to_json` gave."""
    if values["unit"] == "group":
        return Group(tuple(unit_from_json(member) for member in values["members"]))
    values = dict(values)
    cls = _KINDS[values.pop("unit")]
    if cls is SourceModel:
        return _model_from_json(values)
    if values.get("model") is not None:
        values["model"] = _model_from_json(values["model"])
    return cls(**values)


def _model_from_json(values: dict[str, Any]) -> SourceModel:
    meta = values.get("meta")
    return SourceModel(**{**values, "shape": shape_from_json(values["shape"]), "meta": Meta(**meta) if meta else None})


def shape_from_json(values: Sequence[Any]) -> tuple[Any, ...]:
    """Return a shape from the lists that JSON has."""
    if values and isinstance(values[0], list | tuple):
        return tuple((name, tuple(sizes)) for name, sizes in values)
    return tuple(values)


def combine(parts: Sequence[object]) -> str:
    """Hash short strings and integers to a key: much cheaper than JSON, for plans of 10^6 trials."""
    text = "\x1f".join(map(str, parts))
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
