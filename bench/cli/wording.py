"""Numbers, times and counts as a reader says them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.suite import Suite


def counted(n: int, one: str, many: str | None = None) -> str:
    """Write a number with its noun: "1 trial", "12,000 trials"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Write a time in its two largest units: "0.4 s", "12 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, smaller, small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {unit} {rest} {smaller}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def rate(per_second: float) -> str:
    """Write a rate with the unit that makes it readable: "3.2/s", "14/min", "5/h"."""
    for unit, factor in (("s", 1), ("min", 60)):
        if per_second * factor >= 1:
            return (
                f"{per_second * factor:.2g}/{unit}" if per_second * factor < 10 else f"{per_second * factor:.0f}/{unit}"
            )
    return f"{per_second * 3600:.2g}/h"


def state(done: int, failed: int, missing: int) -> str:
    """Write counts by state, the failed ones only where there are any."""
    failures = f"{failed:,} failed, " if failed else ""
    return f"{done:,} done, {failures}{missing:,} missing"


def recipe_line(suite: Suite) -> str:
    """Write the recipe in force; what of it is so because weights are handed in, too."""
    from bench.schema import ACCURACY
    from bench.scores import Scale
    from bench.suite.model import HANDED_IN_RECIPE

    same = [name for name, value in HANDED_IN_RECIPE.items() if suite.models and getattr(suite.recipe, name) == value]
    because = f" ({', '.join(same)}: the defaults of suites with [models])" if same else ""
    by = "" if suite.metric in (None, ACCURACY) else f"; chosen and judged by {Scale(suite.metric).label}"
    return f"recipe: {suite.recipe.summary}{because}{by}"


def printable(text: str) -> str:
    """Return text without what would steer a terminal: a ledger may come from somebody else."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
