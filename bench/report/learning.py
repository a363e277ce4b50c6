"""Scores over target size, scratch beside each strategy, and how much data each transfer is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.errors import DataError
from bench.report.drawing import (
    MAJORITY,
    footnote,
    log_sizes,
    majority_line,
    majority_text,
    name_ends,
    score_axis,
    settle,
)  # fmt: skip
from bench.report.grid import NEAR, majority_of, near_to_far
from bench.report.style import COLUMN, GRID, PAGE, colours, counted_range, figure_style, strategy_name
from bench.schema import SCRATCH
from bench.scores import Scale, scale_of
from bench.stats import paired
from bench.stats.effective import effective_data
from bench.stats.gap import prepare
from bench.stats.select import SUFFIX, select_depth
from bench.transfer.index import BUILTIN as STRATEGY_ORDER

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

LINE = 0.1  # inches of a name
MOST = 4  # panels side by side
LEFT_OUT = ("zero-shot", "scratch-long")


def learning_curves(rows: pd.DataFrame, *, near: str = NEAR) -> Figure:
    """Draw scores over target size for scratch and every strategy, a column a source, near to far.

    Below each stands the multiple of scratch's data that reaches the same accuracy (Hernandez et al.,
    2021; :func:`bench.stats.effective.effective_data`): an arrow where it lies beyond the sizes that
    scratch was trained with. Dashed is what always predicting the most frequent class reaches, where the rows have
    it (`majority_accuracy`). A strategy with several depths takes the one that validation chose. Bars are
    95 % intervals over seeds, the band scratch's.

    Parameters
    ----------
    rows : DataFrame
        One row a trial, columns as in :data:`bench.schema.TRIAL`.
    near : str
        Measure of similarity that sorts sources; the four nearest to farthest, evenly, where there are more.

    Raises
    ------
    DataError
        When there is only one target size.
    """
    from matplotlib.figure import Figure

    rows = rows[rows["weighting"].isna() | (rows["weighting"] == "uniform")]
    arms, scale = _arms(rows), scale_of(rows)
    scratch = arms[arms["source"].isna() & (arms["strategy"] == SCRATCH)]
    if scratch["target_size"].nunique() < 2:
        raise DataError("a learning curve needs scratch at two target sizes or more")
    sources = _sources(rows, near)
    arms = arms[arms["source"].isna() | arms["source"].isin(sources)]
    worth = effective_data(arms)
    strategies = _ordered(arms["strategy"].dropna().unique())
    colour = dict(zip(strategies, colours(len(strategies), black=False), strict=True))
    names = LINE * (len(strategies) + 2)  # at the end of the curves, each on a line of its own
    with figure_style():
        width = PAGE if len(sources) > 1 else COLUMN
        figure = Figure(figsize=(width, max(3.3, names * 1.8 + 0.9)), layout="constrained")
        axes = figure.subplots(2, len(sources), squeeze=False, sharex=True, sharey="row", height_ratios=(1.25, 1))
        for j, source in enumerate(sources):
            block = arms[arms["source"].isna() | (arms["source"] == source)]
            _curves(axes[0, j], block, strategies, colour, scale.factor)
            _multiples(axes[1, j], worth[worth["source"] == source], strategies, colour)
            majority_line(axes[0, j], majority_of(arms))
            axes[0, j].set_title(f"{source} \N{RIGHTWARDS ARROW} {arms['target'].iloc[0]}", fontsize=6.5)
        _dress(figure, axes, arms, strategies, scale)
    return figure


def _arms(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the trials drawn: scratch and one arm a strategy, of the first target and backbone."""
    chosen = select_depth(rows)
    chosen = chosen[(chosen["status"] == "ok") & (chosen["target_size"] > 0) & ~chosen["strategy"].isin(LEFT_OUT)]
    if chosen.empty or chosen["source"].isna().all():
        raise DataError("no transfer has a result at any target size")
    first = chosen[["target", "backbone"]].sort_values(["target", "backbone"]).iloc[0]
    chosen = chosen[(chosen["target"] == first["target"]) & (chosen["backbone"] == first["backbone"])]
    return chosen.assign(strategy=chosen["strategy"].str.removesuffix(SUFFIX))


def _sources(rows: pd.DataFrame, near: str) -> list[str]:
    done = prepare(rows)
    known = done[done["done"] & done["source"].notna()]
    names = [source.name for source in near_to_far(known, near)[1]]
    if len(names) <= MOST:
        return names
    return [names[round(i * (len(names) - 1) / (MOST - 1))] for i in range(MOST)]


