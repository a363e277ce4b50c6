"""What stands in the comparison table, whatever it is written as: cells, caption and legend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.grid import Cell, Grid, Source
from bench.report.style import MARKS, points
from bench.stats.gap import options_of

if TYPE_CHECKING:
    import pandas as pd


def legend(comparisons: pd.DataFrame, marks: dict[str, str] = MARKS) -> str:
    """Say how to read the table, with the settings that its verdicts were made with."""
    options = options_of(comparisons)
    return (
        "Gap = accuracy from scratch minus accuracy after transfer, in points, mean over seeds; above 0 is harm. "
        f"{marks['negative']} negative, {marks['positive']} positive, {marks['equivalent']} equivalent "
        f"(within {margin_text(options['margin'])}), {marks['inconclusive']} inconclusive; "
        f"{judged(comparisons)}. n: blocks transferred, f: blocks frozen."
    )


def judged(comparisons: pd.DataFrame) -> str:
    """Say at which level verdicts were read, and how and within what p values were corrected."""
    options = options_of(comparisons)
    method = {"holm": "Holm", "fdr_bh": "Benjamini-Hochberg"}[options["correction"]]
    within = " and ".join(name.replace("_", " ") for name in options["family"]) or "the whole map"
    return f"alpha {options['alpha']:g}, {method} within {within}"


def caption(grid: Grid) -> str:
    """Say what scratch reaches and how the sources are sorted."""
    accuracy, seeds = grid.scratch
    said = f"{seeds} seed" if seeds == 1 else f"{seeds} seeds"
    reached = f"Scratch {100 * accuracy:.1f} % ({said})" if seeds else "No pair of trials was completed"
    return f"{reached}. Sources {grid.order}."


def cell_text(cell: Cell | None, marks: dict[str, str] = MARKS, decimals: int = 1) -> str:
    """Write one cell: the gap in points with the mark of its verdict."""
    if cell is None:
        return ""
    if not cell.measured:
        return "failed" if cell.n_failed else "none"
    return points(cell.ntg, decimals) + marks[cell.verdict]


def distance_text(value: float | None) -> str:
    """Write a distance to three digits; nothing where it was not measured."""
    return "" if value is None else f"{value:.3g}"


def distance_interval(source: Source) -> str:
    """Write a source's distance with its interval, where it has one."""
    if source.low is None or source.high is None:
        return distance_text(source.distance)
    return f"{distance_text(source.distance)} [{distance_text(source.low)}, {distance_text(source.high)}]"


def margin_text(margin: float) -> str:
    """Write the equivalence margin in points."""
    value = f"{100 * margin:g}"
    return f"{value} point" if value == "1" else f"{value} points"
