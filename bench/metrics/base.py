"""What a metric is: one number for all predictions of a test set, more being better."""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.errors import BenchError
from bench.registry import METRICS
from bench.schema import POINTS, TRIAL, metric_column

SINGLE, MULTI, REGRESSION = "single-label", "multi-label", "regression"


@dataclass(frozen=True, eq=False)
class Truth:
    """The targets of N examples beside what was predicted of them.

    Attributes
    ----------
    targets : array
        Single-label: int64, shape (N,). Multi-label: bool, shape (N, K). Regression: float64, shape (N,) or (N, D).
    predicted : array
        Of the targets' shape and type.
    scores : array
        What there is besides: natural logarithms of probabilities, shape (N, K), those of classes or of each
        label's being there; of regression the predicted values once more.
    classes : tuple of str
        Names of the classes, of the labels or of the regressed values: K or D of them.
    """

    targets: np.ndarray
    predicted: np.ndarray
    scores: np.ndarray
    classes: tuple[str, ...]

    @property
    def columns(self) -> np.ndarray:
        """The targets with a column for each class, label or regressed value, shape (N, K)."""
        return columns_of(self.targets, self.classes)

    @property
    def predicted_columns(self) -> np.ndarray:
        """The predictions in the same form."""
        return columns_of(self.predicted, self.classes)

    @property
    def finite(self) -> bool:
        """Whether every score is a number; those of a model that diverged are not."""
        return bool(np.isfinite(self.scores).all())


def columns_of(targets: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Give targets a column for each class: one-hot for labels, as they are where they have columns."""
    targets = np.asarray(targets)
    if targets.ndim == 1 and targets.dtype.kind in "iu":
        return targets[:, None] == np.arange(len(classes))
    return targets[:, None] if targets.ndim == 1 else targets


class Metric(ABC):
    """Judges all predictions of a test set at once.

    It knows of targets and predictions alone, not of networks, training or rows. A metric has no arguments.

    Attributes
    ----------
    kinds : tuple of str
        The kinds of task that it can judge: "single-label", "multi-label", "regression" or a plug-in's own.
    bounded : bool
        Whether the score lies within -1 to 1, so that a hundredth of it is a point and 0.01 a margin that makes
        sense.
    unit : str
        Of the score and of the gap: "points" where it is bounded (a gap of 0.01 is one), "nats", or "" for the
        unit of the target.
    label : str
        What tables and figures call the score; the metric's name by default.
    """

    kinds: ClassVar[tuple[str, ...]]
    bounded: ClassVar[bool]
    unit: ClassVar[str] = POINTS
    label: ClassVar[str] = ""

    @abstractmethod
    def score(self, truth: Truth) -> float:
        """Return how good the predictions are, more being better: of an error, minus its value; NaN where undefined."""

    def undefined(self, targets: np.ndarray, classes: Sequence[str]) -> str | None:
        """Say why there is no score on these test targets, whatever is predicted; None where there is one."""
        return None

    def per_class(self, truth: Truth) -> np.ndarray | None:
        """Return one value a class, label or regressed value, shape (K,), NaN where undefined; None for none."""
        return None


class OverClasses(Metric):
    """A metric that is the mean over the classes, labels or regressed values for which it is defined."""

    def score(self, truth: Truth) -> float:
        """Return the mean of :meth:`per_class`."""
        return self.average(self.per_class(truth))

    @staticmethod
    def average(values: np.ndarray) -> float:
        """Return the mean of the values that are defined; NaN where none is."""
        known = values[~np.isnan(values)]
        return float(np.mean(known)) if len(known) else float("nan")

    @abstractmethod
    def per_class(self, truth: Truth) -> np.ndarray:
        """Return one value a class, label or regressed value, shape (K,), NaN where undefined."""


def metric(name: str, *, version: int = 1) -> Callable[[type], type]:
    """Register a subclass of :class:`Metric` under `name` (decorator).

    Parameters
    ----------
    name : str
        What a suite calls it: small letters, digits and hyphens.
    version : int
        Raise it when its values change.

    Raises
    ------
    BenchError
        For anything else, and for one that lacks `score`, `kinds` or `bounded`, whose unit does not fit, or whose
        name would give its column another's name.
    """

    def register(kind: type) -> type:
        where = f'metric "{name}"'
        if not (isinstance(kind, type) and issubclass(kind, Metric)):
            raise BenchError(f"{where}: decorate a subclass of bench.Metric, not {kind!r}")
        if inspect.isabstract(kind):
            raise BenchError(f"{where}: {kind.__name__} needs a method score(truth)")
        kinds = getattr(kind, "kinds", None)
        if not isinstance(kinds, tuple) or not kinds or not all(isinstance(each, str) for each in kinds):
            raise BenchError(f'{where}: {kind.__name__}.kinds must be a tuple of kinds of task, such as ("{SINGLE}",)')
        bounded = getattr(kind, "bounded", None)
        if not isinstance(bounded, bool):
            raise BenchError(f"{where}: {kind.__name__}.bounded must be True (the score lies within -1 to 1) or False")
        if bounded != (kind.unit == POINTS):
            allowed = f'"{POINTS}"' if bounded else '"nats", "" for the unit of the target, or another'
            raise BenchError(f'{where}: bounded = {bounded} and unit = "{kind.unit}" do not fit: it must be {allowed}')
        if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
            raise BenchError(f"{where}: a metric's name has small letters, digits and hyphens, a letter first")
        if kind.__module__.partition(".")[0] != __name__.partition(".")[0]:
            column = metric_column(name)
            if column in {c.name for c in TRIAL} or column.startswith(metric_column("score")):
                raise BenchError(f'{where}: its column would be "{column}", which is another\'s; choose another name')
        METRICS.register(
            name, kind, version=version, given=0, kinds=kinds, bounded=bounded, unit=kind.unit, label=kind.label or name
        )
        return kind

    return register


def of_kind(kind: str) -> list[str]:
    """Name the registered metrics that judge a kind of task, built-in ones first."""
    return [name for name in METRICS.names() if kind in METRICS.get(name).meta["kinds"]]
