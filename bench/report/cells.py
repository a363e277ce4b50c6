"""What stands in the comparison table, whatever it is written as: cells, caption and legend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.grid import Cell, Grid, Source
from bench.report.style import MARKS
from bench.scores import Scale, scales_of
from bench.stats.gap import options_of

if TYPE_CHECKING:
    import pandas as pd


def legend(comparisons: pd.DataFrame, marks: dict[str, str] = MARKS) -> str:
    """Say how to read the table, with the settings that its verdicts were made with."""
    options = options_of(comparisons)
    return (
        f"{gap_text(comparisons, ', mean over seeds')}; above 0 is harm. "
        f"{marks['negative']} negative, {marks['positive']} positive, {marks['equivalent']} equivalent "
        f"(within {margin_text(options['margin'], comparisons)}), {marks['inconclusive']} inconclusive; "
        f"{judged(comparisons)}. n: blocks transferred, f: blocks frozen."
    )


def gap_text(comparisons: pd.DataFrame, how: str = "") -> str:
    """Say what a gap is, for each metric of the comparisons; `how` follows its unit."""
    said = [f"{_difference(scale)}, in {scale.units}{how}" for scale in scales_of(comparisons)]
    return f"Gap = {'; or '.join(said)}"


def _difference(scale: Scale) -> str:
    """Say what is taken from what; of an error, whose score is minus its value, the other way round."""
    if scale.error:
        return f"{scale.error} after transfer minus {scale.error} from scratch"
    return f"{scale.label} from scratch minus {scale.label} after transfer"


def judged(comparisons: pd.DataFrame) -> str:
    """Say at which level verdicts were read, and how and within what p values were corrected."""
    options = options_of(comparisons)
    method = {"holm": "Holm", "fdr_bh": "Benjamini-Hochberg"}[options["correction"]]
    within = " and ".join(name.replace("_", " ") for name in options["family"]) or "the whole map"
    return f"alpha {options['alpha']:g}, {method} within {within}"


SHOWN_ARMS = 6


def caption(grid: Grid) -> str:
    """Say what scratch and a constant prediction reach, which arms are no better, and how sources are sorted."""
    _, seeds = grid.scratch
    reached = f"Scratch {grid.reached} ({_seeds(seeds)})" if seeds else "No pair of trials was completed"
    constant = "" if grid.majority is None else f"; always the majority class {100 * grid.majority:.1f} %"
    return f"{reached}{constant}. Sources {grid.order}.{_one_class(grid)}"


def _one_class(grid: Grid) -> str:
    """Name the arms that predict one class for every test example; nothing where none does."""
    if not grid.one_class:
        return ""
    arms = [f"{arm} in {k} of {_seeds(n)}" for arm, k, n in grid.one_class[:SHOWN_ARMS]]
    more = len(grid.one_class) - SHOWN_ARMS
    return f" Predicts one class: {', '.join(arms)}{f', and {more} more' if more > 0 else ''}."


def _seeds(n: int) -> str:
    return f"{n} seed" if n == 1 else f"{n} seeds"


def cell_text(cell: Cell | None, marks: dict[str, str] = MARKS, decimals: int = 1) -> str:
    """Write one cell: the gap with the mark of its verdict."""
    if cell is None:
        return ""
    if not cell.measured:
        return "failed" if cell.n_failed else "none"
    return cell.scale.gap(cell.ntg, decimals) + marks[cell.verdict]


def distance_text(value: float | None) -> str:
    """Write a distance to three digits; nothing where it was not measured."""
    return "" if value is None else f"{value:.3g}"


def distance_interval(source: Source) -> str:
    """Write a source's distance with its interval, where it has one."""
    if source.low is None or source.high is None:
        return distance_text(source.distance)
    return f"{distance_text(source.distance)} [{distance_text(source.low)}, {distance_text(source.high)}]"


def margin_text(margin: float, comparisons: pd.DataFrame | None = None) -> str:
    """Write the equivalence margin in the unit of the comparisons, points without any."""
    scales = [Scale()] if comparisons is None else scales_of(comparisons)
    return " or ".join(dict.fromkeys(scale.margin(margin) for scale in scales))
