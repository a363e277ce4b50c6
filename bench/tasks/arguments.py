"""Checks of what a suite hands to tasks and changes: the error names the value, the place and what is allowed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import inf, isfinite
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from bench.errors import DataError, unknown
from bench.trial import SINGLE_LABEL

if TYPE_CHECKING:
    from bench.tasks.base import Task


def whole(place: str, minimum: int, **values: Any) -> None:
    """Demand whole numbers of at least `minimum`.

    Raises
    ------
    DataError
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
            raise DataError(f"{place}: {name} must be a whole number, {minimum} or more; got {value!r}")


def number(place: str, low: float = -inf, high: float = inf, **values: Any) -> None:
    """Demand finite numbers from `low` to `high`, both allowed.

    Raises
    ------
    DataError
    """
    allowed = "" if low == -inf else f" of at least {low:g}" if high == inf else f" from {low:g} to {high:g}"
    for name, value in values.items():
        good = isinstance(value, Real) and not isinstance(value, bool) and isfinite(value) and low <= value <= high
        if not good:
            raise DataError(f"{place}: {name} must be a number{allowed}; got {value!r}")


def span(place: str, low: float, high: float, **values: Any) -> None:
    """Demand pairs ``(smallest, largest)`` of numbers from `low` to `high`.

    Raises
    ------
    DataError
    """
    for name, value in values.items():
        pair = isinstance(value, (list, tuple)) and len(value) == 2
        if not pair:
            raise DataError(f"{place}: {name} must be two numbers, smallest and largest; got {value!r}")
        number(place, low, high, **{f"{name}[0]": value[0], f"{name}[1]": value[1]})
        if value[0] > value[1]:
            raise DataError(f"{place}: {name} must be smallest first; got {value!r}")


def one_of(place: str, name: str, value: Any, allowed: Collection[str]) -> None:
    """Demand one of a few words.

    Raises
    ------
    UnknownName
        With the nearest match.
    """
    if value not in allowed:
        raise unknown(f"{name} of {place}", str(value), allowed)


def single_label(place: str, task: Task) -> None:
    """Demand a task with one class an example.

    Raises
    ------
    DataError
    """
    if task.kind != SINGLE_LABEL:
        raise DataError(f"{place}: needs one class an example (a single-label task); {task.name} is {task.kind}")


def follows(place: str, task: Task) -> None:
    """Demand targets that stay right where what is in an image moves: boxes do not.

    Raises
    ------
    DataError
    """
    if not isinstance(task.y, Sequence):
        return
    names = ", ".join(task.y[0])
    raise DataError(f"{place}: targets that are mappings ({names}) would not follow the images of {task.name}")


def no_mapping(place: str, task: Task) -> None:
    """Demand inputs in one array.

    Raises
    ------
    DataError
    """
    if task.is_mapping:
        names = ", ".join(task.x)
        raise DataError(f"{place}: needs inputs in one array; those of {task.name} are a mapping of {names}")
