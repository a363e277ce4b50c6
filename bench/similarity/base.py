"""Measures of similarity between a source and a target: the one place to add another.

A measure is a function ``(view) -> float`` registered with :func:`measure`. It sees train pools only:
test sets take no part. What a view cannot give (the data of a source that is a file of weights) makes
the measure undefined for that pair, which the table shows as missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.errors import BenchError, unknown
from bench.identity import generator
from bench.registry import MEASURES
from bench.schema import COMPARISON, ENDS, LEVEL, TRIAL, declare_near
from bench.schema import MEASURES as MEASURE_COLUMNS
from bench.tasks.base import Task, stratified_order
from bench.tasks.batches import take
from bench.trial import SINGLE_LABEL

if TYPE_CHECKING:
    import torch

    from bench.sources import LoadedSource

SAMPLE = 1000
GROUPS = 10  # that a jackknife leaves out of each side, one at a time
DIRECTIONS = ("low", "high")


class Undefined(Exception):
    """A measure has no value for this pair."""


class Estimate(NamedTuple):
    """A measure's value with a 95 % interval over the examples; ends are NaN where none is known.

    A measure may return one where it knows its own interval; for a plain number :func:`jackknife` finds it.
    """

    value: float
    low: float = math.nan
    high: float = math.nan


def measure(name: str, *, version: int = 1, near: str = "low") -> Callable:
    """Register a function ``(view) -> float`` as a measure of similarity (decorator).

    Parameters
    ----------
    name : str
    version : int
        Raised when the function's values change: what was measured before is then measured again.
    near : {"low", "high"}
        Which end means that source and target are alike: low for a distance, high for a score.

    Raises
    ------
    UnknownName
        For another value of `near`.
    BenchError
        For a name whose column the result tables use for something else.
    """
    if near not in DIRECTIONS:
        raise unknown(f'end (near=) of the measure "{name}"', str(near), DIRECTIONS)
    if column(name).endswith(ENDS):
        raise BenchError(f'the measure name "{name}" ends like the columns of an interval; choose another')
    if column(name).startswith("test_"):
        raise BenchError(f'the measure name "{name}" begins like the columns of scores on the test set; choose another')
    if column(name) in {own.name for own in (*TRIAL, *COMPARISON) if own not in MEASURE_COLUMNS}:
        raise BenchError(f'the measure name "{name}" is that of another column of the result table; choose another')

    def register(function: Callable[[View], Any]) -> Callable[[View], Any]:
        MEASURES.register(name, function, version=version, given=1, near=near)
        declare_near(column(name), near)
        return function

    return register


@dataclass(frozen=True)
class View:
    """What a measure may look at.

    Parameters
    ----------
    source : Task or None
        None for a source model that was handed in without its data.
    target : Task
        Both at the same input shape.
    model : LoadedSource
        The source model.
    device : torch.device
    held_out : integer array, optional
        Examples of the source's train pool that the model was not fitted to; all by default. Features of
        examples that a network has learned by heart are not those of new ones: a source of 150 rows
        would be far from its own distribution.
    """

    source: Task | None
    target: Task
    model: LoadedSource
    device: torch.device
    held_out: np.ndarray | None = None

    @cached_property
    def source_rows(self) -> np.ndarray:
        """Which of the source's train examples are looked at: of those held out, at most SAMPLE, stratified."""
        source = self._source()
        known = np.arange(len(source.y)) if self.held_out is None else self.held_out
        return known[_sample(source.strata[known])]

    @cached_property
    def target_rows(self) -> np.ndarray:
        """Which of the target's train examples are looked at: at most SAMPLE, stratified."""
        return _sample(self.target.strata)

    def _run(self, task: Task, rows: np.ndarray, head: bool) -> np.ndarray:
        import torch

        from bench.training.cuts import activations
        from bench.training.data import to_tensor

        network = self.model.network
        x = to_tensor(take(task.x, rows, task.name), network, self.device)
        with torch.no_grad():
            output = activations(network, x, network.depth)
            output = network.head(output) if head else output
        return output.double().cpu().numpy()

    def _source(self) -> Task:
        if self.source is None:
            raise Undefined("the source's data are not known")
        return self.source

    @cached_property
    def source_features(self) -> np.ndarray:
        """Features of source examples under the source model, shape (M, width)."""
        return self._run(self._source(), self.source_rows, head=False)

    @cached_property
    def target_features(self) -> np.ndarray:
        """Features of target examples under the source model, shape (N, width)."""
        return self._run(self.target, self.target_rows, head=False)

    @cached_property
    def target_probabilities(self) -> np.ndarray:
        """The source model's class probabilities for target examples, shape (N, source classes)."""
        from scipy.special import softmax

        if not self.model.classes:
            raise Undefined("the source model has no known head")
        if self.source is not None and self.source.kind != SINGLE_LABEL:
            raise Undefined(f"the source model has no classes: its task is {self.source.kind}")
        return softmax(self._run(self.target, self.target_rows, head=True), axis=1)

    @cached_property
    def target_labels(self) -> np.ndarray:
        """Labels of the same target examples, shape (N,)."""
        if self.target.kind != SINGLE_LABEL:
            raise Undefined(f"the target has no classes: it is {self.target.kind}")
        return self.target.y[self.target_rows]


