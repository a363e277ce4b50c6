"""The control: every source example counts the same."""

from __future__ import annotations

from bench.registry import WEIGHTINGS


def uniform() -> None:
    """Every source example counts the same."""


WEIGHTINGS.register("uniform", uniform, given=0)
