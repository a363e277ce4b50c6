"""A suite as an object: what a TOML file says, and what Python code may build instead."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, strict=True)]

MAX_SEEDS = 1_000_000
MAX_SEED = 2**63 - 1  # what the table's columns of integers hold
_PER_CLASS = re.compile(r"^\s*(\d+)\s*(?:/|per)\s*class\s*$")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Clash(ValueError):
    """Keys of a table that are well formed each and cannot stand together.

    Parameters
    ----------
    found : list of (keys, message)
    """

    def __init__(self, found: list[tuple[tuple[str, ...], str]]):
        super().__init__("; ".join(message for _, message in found))
        self.found = found


class Recipe(_Part):
    """How a model is trained; the same for every strategy, scratch included.

    What a [recipe] leaves out has the defaults below; of a suite with [models], `optimizer`, `learning_rates`,
    `warmup` and `clip_norm` have those of :data:`HANDED_IN_RECIPE` (its rates are AdamW's: with ``optimizer =
    "sgd"`` they are as below).

    Attributes
    ----------
    steps : int
        Optimiser steps of one training.
    batch_size : int
        Examples a step (all of them where there are fewer).
    learning_rates : tuple of float
        The grid: each is tried, one is chosen on validation data.
    optimizer : {"sgd", "adam", "adamw"}
        What takes the steps.
    momentum : float
        Of SGD; Adam has its own.
    weight_decay : float
        Of the optimiser: the factor of an L2 penalty, of AdamW that of decoupled decay.
    schedule : {"cosine", "constant"}
        Whether the learning rate falls to 0 along half a cosine, or stays.
    warmup : float
        Share of the steps, 0 to below 1, in which every learning rate rises linearly to its value (Goyal
        et al., 2017); the schedule runs over the rest. Of a path it is the share of all phases' steps.
    clip_norm : float
        Largest norm of a step's gradient over everything that trains; a longer one is scaled down to it
        (Pascanu et al., 2013). Of models in lanes each by its own, and so a head for another task's labels.
        0 clips nothing.
    copied_lr : float
        Learning rate of blocks copied from the source, relative to new blocks and heads.
    checkpoints : int
        How many times in a training, evenly spaced, validation is looked at (the trial's curve).
    early_stopping : bool
        Whether the best checkpoint on validation is kept; if not, the last one is, and validation
        chooses the learning rate alone. A handful of validation examples choose a step by chance.
    validation : {"cut", "extra", "given"}
        Where validation data come from: `validation_share` of the labelled target examples,
        `validation_size` further examples of the pool, which are then stated to be used, or the whole
        validation split that comes with the data.
    validation_share : float
        Share of the labelled examples that validation = "cut" takes.
    validation_size : int, optional
        Further examples that validation = "extra" takes; for it alone.
    augment : tuple of {"flip", "shift"}
        Random changes to training images, anew each step; frozen blocks are then run each step too.
    refit : bool
        Whether the chosen rate and number of steps are run once more on all labelled examples,
        validation included, for the model that is tested.
    head : {"solved", "stepped"}
        How a head is found while every block is frozen, a convex problem: by L-BFGS to a stated tolerance at each of
        `head_strengths`, of which validation chooses one; or by the optimiser's steps at each learning rate. A
        probe phase that others follow is solved at the middle strength, and they share the steps out among them.
        Heads are stepped whatever this says under augmentation, where features differ each step, and by other
        methods than the plain loss.
    head_strengths : tuple of float, optional
        Of the L2 penalty of solved heads, scikit-learn's 1/C: the mean loss + strength / (2 N) * ||W||^2 of N examples
        is minimised, for features centred and divided by one number, such that their mean squared length is 1. As
        many as there are learning rates, so that every arm has an equal chance; by default the middles of
        equal parts of the range from 10 to 0.00001, on a log scale: for three 1, 0.01 and 0.0001.
    """

    steps: Count = 100
    batch_size: Count = 32
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.01, 0.03, 0.1)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    clip_norm: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    copied_lr: Positive = 0.1
    checkpoints: Count = 5
    early_stopping: bool = True
    validation: Literal["cut", "extra", "given"] = "cut"
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    validation_size: Count | None = None
    augment: tuple[Literal["flip", "shift"], ...] = ()
    refit: bool = False
    head: Literal["solved", "stepped"] = "solved"
    head_strengths: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        found = []
        if self.head_strengths is not None and len(self.head_strengths) != len(self.learning_rates):
            message = (
                f"{len(self.head_strengths)} head_strengths beside {len(self.learning_rates)} learning_rates: "
                "every arm tries equally many settings"
            )
            found.append((("head_strengths", "learning_rates"), message))
        if (self.validation == "extra") != (self.validation_size is not None):
            message = 'validation_size belongs to validation = "extra", and only to it'
            found.append((("validation", "validation_size"), message))
        if self.validation == "given" and self.refit:
            message = "refit trains on validation examples too: a given validation split is not for that"
            found.append((("validation", "refit"), message))
        if self.checkpoints > self.steps:
            message = f"checkpoints = {self.checkpoints} is more than steps = {self.steps}"
            found.append((("checkpoints", "steps"), message))
        if found:
            raise Clash(found)
        return self

    def identity(self) -> dict[str, Any]:
        """Return what enters every key, as JSON-able values: keys that came later count where they are not at default.

        How heads are solved enters the keys of trials that have one (:mod:`bench.suite.solved`).
        """
        values = self.model_dump(mode="json", exclude={"head", "head_strengths"})
        later = {name: type(self).model_fields[name].default for name in ("warmup", "clip_norm")}
        return {name: value for name, value in values.items() if name not in later or value != later[name]}

    @property
    def strengths(self) -> tuple[float, ...]:
        """Strengths of the L2 penalty that solved heads try, strongest first."""
        if self.head_strengths is not None:
            return tuple(sorted(self.head_strengths, reverse=True))
        parts = len(self.learning_rates)
        high, low = (math.log10(end) for end in HEAD_STRENGTHS)
        return tuple(float(f"{10 ** (high + (low - high) * (i + 0.5) / parts):.6g}") for i in range(parts))

    @property
    def summary(self) -> str:
        """The recipe in force as one line: optimiser, rates, steps and what tames them."""
        rates = ", ".join(f"{rate:g}" for rate in self.learning_rates)
        said = [f"{self.optimizer} at learning rates {rates}, copied blocks at {self.copied_lr:g} of them"]
        said.append(f"{self.steps} steps of {self.batch_size} examples")
        said += [f"warm-up over {self.warmup:.0%} of them"] if self.warmup else []
        said += [f"gradients clipped to norm {self.clip_norm:g}"] if self.clip_norm else []
        if self.head == "solved" and not self.augment:
            tried = ", ".join(f"{strength:g}" for strength in self.strengths)
            said.append(f"heads on frozen blocks solved at L2 strength{'s' * (len(self.strengths) > 1)} {tried}")
        return "; ".join(said)

    @property
    def validation_label(self) -> str:
        """What the row says of where validation data came from."""
        if self.validation == "given":
            return "given"
        return f"cut {self.validation_share:g}" if self.validation == "cut" else f"extra {self.validation_size}"


# Ends of the range that solved heads' strengths are spread over. On features of digits and letters with 20 to 1,000
# labels the best lies near 0.01; of three the strongest is chosen in 11 % of trials and the weakest in 17 %, of five
# in 3 % and 11 %. (Two moons are separable, and the weakest is best.)
HEAD_STRENGTHS = (1e1, 1e-5)
SOURCE_RECIPE = {"steps": 400, "batch_size": 64, "learning_rates": (0.05,), "checkpoints": 1}
# Where a suite's [models] hand weights in, for every arm, scratch included. Plain SGD at the rates above blows large
# pretrained networks up, those without normalisation most of all; the grid is one for both kinds of arm: a copied
# block learns at a tenth of it.
HANDED_IN_RECIPE = {
    "optimizer": "adamw", "learning_rates": (0.0003, 0.001, 0.003, 0.01, 0.03), "warmup": 0.1, "clip_norm": 1.0,
}  # fmt: skip


def handed_in_defaults(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults of a recipe for weights that are handed in; its rates are no good for SGD."""
    defaults = {name: value for name, value in HANDED_IN_RECIPE.items() if name not in said}
    if said.get("optimizer") == "sgd":
        defaults.pop("learning_rates", None)
    return defaults


class Pairs(_Part):
    """One target and the sources that are transferred to it.

    An entry of `sources` that is a list is a set: a method that takes sources' examples, from scratch, sees a
    batch of each, in this order. Rows call it by the names with a "+" between them.
    """

    target: str
    sources: tuple[str | Annotated[tuple[str, ...], Field(min_length=2)], ...] = ()
    source: str | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Pairs:
        if (self.source is None) == (not self.sources):
            raise ValueError('give either source = "..." or sources = ["...", ...]')
        return self

    @property
    def alone(self) -> tuple[str, ...]:
        """The sources in order, each once, without sets."""
        return tuple(dict.fromkeys(entry for entry in self.sources or (self.source,) if isinstance(entry, str)))

    @property
    def sets(self) -> dict[str, tuple[str, ...]]:
        """The sets of sources, by what rows call them."""
        return {"+".join(entry): entry for entry in self.sources if not isinstance(entry, str)}

    @property
    def all_sources(self) -> tuple[str, ...]:
        """Every source in order, members of sets among them, each once."""
        return tuple(dict.fromkeys((*self.alone, *(name for members in self.sets.values() for name in members))))


class Contrast(_Part):
    """Which comparisons a named contrast means: those that fit everything that is said."""

    source: str | tuple[str, ...] | None = None
    target: str | tuple[str, ...] | None = None
    backbone: str | tuple[str, ...] | None = None
    strategy: str | tuple[str, ...] | None = None
    transfer_depth: int | tuple[int, ...] | None = None
    frozen_depth: int | tuple[int, ...] | None = None
    weighting: str | tuple[str, ...] | None = None
    target_size: int | tuple[int, ...] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Contrast:
        if all(value is None for value in self.model_dump().values()):
            raise ValueError('a contrast must say which comparisons it means, such as { source = "a" }')
        return self


class Statistics(_Part):
    """How comparisons are judged: see :func:`bench.negative_transfer`.

    The default of `margin` is for bounded metrics; with another, a suite must say one.
    """

    margin: Positive = 0.01
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    test: Literal["t", "sign-flip", "auto"] = "t"
    correction: Literal["holm", "fdr_bh"] = "holm"
    family: tuple[Literal["source", "target", "backbone", "strategy", "weighting", "target_size"], ...] = (
        "target", "target_size",
    )  # fmt: skip
    contrasts: dict[str, Contrast] = Field(default_factory=dict)
    interval: Literal["t", "bootstrap"] = "t"


def _spread_seeds(value: Any) -> Any:
    """Accept a count (10), a list ([0, 3]) or a range ("0-9")."""
    if isinstance(value, bool):
        raise ValueError('seeds must be a count, a list of integers or a range such as "0-9"')
    if isinstance(value, int):
        if value < 1:
            raise ValueError(f"seeds = {value}: at least one is needed")
        if value > MAX_SEEDS:
            raise ValueError(f"seeds = {value}: at most {MAX_SEEDS:,} are possible")
        return tuple(range(value))
    if isinstance(value, str):
        return parse_seeds(value)
    return value


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read seeds from text: "0-9", "3", "0,2,5-7".

    Raises
    ------
    ValueError
        Naming the part that is not a seed or range.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if not match:
            raise ValueError(f'"{part.strip()}" is neither a seed nor a range such as 0-9')
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first >= MAX_SEEDS:
            raise ValueError(f'"{part.strip()}" is not an increasing range of at most {MAX_SEEDS:,} seeds')
        if last > MAX_SEED:
            raise ValueError(f'"{part.strip()}" is above {MAX_SEED}, the largest seed')
        seeds.extend(range(first, last + 1))
        if len(seeds) > MAX_SEEDS:
            raise ValueError(f"at most {MAX_SEEDS:,} seeds are possible")
    return tuple(dict.fromkeys(seeds))


def size_in_all(size: int | str, card_counts: tuple[int, ...]) -> int:
    """Return a target size as a number of examples in all, given the train pool's class counts."""
    if size == "all":
        return sum(card_counts)
    if isinstance(size, str):
        return int(_PER_CLASS.match(size)[1]) * len(card_counts)
    return size


def _valid_size(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f'{value!r}: a size is a number of examples in all, "5 per class" or "all"')
    if isinstance(value, int) and value < 1:
        raise ValueError(f"{value}: a size must be at least 1")
    if isinstance(value, str) and value != "all" and not (_PER_CLASS.match(value) and int(_PER_CLASS.match(value)[1])):
        raise ValueError(f'"{value}" is not a size; say 20 (examples in all), "5 per class" or "all"')
    return value


Size = Annotated[int | str, BeforeValidator(_valid_size)]


class Suite(_Part):
    """Tasks, pairs, strategies, sizes and seeds; it expands to trials.

    Attributes
    ----------
    name : str
        What rows call it (the file's stem by default).
    backbones : tuple of str or table
        ``"cnn"`` or ``{ backbone = "cnn", channels = [8, 16], name = "small" }``.
    strategies : tuple of str or table
        Names (every depth), ``{ strategy = "fine-tune", depths = [0, 2] }`` or a point or path of its
        own: ``{ name = "half", transfer = 4, freeze = 2 }``; scratch is always added. With ``method = "l2-sp"`` or
        ``method = { name = "l2-sp", alpha = 0.01 }`` a step minimises something else than the head's loss; with
        ``adapt = "norm"`` or ``adapt = { name = "lora", rank = 4 }`` only that trains above the frozen depth, and
        the head.
    weighting : tuple of str or table
        Of source examples, while source models are trained or beside the target: ``"l2rw"`` or
        ``{ weighting = "per-example", steps = 3, name = "unrolled" }``; uniform is always added.
    target_sizes : tuple of int or str
        Labelled target examples in all (20), ``"5 per class"`` or ``"all"``.
    seeds : int, list or range
        Ten by default.
    source_models : int, optional
        How many source models are trained a source; trial seed s uses model s mod this. One a seed by
        default, so that intervals cover the variation between source models.
    unlabelled_size : int or "all"
        How many target examples a method that asks for them sees without their labels: of the train pool, what
        follows the labelled ones, those of validation left out. Part of the identity of such a trial.
    source_methods : table
        How source models are trained, by the task's name: ``{ patches = "..." }``; by its head's loss where none is
        said. A task without labels needs one.
    lanes : int or "auto"
        How many trainings of one shape share a stack; by default what measured fastest for the backbone,
        the inputs' shape and the machine (1 where it gained nothing). Part of a trial's identity.
    precision : {"float32", "tf32", "bf16"}
        Of products: full, TensorFloat-32 on a GPU that has it, or autocast to bfloat16. Part of a trial's
        identity.
    standardise : str, optional
        Whose train pool gives the mean and the spread that tables are standardised by, one transform for all
        pairs of a target: "target" (the default), "source" (where a target has one), the name of a task, or
        "none". "each" standardises every table by its own pool, which erases a shift between them. The task
        that gives mean and spread says for all which columns are measured (a `table` does; none where it says
        ``standardise = false``). One that says nothing, such as an `npz` or a plug-in's task, leaves tables as
        they are by default, and has all columns standardised where the suite gives a rule.
    metric : str, optional
        What models are chosen by on validation data and judged by on the test set, more being better: "auroc",
        "balanced-accuracy" (``ntbench list metrics``). That of the target's kind by default: accuracy for
        single-label tasks. Part of a trial's identity. Gaps and [statistics] margin are in its unit.
    predictions : bool
        Whether the run folder keeps what every trial predicted of every test example, for ``ntbench export
        --predictions``: 2 bytes a class and 1 or 2 more, compressed. Never part of a key.
    plugins : tuple of str
        Python files, relative to the suite's folder. Loading the suite runs their code, so a suite that
        names one is to be trusted like a program; nothing else in a suite runs any. A run folder keeps
        the names and never runs them by itself.
    tasks, models : tables
        Tasks with arguments and changes; source models that are handed in.
    folder : str
        What relative paths of the suite are relative to; set by the loader and never part of a key.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "suite"
    description: str = ""
    backbones: Annotated[tuple[str | dict[str, Any], ...], Field(min_length=1)] = ("cnn",)
    strategies: Annotated[tuple[str | dict[str, Any], ...], Field(min_length=1)] = ("feature-extraction", "fine-tune")
    weighting: Annotated[tuple[str | dict[str, Any], ...], Field(min_length=1)] = ("uniform",)
    target_sizes: Annotated[tuple[Size, ...], Field(min_length=1)]
    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0, le=MAX_SEED, strict=True)], ...], BeforeValidator(_spread_seeds)
    ] = tuple(range(10))
    source_models: Count | None = None
    unlabelled_size: Literal["all"] | Count = "all"
    image_size: Annotated[int, Field(ge=2, le=4096, strict=True)] | None = None
    lanes: Literal["auto"] | Count = "auto"
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    standardise: str | None = None
    measures: tuple[str, ...] = ("proxy-a-distance", "frechet-distance", "leep")
    metric: str | None = None
    predictions: Annotated[bool, Field(strict=True)] = True
    plugins: tuple[str, ...] = ()
    data_root: str | None = None
    tasks: dict[str, str | dict[str, Any]] = Field(default_factory=dict)
    models: dict[str, dict[str, Any]] = Field(default_factory=dict)
    source_methods: dict[str, str | dict[str, Any]] = Field(default_factory=dict)
    pairs: Annotated[tuple[Pairs, ...], Field(min_length=1)]
    recipe: Recipe = Recipe()
    source_recipe: Recipe = Recipe(**SOURCE_RECIPE)
    statistics: Statistics = Statistics()
    folder: str = Field(default=".", exclude=False)

    @model_validator(mode="before")
    @classmethod
    def _recipe_defaults(cls, values: Any) -> Any:
        """Let [recipe] and [source_recipe] say only what differs from the defaults that are theirs."""
        if not isinstance(values, dict):
            return values
        if isinstance(values.get("source_recipe"), dict):
            values = {**values, "source_recipe": {**SOURCE_RECIPE, **values["source_recipe"]}}
        if values.get("models") and isinstance(said := values.get("recipe", {}), dict):
            values = {**values, "recipe": {**handed_in_defaults(said), **said}}
        return values

    @property
    def n_source_models(self) -> int:
        """Source models trained for each source."""
        return self.source_models or len(self.seeds)

    def source_seed(self, seed: int) -> int:
        """Which source model a trial with `seed` starts from."""
        return seed % self.source_models if self.source_models else seed

    def resolve(self, path: str) -> Path:
        """Return the place of a path that is absolute, begins with ~ or is relative to the suite's folder."""
        return Path(self.folder, os.path.expanduser(path)).absolute()

    def to_run(self, folder: Path) -> dict[str, Any]:
        """Return the suite as JSON-able values for a run folder's ledger, its paths relative to that folder."""
        values = self.model_dump(mode="json")
        values["plugins"] = [_relative(p, self.folder) if Path(p).is_absolute() else p for p in self.plugins]
        values["folder"] = _relative(self.folder, folder)
        return values

    @classmethod
    def from_run(cls, values: dict[str, Any], folder: Path) -> Suite:
        """Build the suite that :meth:`to_run` gave, from a run folder that may have moved with it."""
        # It says every key that its version had: those that came later were not there, whatever their default is now.
        recipe = {**Recipe().model_dump(mode="json"), "head": "stepped", **values["recipe"]}
        values = {**values, "recipe": recipe}
        return cls.model_validate({**values, "folder": str(Path(os.path.realpath(folder), values["folder"]))})

    def root(self) -> Path:
        """Return the data root: the suite's, else the environment's NTBENCH_DATA, else ./data."""
        return self.resolve(self.data_root) if self.data_root else Path(os.environ.get("NTBENCH_DATA", "data"))


def _relative(path: str, start: str | Path) -> str:
    try:
        # A link in either would make ".." mean another folder.
        return Path(os.path.relpath(os.path.realpath(path), os.path.realpath(start))).as_posix()
    except ValueError:  # on another drive
        return str(Path(path).resolve())
