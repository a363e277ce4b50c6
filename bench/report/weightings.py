"""What weighting the source examples came to: sentences from the table of what was won back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.report.style import points
from bench.stats.won_back import NOTHING, won_back

if TYPE_CHECKING:
    import pandas as pd


def weighted(rows: pd.DataFrame) -> pd.DataFrame | None:
    """Return what :func:`bench.stats.won_back.won_back` finds; None where there is the uniform one alone."""
    try:
        table = won_back(rows)
    except BenchError:
        return None
    return table if len(table) else None


def sentences(table: pd.DataFrame) -> list[str]:
    """Say of each weighting how well it found planted harm, what it won back, what that changed, and its cost.

    Parameters
    ----------
    table : DataFrame
        As :func:`bench.stats.won_back.won_back` returns it.
    """
    said = []
    for name, part in table.groupby("weighting", sort=True):
        facts = []
        if part["weight_auroc"].notna().any():
            facts.append(f"finds planted harm with an AUROC of {_span(part['weight_auroc'], '.2f')}")
        better, worse = (part["won_low"] > 0).sum(), (part["won_high"] < 0).sum()
        facts.append(f"is surely better than uniform weights in {better} of {len(part)} comparisons, worse in {worse}")
        share = part["share"].dropna()
        if len(share):
            facts.append(
                f"wins back {_span(100 * share, '.0f', ' %')} of what the oracle gains, where that gains at all "
                f"({len(share)} of {len(part)})"
            )
        elif (part["note"] == NOTHING).all():
            facts.append("has nothing to win back: the oracle does not gain either")
        if part["ntg"].notna().any():
            before, after = (points(part[column].mean()) for column in ("uniform_ntg", "ntg"))
            facts.append(f"moves the mean gap from {before} to {after} points")
        if part["relative_cost"].notna().any():
            facts.append(f"costs {part['relative_cost'].median():.1f} x uniform")
        said.append(
            f"{name} " + ", ".join(facts[:-1]) + f" and {facts[-1]}." if len(facts) > 1 else f"{name} {facts[0]}."
        )
    return said


def _span(values: pd.Series, form: str, unit: str = "") -> str:
    """Return the median and the range of values."""
    values = values.dropna()
    middle = f"{values.median():{form}}{unit}"
    return middle if len(values) == 1 else f"{middle} in the median ({values.min():{form}} to {values.max():{form}})"