def _sample(y: np.ndarray) -> np.ndarray:
    """Return indices of at most SAMPLE examples, stratified; the same for every measure."""
    # Seeded by the pool's size alone: not even a fingerprint, which covers the test set, has a say.
    return stratified_order(y, generator("similarity", len(y)))[:SAMPLE]


class _Thinned(View):
    """A view that lacks one group of examples of one side; nothing is run through the network again."""

    def __init__(self, whole: View, side: str, group: int):
        self.__dict__.update(whole=whole, side=side, model=whole.model, device=whole.device, held_out=None)
        self.__dict__["group"] = group

    def _kept(self, side: str) -> np.ndarray:
        """Which of the rows looked at stay, shape (rows,)."""
        rows = getattr(self.whole, f"{side}_rows")
        return np.arange(len(rows)) % GROUPS != self.group if side == self.side else np.ones(len(rows), bool)

    def _task(self, side: str) -> Task | None:
        task = getattr(self.whole, side)
        if side != self.side or task is None:
            return task
        group = np.arange(len(task.y)) % GROUPS
        rows = getattr(self.whole, f"{side}_rows")
        group[rows] = np.arange(len(rows)) % GROUPS
        return task.take(np.nonzero(group != self.group)[0])

    @cached_property
    def source(self) -> Task | None:  # type: ignore[override]
        """The source without the group."""
        return self._task("source")

    @cached_property
    def target(self) -> Task:  # type: ignore[override]
        """The target without the group."""
        return self._task("target")

    @cached_property
    def source_features(self) -> np.ndarray:
        """As the whole view's."""
        return self.whole.source_features[self._kept("source")]

    @cached_property
    def target_features(self) -> np.ndarray:
        """As the whole view's."""
        return self.whole.target_features[self._kept("target")]

    @cached_property
    def target_probabilities(self) -> np.ndarray:
        """As the whole view's."""
        return self.whole.target_probabilities[self._kept("target")]

    @cached_property
    def target_labels(self) -> np.ndarray:
        """As the whole view's."""
        return self.whole.target_labels[self._kept("target")]


def jackknife(function: Callable[[View], float], view: View) -> Estimate:
    """Return a measure's value with its 95 % interval by the delete-a-group jackknife of two samples.

    Ten groups of examples are left out of each side in turn, so that a measure is taken 21 times (11 without the
    source's data); network outputs are computed once. The variance is that of Kott (J. Official Statistics,
    2001), (G - 1)/G times the sum of squares, a side each, the quantile Student's. It asks for no
    examples drawn twice, which a bootstrap of a distance would take for nearness within a sample.
    """
    value = float(function(view))
    variance, freedom = 0.0, 0
    for side in ("target",) if view.source is None else ("source", "target"):
        groups = min(GROUPS, len(getattr(view, f"{side}_rows")))
        without = [float(function(_Thinned(view, side, group))) for group in range(groups)]
        variance += group_variance(np.array(without))
        freedom += groups - 1
    return interval(value, variance, freedom)


def group_variance(without: np.ndarray) -> float:
    """Return the jackknife's variance from the values without each group, shape (groups,)."""
    return float((len(without) - 1) * np.var(without))


def interval(value: float, variance: float, freedom: int) -> Estimate:
    """Return Student's interval around a value; without ends where it has no degree of freedom."""
    from scipy import stats

    if freedom < 1:
        return Estimate(value)
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(variance)
    return Estimate(value, value - half, value + half)


def measure_all(names: Sequence[str], view: View) -> tuple[dict[str, float | None], dict[str, Exception]]:
    """Take every measure.

    Returns
    -------
    values : dict
        By column: the value, None where it is undefined, and beside a value its interval's ends.
    failed : dict
        What measures raised, by name: the others have their values all the same.
    """
    values: dict[str, float | None] = {}
    failed: dict[str, Exception] = {}
    for name in names:
        values[column(name)] = None
        try:
            values |= dict(_columns(column(name), estimate(MEASURES.get(name).function, view)))
        except Undefined:
            continue
        except Exception as error:
            failed[name] = error
    return values, failed


def estimate(function: Callable[[View], Any], view: View) -> Estimate:
    """Take one measure: its own interval where it returns an :class:`Estimate`, else the jackknife's.

    Raises
    ------
    Undefined
        Where it has no value for this view.
    """
    value = function(view)
    return Estimate(*map(float, value)) if isinstance(value, tuple) else jackknife(function, view)


def _columns(name: str, found: Estimate) -> Iterator[tuple[str, float]]:
    if math.isfinite(found.value):
        yield name, found.value
        if math.isfinite(found.low) and math.isfinite(found.high):
            yield from zip((name + end for end in ENDS), found[1:], strict=True)


def column(name: str) -> str:
    """Return the column that a measure fills."""
    return name.replace("-", "_")
