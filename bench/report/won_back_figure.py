"""How much of the oracle's gain each weighting of source examples won back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.errors import DataError
from bench.report.drawing import NAMES_SHARE, footnote, settle
from bench.report.fitting import short_names
from bench.report.grid import depth_labels
from bench.report.style import COLUMN, GRID, PAGE, QUIET, colours, counted, counted_range, figure_style, strategy_name
from bench.stats.won_back import won_back

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINT = ["strategy", "transfer_depth", "frozen_depth"]
MARKERS = "osD^vPX*"
LEFT, RIGHT = -0.5, 1.5  # of a panel, as shares; what lies beyond is drawn at its edge
INSIDE = 0.05  # of the edge, so that the mark covers no name
MOST_ACROSS = 6


def share_won_back(rows: pd.DataFrame, *, uniform: str = "uniform", oracle: str = "oracle") -> Figure:
    """Draw what share of the oracle's gain over uniform weights each weighting won back.

    A panel for each source and target size, a line for each weighting, the one that wins most on top, a point
    for each strategy with Fieller's 95 % interval (:func:`bench.stats.won_back.won_back`). At 0 the
    weighting did nothing, at 1 it did as well as knowing which examples are harmful. Where the oracle does
    not surely gain there is no share; a panel without any says so. A share beyond the axis is a triangle at its edge.

    Parameters
    ----------
    rows : DataFrame
        One row a trial, columns as in :data:`bench.schema.TRIAL`, with several values of `weighting`.
    uniform, oracle : str
        What `weighting` calls them.

    Raises
    ------
    DataError
        When there is no weighting besides uniform and the oracle, or no share at all.
    """
    from matplotlib.figure import Figure

    table = won_back(rows, uniform=uniform, oracle=oracle)
    if table.empty:
        raise DataError(f"no weighting besides {uniform} and {oracle} has a result beside the uniform one")
    if table["share"].isna().all():
        raise DataError(f"there is no share to draw: {'; '.join(sorted(table['note'].dropna().unique()))}")
    labels = depth_labels(table)
    table = table.assign(point=[labels[point] for point in table[POINT].itertuples(index=False, name=None)])
    points = list(dict.fromkeys(table["point"]))
    ways = list(table.groupby("weighting")["share"].median().sort_values(ascending=False, na_position="last").index)
    panels = [(*place, part) for place, part in table.groupby(["source", "target", "backbone", "target_size"])]
    across = min(MOST_ACROSS, len(panels), max(1, table["source"].nunique()))
    panels.sort(key=lambda panel: panel[3])  # a row a size, where sources fit into one
    down = -(-len(panels) // across)
    with figure_style():
        size = (COLUMN if across <= 2 else PAGE, down * (0.14 * len(ways) + 0.5) + 0.75)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        for axis, panel in zip(axes.flat, panels, strict=False):
            _draw(axis, panel, ways, points)
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        _legend(figure, points)
        footnote(
            figure,
            f"Share of what the {oracle} gains over {uniform} weights, with Fieller's 95 % interval over "
            f"{counted_range(table['n_seeds'], 'seed')}. Where the oracle does not surely gain "
            "there is no share. Triangle: off the axis.",
        )
        settle(figure)
    return figure


def _draw(axis: Axes, panel: tuple, ways: list[str], points: list) -> None:
    import textwrap

    source, target, _, size, part = panel
    axis.axvline(0, color="black", linewidth=0.6)
    axis.axvline(1, color="black", linewidth=0.6, linestyle="--")
    for row in part[part["share"].notna()].to_dict("records"):
        place = points.index(row["point"])
        y = ways.index(row["weighting"]) + (place - (len(points) - 1) / 2) * 0.7 / len(points)
        colour = colours(len(points))[place]
        axis.hlines(y, *np.clip([row["share_low"], row["share_high"]], LEFT, RIGHT), color=colour, linewidth=0.9)
        if LEFT <= row["share"] <= RIGHT:
            axis.plot([row["share"]], [y], MARKERS[place % len(MARKERS)], color=colour, markersize=2.6)
        else:
            edge, marker = (LEFT + INSIDE, "<") if row["share"] < LEFT else (RIGHT - INSIDE, ">")
            axis.plot([edge], [y], marker, color=colour, markersize=3.4, markerfacecolor="white")
    if part["share"].isna().all():
        axis.text(0.5, (len(ways) - 1) / 2, textwrap.fill(str(part["note"].iloc[0]), 18), fontsize=5.6,
                  color=QUIET, ha="center", va="center", style="italic",
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
    axis.set_xlim(LEFT, RIGHT)
    axis.set_ylim(len(ways) - 0.5, -0.5)
    short = short_names(ways, NAMES_SHARE * 72 * axis.figure.get_figwidth(), 5.8)
    axis.set_yticks(range(len(ways)), [short[way] for way in ways], fontsize=5.8)
    axis.tick_params(axis="y", length=0)
    axis.set_xticks([0, 0.5, 1], ["0", "50", "100 %"])
    axis.grid(axis="x", color=GRID, linewidth=0.5)
    number = counted(size, "label") if size else "no label"
    axis.set_title(f"{source}\n\N{RIGHTWARDS ARROW} {target}, {number}", fontsize=6)


def _legend(figure: Figure, points: list) -> None:
    from matplotlib.lines import Line2D

    if len(points) < 2:
        return
    handles = [
        Line2D([], [], color=colour, marker=MARKERS[i % len(MARKERS)], markersize=3.2, linewidth=0.9,
               label=f"{strategy_name(point.strategy)} {point.depth}".strip())
        for i, (colour, point) in enumerate(zip(colours(len(points)), points, strict=True))
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper left", ncols=4 if figure.get_figwidth() > COLUMN else 2)
