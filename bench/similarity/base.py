"""Measures of similarity between a source and a target: the one place to add another.

A measure is a function ``(view) -> float`` registered with :func:`measure`. It sees train pools only:
test sets take no part. What a view cannot give (the data of a source that is a file of weights) makes
the measure undefined for that pair, which the table shows as missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import BenchError
from bench.registry import MEASURES
from bench.schema import COMPARISON, TRIAL
from bench.schema import MEASURES as MEASURE_COLUMNS
from bench.seeding import generator
from bench.tasks.base import Task, stratified_order

if TYPE_CHECKING:
    import torch

    from bench.sources import LoadedSource

SAMPLE = 1000


class Undefined(Exception):
    """A measure has no value for this pair."""


def measure(name: str, *, version: int = 1) -> Callable:
    """Register a function ``(view) -> float`` as a measure of similarity (decorator).

    Raises
    ------
    BenchError
        For a name whose column the result tables use for something else.
    """
    if column(name) in {own.name for own in (*TRIAL, *COMPARISON) if own not in MEASURE_COLUMNS}:
        raise BenchError(f'the measure name "{name}" is that of another column of the result table; choose another')

    def register(function: Callable[[View], float]) -> Callable[[View], float]:
        MEASURES.register(name, function, version=version, given=1)
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
    """

    source: Task | None
    target: Task
    model: LoadedSource
    device: torch.device

    def _sample(self, task: Task) -> np.ndarray:
        """Return indices of at most SAMPLE train examples, stratified; the same for every measure."""
        # Seeded by the pool's size alone: not even a fingerprint, which covers the test set, has a say.
        return stratified_order(task.y, generator("similarity", len(task.y)))[:SAMPLE]

    def _run(self, task: Task, head: bool) -> np.ndarray:
        import torch

        from bench.training.cuts import activations
        from bench.training.data import to_tensor

        network = self.model.network
        x = to_tensor(task.x[self._sample(task)], network, self.device)
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
        return self._run(self._source(), head=False)

    @cached_property
    def target_features(self) -> np.ndarray:
        """Features of target examples under the source model, shape (N, width)."""
        return self._run(self.target, head=False)

    @cached_property
    def target_probabilities(self) -> np.ndarray:
        """The source model's class probabilities for target examples, shape (N, source classes)."""
        from scipy.special import softmax

        if not self.model.classes:
            raise Undefined("the source model has no known head")
        return softmax(self._run(self.target, head=True), axis=1)

    @cached_property
    def target_labels(self) -> np.ndarray:
        """Labels of the same target examples, shape (N,)."""
        return self.target.y[self._sample(self.target)]


def measure_all(names: Sequence[str], view: View) -> dict[str, float | None]:
    """Return each measure's value by column name; None where it is undefined."""
    values: dict[str, float | None] = {}
    for name in names:
        try:
            value = float(MEASURES.get(name).function(view))
        except Undefined:
            value = math.nan
        values[column(name)] = value if math.isfinite(value) else None
    return values


def column(name: str) -> str:
    """Return the column that a measure fills."""
    return name.replace("-", "_")