def _ordered(names: object) -> list[str]:
    known = list(STRATEGY_ORDER)
    transfers = [name for name in names if name != SCRATCH]
    return sorted(transfers, key=lambda name: (known.index(name) if name in known else len(known), name))


def _mean(part: pd.DataFrame, factor: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return sizes, mean scores and the ends of their intervals."""
    found = []
    for size, block in part.groupby("target_size", sort=True):
        mean, low, high, _ = paired.summary(block["test_score"].to_numpy(dtype=float), 0.05)
        found.append((float(size), factor * mean, factor * low, factor * high))
    return tuple(np.array(found).T) if found else (np.array([]),) * 4


def _curves(axis: Axes, block: pd.DataFrame, strategies: list[str], colour: dict[str, str], factor: float) -> None:
    sizes, mean, low, high = _mean(block[block["source"].isna() & (block["strategy"] == SCRATCH)], factor)
    axis.fill_between(sizes, low, high, color="black", alpha=0.12, linewidth=0)
    axis.plot(sizes, mean, color="black", linewidth=1.4, label=SCRATCH)
    for i, name in enumerate(strategies):
        sizes, mean, low, high = _mean(block[block["source"].notna() & (block["strategy"] == name)], factor)
        shifted = sizes * 1.035 ** (i - (len(strategies) - 1) / 2)
        axis.vlines(shifted, low, high, color=colour[name], linewidth=0.7)
        axis.plot(shifted, mean, "o-", color=colour[name], markersize=2.4, linewidth=0.9, label=name)


def _multiples(axis: Axes, worth: pd.DataFrame, strategies: list[str], colour: dict[str, str]) -> None:
    axis.axhline(1, color="black", linewidth=1.4)
    for i, name in enumerate(strategies):
        part = worth[(worth["strategy"] == name) & worth["multiple"].notna()].sort_values("target_size")
        x = part["target_size"].to_numpy(dtype=float) * 1.035 ** (i - (len(strategies) - 1) / 2)
        y = part["multiple"].to_numpy(dtype=float)
        axis.plot(x, y, color=colour[name], linewidth=0.9, alpha=0.8)
        axis.vlines(x, part["multiple_low"], part["multiple_high"], color=colour[name], linewidth=0.7)
        for marker, state in (("o", None), ("^", "at least"), ("v", "at most")):
            mine = (part["censored"].isna() if state is None else part["censored"] == state).to_numpy()
            hollow = "white" if state else colour[name]
            axis.plot(x[mine], y[mine], marker, color=colour[name], markersize=2.4 if state is None else 3.6,
                      markerfacecolor=hollow, markeredgewidth=0.7)  # fmt: skip


def _dress(figure: Figure, axes: np.ndarray, arms: pd.DataFrame, strategies: list[str], scale: Scale) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    sizes = sorted(int(size) for size in arms["target_size"].unique())
    for axis in axes[0]:
        score_axis(axis, scale)
    for axis in axes.flat:
        log_sizes(axis, sizes)
        axis.grid(axis="y", color=GRID, linewidth=0.5)
    axes[0, 0].set_ylabel(scale.axis)
    lower = axes[1, 0]
    lower.set_yscale("log")
    lower.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    lower.yaxis.set_minor_locator(NullLocator())
    lower.yaxis.set_major_formatter(lambda value, _: f"{value:g}\N{MULTIPLICATION SIGN}")
    lower.set_ylabel("worth of scratch's data")
    for axis in axes[1]:
        axis.set_xlabel("labelled target examples")
    seeds = arms.groupby(["strategy", "target_size", "source"], dropna=False)["seed"].nunique()
    footnote(
        figure,
        f"Means and 95 % intervals over {counted_range(seeds, 'seed')}; depths chosen on validation data. Below: the "
        f"multiple of scratch's data that reaches the same {scale.error or scale.label}; hollow triangles: at least "
        f"(up) or at most (down), beyond scratch's sizes.{majority_text(arms)}",
    )
    settle(figure, lambda: _name_lines(axes[0, -1], {SCRATCH, MAJORITY, *strategies}))


def _name_lines(axis: Axes, named: set[str]) -> list[Annotation]:
    """Name curves at their right ends; the majority's line ends with the panel."""
    ends, edge = [], axis.get_xlim()[1]
    for line in axis.lines:
        if line.get_label() in named and len(line.get_xdata()):
            x = edge if line.get_label() == MAJORITY else line.get_xdata()[-1]
            ends.append((x, line.get_ydata()[-1], strategy_name(str(line.get_label())), line.get_color()))
    return name_ends(axis, ends)
