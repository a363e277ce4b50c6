"""Mistakes that a user can make, as exceptions that read well without a traceback.

Everything raised on purpose derives from :class:`BenchError`; the command line prints its message
and exits with :attr:`BenchError.exit_code`. Any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

MAX_NAME = 200  # characters up to which a name is compared with others


class BenchError(Exception):
    """Base of all errors that are the user's to mend; `exit_code` is what the command returns."""

    exit_code = 2


class DataError(BenchError):
    """Data that cannot be used: missing, damaged, of the wrong shape, or with impossible labels."""


class StoreError(BenchError):
    """A run folder that cannot be read or written, or that another run holds."""


class UnknownName(BenchError):
    """A name that is not registered; the message carries the nearest match."""


class TrialError(BenchError):
    """A trial that cannot be completed (a diverged training, say): becomes a failed row."""

    exit_code = 1


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in a suite: where it stands and what is wrong there."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class SuiteError(BenchError):
    """Everything that is wrong with a suite, found in one pass.

    Parameters
    ----------
    source : str
        The file, or a description of where the suite came from.
    problems : sequence of Problem
        At least one.

    Attributes
    ----------
    suite : Suite or None
        What of the suite is well formed, where that is enough to read its data.
    """

    suite: Any = None

    def __init__(self, source: str, problems: Sequence[Problem]):
        self.source = source
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{source}: {count}\n{lines}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source, self.problems)


def demand_number(what: str, value: object, least: float = 0.0) -> float:
    """Return a finite number of at least `least`.

    Raises
    ------
    BenchError
        For anything else, with what it is called.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
        raise BenchError(f"{what} = {value!r} is not a finite number of at least {least:g}")
    return float(value)


def closest(name: str, choices: Iterable[str]) -> str | None:
    """Return which of `choices` comes nearest to `name`; None where nothing is close."""
    name = str(name)
    if len(name) > MAX_NAME:
        return None  # comparing takes time with the square of the length, and nobody meant such a name
    by_folded = {choice.casefold(): choice for choice in choices if len(choice) <= MAX_NAME}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None


def nearest(name: str, choices: Iterable[str]) -> str:
    """Say which of `choices` comes nearest to `name`, as a clause to end an error message with.

    Returns an empty string where nothing is close enough to be helpful.
    """
    close = closest(name, choices)
    return f'; did you mean "{close}"?' if close else ""


def unknown(kind: str, name: str, choices: Iterable[str]) -> UnknownName:
    """Build the error for a name that is not among `choices`."""
    choices = sorted(choices)
    hint = nearest(name, choices)
    if not hint:
        shown = ", ".join(choices[:12]) + (", ..." if len(choices) > 12 else "")
        hint = f"; known: {shown}" if choices else "; none is known"
    return UnknownName(f'unknown {kind} "{name}"{hint}')
