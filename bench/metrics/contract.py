"""What every metric must keep, a user's own included: the checks behind ``ntbench check``."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from bench.errors import BenchError
from bench.metrics.base import MULTI, REGRESSION, SINGLE, Metric, Truth
from bench.registry import Entry

_N = 40
_ROUNDING = 1e-9
_NAMES = ("a", "b", "c")


def check_metric(entry: Entry) -> list[str]:
    """Run the contract on a metric.

    Of made-up test sets of each kind that it judges: it returns one number, the same each time and in whatever
    order the examples stand, and changes nothing of what it is given; more is better, so that predictions that
    are right score more than those that are wrong; a bounded one stays within -1 to 1; where it says that test
    targets leave it undefined it gives NaN, else a finite number; values by class are one a class.

    Parameters
    ----------
    entry : Entry

    Returns
    -------
    list of str
        What is wrong, a sentence each; empty when all is well.
    """
    problems = entry.problems({})
    if problems:
        return problems
    found = []
    for kind in entry.meta["kinds"]:
        for where, make in _CASES.get(kind, ()):
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                try:
                    found += [f"{where}: {problem}" for problem in _check(entry.function(), make)]
                except BenchError as error:
                    found.append(f"{where}: {error}")
                except Exception as error:
                    found.append(f"{where}: {type(error).__name__}: {error}")
    return list(dict.fromkeys(found))


def _check(metric: Metric, make: Callable[[float], Truth]) -> Iterator[str]:
    """Check a metric on test sets that share their targets; `make` takes how good the predictions are, 0 to 1."""
    truth = make(0.6)
    before = copy.deepcopy(truth)
    value, again = _number(metric.score(truth)), _number(metric.score(truth))
    if not _same(value, again, 0.0):
        yield f"two calls give {value} and {again}"
    if not all(np.array_equal(getattr(truth, part), getattr(before, part)) for part in _PARTS):
        yield "it changes the arrays that it is given"
    order = np.random.default_rng(1).permutation(_N)
    shuffled = _number(metric.score(replace(truth, **{part: getattr(truth, part)[order] for part in _PARTS})))
    if not _same(value, shuffled, _ROUNDING):
        yield f"it depends on the order of the examples: {value} and {shuffled}"
    good, bad = _number(metric.score(make(1.0))), _number(metric.score(make(0.0)))
    yield from _values_by_class(metric, truth)
    why = metric.undefined(truth.targets, truth.classes)
    if why is not None:
        if not isinstance(why, str):
            yield f"undefined must return a sentence or None, but returned {type(why).__name__}"
        if not math.isnan(value):
            yield f"it says that it is undefined ({why}), but gives {value}"
        return
    if not all(map(math.isfinite, (value, good, bad))):
        yield f"it gives {value}, {good} and {bad} where it does not say that it is undefined"
    elif len(np.unique(truth.targets, axis=0)) > 1 and not good > bad:
        yield f"predictions that are right score {good}, those that are wrong {bad}: more must be better"
    if metric.bounded and not all(-1 - _ROUNDING <= v <= 1 + _ROUNDING for v in (value, good, bad)):
        yield f"it gives {value}, {good} and {bad}, but bounded scores lie within -1 to 1"


def _values_by_class(metric: Metric, truth: Truth) -> Iterator[str]:
    values = metric.per_class(truth)
    if values is not None and np.shape(values) != (len(truth.classes),):
        yield f"per_class must return {len(truth.classes)} values, one a class, but its shape is {np.shape(values)}"


def _same(a: float, b: float, tolerance: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or abs(a - b) <= tolerance * max(1.0, abs(a))


def _number(value: object) -> float:
    """Return a score as a float.

    Raises
    ------
    BenchError
        For what is no single number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
        raise BenchError(f"score must return a number, but returned {type(value).__name__}")
    return float(value)


# --- made-up test sets ---------------------------------------------------------------------------------

_PARTS = ("targets", "predicted", "scores")


def _single(labels: list[int], classes: int) -> Callable[[float], Truth]:
    """Predict labels with this much probability for the true class on half of the examples, less on the rest."""
    targets = np.resize(np.array(labels), _N)

    def make(quality: float) -> Truth:
        rng = np.random.default_rng(0)
        noise = rng.dirichlet(np.ones(classes), _N)
        hit = targets[:, None] == np.arange(classes)
        aim = hit if quality > 0.5 else ~hit / max(classes - 1, 1)
        share = np.where(rng.random(_N) < 2 * abs(quality - 0.5), 0.98, 0.3)[:, None]
        p = share * aim + (1 - share) * noise + 1e-6
        scores = np.log(p / p.sum(axis=1, keepdims=True))
        return Truth(targets, scores.argmax(axis=1), scores, _NAMES[:classes])

    return make


def _multi(density: float, names: int) -> Callable[[float], Truth]:
    targets = np.random.default_rng(2).random((_N, names)) < density

    def make(quality: float) -> Truth:
        noise = np.random.default_rng(0).random(targets.shape)
        p = np.clip(quality * np.where(targets, 0.95, 0.05) + (1 - quality) * np.where(targets, 0.05, 0.95), 0, 1)
        p = np.clip(p + (0.3 * (noise - 0.5) if 0 < quality < 1 else 0), 0.01, 0.99)
        return Truth(targets, p > 0.5, np.log(p), _NAMES[:names])

    return make


def _regression(shape: tuple[int, ...], spread: float) -> Callable[[float], Truth]:
    targets = 5 + spread * np.random.default_rng(3).standard_normal(shape)

    def make(quality: float) -> Truth:
        noise = np.random.default_rng(0).standard_normal(shape)
        predicted = targets + 3 * (1 - quality) * (1 + noise)
        return Truth(targets, predicted, predicted.copy(), _NAMES[: 1 if len(shape) == 1 else shape[1]])

    return make


_CASES: dict[str, tuple[tuple[str, Callable[[float], Truth]], ...]] = {
    SINGLE: (
        ("of three classes", _single([0, 1, 2, 0], 3)),
        ("of two classes, one of them rare", _single([0] * 9 + [1], 2)),
        ("of three classes, one without a test example", _single([0, 2], 3)),
        ("of two classes, one without a test example", _single([0], 2)),
    ),
    MULTI: (
        ("of three labels", _multi(0.4, 3)),
        ("of one label", _multi(0.4, 1)),
        ("of labels that no example has", _multi(0.0, 2)),
    ),
    REGRESSION: (
        ("of one value", _regression((_N,), 2.0)),
        ("of two values", _regression((_N, 2), 2.0)),
        ("of a value that is the same for all", _regression((_N,), 0.0)),
    ),
}  # fmt: skip
