"""Scores against cost: parameters trained, and seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.errors import DataError
from bench.report.drawing import (
    MAJORITY,
    NAMES_SHARE,
    apart,
    footnote,
    log_costs,
    majority_line,
    majority_text,
    score_axis,
    settle,
)  # fmt: skip
from bench.report.fitting import short_names
from bench.report.grid import majority_of
from bench.report.style import COLUMN, GRID, colours, counted, counted_range, figure_style, strategy_name
from bench.schema import SCRATCH
from bench.scores import scale_of
from bench.stats import paired
from bench.stats.gap import prepare
from bench.transfer.index import BUILTIN as STRATEGY_ORDER

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

COSTS = {"trainable_parameters": "parameters trained", "seconds": "seconds a trial"}
LINE = 0.1  # inches of a name
POINT = ["strategy", "transfer_depth", "frozen_depth"]


def accuracy_against_cost(rows: pd.DataFrame) -> Figure:
    """Draw the score of every strategy and depth against what it costs, a row of panels a target size.

    A point is a strategy at a depth, its mean over sources and seeds; the bar is the 95 % interval over
    seeds of the mean over sources. To the left, against the number of parameters that training could
    change; to the right, against the seconds of a trial on the target, all learning rates included, the
    source model's training not. A strategy's depths are joined from shallow to deep. Dashed is what always predicting
    the most frequent class reaches, where the rows have it (`majority_accuracy`).

    Parameters
    ----------
    rows : DataFrame
        One row a trial, columns as in :data:`bench.schema.TRIAL`; of several targets and backbones the
        first is drawn.

    Raises
    ------
    DataError
        When fewer than two strategies or depths were trained.
    """
    from matplotlib.figure import Figure

    scale = scale_of(rows)
    points = _points(rows, scale.factor)
    sizes = sorted(int(size) for size in points["target_size"].unique())
    strategies = _ordered(points["strategy"].unique())
    majority = majority_of(rows)
    tall = max(1.55, LINE * (len(strategies) + (majority is not None)) + 0.35)  # a line a name, at the right
    with figure_style():
        figure = Figure(figsize=(COLUMN, tall * len(sizes) + 0.45), layout="constrained")
        axes = figure.subplots(len(sizes), 2, squeeze=False, sharex="col", sharey="row")
        for row, size in zip(axes, sizes, strict=True):
            for axis, cost in zip(row, COSTS, strict=True):
                _draw(axis, points[points["target_size"] == size], cost, strategies)
                majority_line(axis, majority)
                score_axis(axis, scale)
            row[0].set_title(f"{points['target'].iloc[0]}, {counted(size, 'label')}")
            row[0].set_ylabel(scale.axis)
        for axis, label in zip(axes[-1], COSTS.values(), strict=True):
            axis.set_xlabel(label)
        footnote(
            figure,
            f"Means over {counted(int(points['sources'].max()), 'source')} and {counted_range(points['n'], 'seed')}, "
            f"95 % intervals over seeds.{majority_text(rows)}",
        )
        settle(figure, lambda: _name(axes))
    return figure


def _points(rows: pd.DataFrame, factor: float) -> pd.DataFrame:
    """Return means and intervals of every strategy, depth and size that trains something."""
    import pandas as pd

    rows = rows[rows["weighting"].isna() | (rows["weighting"] == "uniform")]
    done = prepare(rows)
    done = done[done["done"] & (done["trainable_parameters"] > 0) & (done["seconds"] > 0) & (done["target_size"] > 0)]
    if done.groupby(POINT, dropna=False).ngroups < 2:
        raise DataError("a picture of costs needs two strategies or depths with parameters and seconds")
    first = done[["target", "backbone"]].sort_values(["target", "backbone"]).iloc[0]
    done = done[(done["target"] == first["target"]) & (done["backbone"] == first["backbone"])]
    found = []
    for place, part in done.groupby(["target", "target_size", *POINT], dropna=False, sort=True):
        by_seed = part.groupby("seed")["test_score"].mean().to_numpy(dtype=float)
        mean, low, high, _ = paired.summary(by_seed, 0.05)
        found.append(
            dict(zip(["target", "target_size", *POINT], place, strict=True))
            | {"score": factor * mean, "low": factor * low, "high": factor * high, "n": len(by_seed)}
            | {cost: float(part[cost].median()) for cost in COSTS}
            | {"sources": part["source"].nunique()}
        )
    return pd.DataFrame(found)


def _ordered(names: object) -> list[str]:
    known = list(STRATEGY_ORDER)
    return sorted(names, key=lambda name: (known.index(name) if name in known else len(known), name))


def _draw(axis: Axes, points: pd.DataFrame, cost: str, strategies: list[str]) -> None:
    log_costs(axis)
    if points[cost].nunique() == 1:
        axis.set_xlim(points[cost].iloc[0] / 3, points[cost].iloc[0] * 3)
    others = [name for name in strategies if not name.startswith(SCRATCH)]
    colour_of = dict(zip(others, colours(len(others), black=False), strict=True))
    for name in strategies:
        part = points[points["strategy"] == name].sort_values(["transfer_depth", "frozen_depth"])
        if part.empty:
            continue
        scratch = name.startswith(SCRATCH)
        colour = "black" if scratch else colour_of[name]
        axis.vlines(part[cost], part["low"], part["high"], color=colour, linewidth=0.7)
        axis.plot(part[cost], part["score"], "s-" if scratch else "o-", color=colour, markersize=2.8, linewidth=0.5,
                  label=name)  # fmt: skip
    axis.grid(color=GRID, linewidth=0.5)
    if axis.get_subplotspec().is_first_col():
        level = points.loc[points["strategy"] == SCRATCH, "score"]
        if len(level):
            axis.axhline(level.iloc[0], color="black", linewidth=0.5, linestyle=":")
    elif (points["strategy"] == SCRATCH).any():
        axis.axhline(points.loc[points["strategy"] == SCRATCH, "score"].iloc[0], color="black", linewidth=0.5,
                     linestyle=":")  # fmt: skip


def _name(axes: np.ndarray) -> list[Annotation]:
    """Name strategies at the right edge, near the height of their last point."""
    written = []
    for axis in axes[:, -1]:
        scale = axis.figure.dpi / 72
        lines = [line for line in axis.lines if not str(line.get_label()).startswith("_")]
        lines.sort(key=lambda line: line.get_ydata()[-1])
        said = [strategy_name(str(line.get_label())) for line in lines]
        short = short_names(said, NAMES_SHARE * 72 * axis.figure.get_figwidth(), 5.5)
        at = [axis.transData.transform((1, line.get_ydata()[-1]))[1] / scale for line in lines]
        base = axis.transAxes.transform((0, 0))[1] / scale
        height = axis.get_window_extent().height / scale
        places = apart(at, 6.6, base + 2.75, base + height - 2.75)
        for line, name, place in zip(lines, said, places, strict=True):
            colour = line.get_color()
            leader = {"arrowstyle": "-", "color": colour, "linewidth": 0.35, "shrinkA": 0, "shrinkB": 2}
            # A line that goes through has no last point but the edge.
            through = line.get_label() == MAJORITY
            x, where = (1.0, axis.get_yaxis_transform()) if through else (line.get_xdata()[-1], "data")
            mark = axis.annotate(
                short[name], (x, line.get_ydata()[-1]), color=colour, xycoords=where,
                xytext=(1.06, (place - base) / height), textcoords="axes fraction", fontsize=5.5, va="center",
                ha="left", annotation_clip=False, arrowprops=leader,
            )  # fmt: skip
            written.append(mark)
    return written
