"""Figures of the gap: the map of all comparisons, and the gap against measured similarity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.errors import DataError, unknown
from bench.report.cells import margin_text
from bench.report.grid import NEAR, Cell, Grid, grids
from bench.report.style import DIVERGING, MARKS, PALETTE, SHORT_NAMES, figure_style, measure_name, points
from bench.schema import VERDICTS, near_is_low, similarity_columns
from bench.stats.gap import options_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

CELL = (0.52, 0.30)  # inches
SMALL = 0.02  # gaps below two points share the pale middle of the scale
LABEL_GAP = 0.045  # between slanted names, as a share of the axis
MARKERS = {"negative": "X", "positive": "o", "equivalent": "s", "inconclusive": "."}


def gap_map(comparisons: pd.DataFrame, *, near: str = NEAR) -> Figure:
    """Draw every comparison as a coloured cell: sources down from near to far, strategies and depths across.

    One panel for each target, backbone and size, under each other. Colour is the gap (red for harm, blue
    for help, on a scale that is linear around 0 and logarithmic beyond), the number its size in points
    and the mark its verdict; a cell without a comparison is hatched.

    Parameters
    ----------
    comparisons : DataFrame
        As :func:`bench.stats.gap.negative_transfer` returns it.
    near : str
        Measure of similarity that sorts sources.

    Returns
    -------
    matplotlib.figure.Figure
        Bound to no window; save it with ``savefig``.

    Raises
    ------
    DataError
        When there is no comparison to draw.
    """
    from matplotlib.figure import Figure

    panels = grids(comparisons, near=near)
    if not panels:
        raise DataError("there is no comparison to draw")
    norm = _norm(comparisons)
    rows = [len(panel.sources) for panel in panels]
    width = CELL[0] * max(len(panel.heads) for panel in panels) + 2.4
    height = CELL[1] * sum(rows) + 0.85 * len(panels) + 0.95
    with figure_style():
        figure = Figure(figsize=(max(width, 5.0), height), layout="constrained")
        axes = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": rows})[:, 0]
        for i, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
            _draw_panel(axis, panel, norm, names=i == 0 or panel.heads != panels[i - 1].heads)
        _colour_bar(figure, list(axes), norm)
        figure.supxlabel(_key(comparisons), fontsize=8)
    return figure


def _norm(comparisons: pd.DataFrame) -> Normalize:
    """Scale centred on 0 whose ends are the largest gap, at least ten points."""
    from matplotlib.colors import AsinhNorm

    largest = np.nanmax([0.1, *np.abs(comparisons["ntg"].to_numpy(dtype=float))])
    return AsinhNorm(linear_width=SMALL, vmin=-largest, vmax=largest)


def _draw_panel(axis: Axes, grid: Grid, norm: Normalize, *, names: bool) -> None:
    values = np.full((len(grid.sources), len(grid.heads)), np.nan)
    for i, source in enumerate(grid.sources):
        for j, head in enumerate(grid.heads):
            cell = grid.cells.get((source.name, head))
            if cell is not None and cell.measured:
                values[i, j] = cell.ntg
                _write(axis, j, i, cell, norm)
            elif cell is not None:
                axis.text(j, i, "failed" if cell.n_failed else "none", ha="center", va="center", fontsize=6.5)
    axis.patch.set(facecolor="white", edgecolor="#d9d9d9", hatch="////", linewidth=0)
    axis.imshow(np.ma.masked_invalid(values), cmap=DIVERGING, norm=norm, aspect="auto")
    accuracy, seeds = grid.scratch
    scratch = f" (scratch {100 * accuracy:.1f} %, {seeds} seed{'' if seeds == 1 else 's'})" if seeds else ""
    above = _name_groups(axis, grid) if names else 0
    axis.set_title(grid.title + scratch, pad=6 + above)
    axis.set_yticks(range(len(grid.sources)), [source.name for source in grid.sources])
    axis.set_xticks(range(len(grid.heads)), [head.depth for head in grid.heads])
    axis.tick_params(length=0, labeltop=names, labelbottom=False, labelsize=8)
    axis.spines[:].set_visible(False)
    axis.set_xticks(np.arange(-0.5, len(grid.heads)), minor=True)
    axis.set_yticks(np.arange(-0.5, len(grid.sources)), minor=True)
    axis.grid(which="minor", color="white", linewidth=0.8)
    axis.tick_params(which="minor", length=0)
    for start in np.cumsum([len(heads) for _, heads in grid.groups])[:-1]:
        axis.axvline(start - 0.5, color="white", linewidth=4)


def _name_groups(axis: Axes, grid: Grid) -> float:
    """Name the strategies above a panel and return the height that this takes, in typographic points."""
    start, above = 0, 0.0
    for name, heads in grid.groups:
        words = SHORT_NAMES.get(name, name).replace("-", " ")
        shown = words if len(words) <= 8 * len(heads) else words.replace(" ", "\n")
        lift = 16 if any(head.depth for head in heads) else 4
        axis.annotate(
            shown,
            (start + (len(heads) - 1) / 2, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, lift),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
        )
        start += len(heads)
        above = max(above, lift + 11.0 * (shown.count("\n") + 1))
    return above


def _write(axis: Axes, x: int, y: int, cell: Cell, norm: Normalize) -> None:
    """Write gap and mark into a cell, white where its colour is dark; bold where it is certain."""
    from matplotlib import colormaps

    red, green, blue, _ = colormaps[DIVERGING](norm(cell.ntg))
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
    decided = cell.verdict in ("negative", "positive")
    axis.text(
        x,
        y,
        points(cell.ntg, 1 if abs(cell.ntg) < 0.0995 else 0).replace("-", "\N{MINUS SIGN}") + MARKS[cell.verdict],
        ha="center",
        va="center",
        fontsize=7.5,
        color="white" if dark else "black" if decided else "#404040",
        fontweight="bold" if decided else "normal",
    )


def _colour_bar(figure: Figure, axes: list[Axes], norm: Normalize) -> None:
    from matplotlib.cm import ScalarMappable

    ticks = [t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if t <= norm.vmax]
    bar = figure.colorbar(ScalarMappable(norm, DIVERGING), ax=axes, fraction=0.04, aspect=35, pad=0.015)
    ticks = [*(-t for t in reversed(ticks)), 0.0, *ticks]
    bar.set_ticks(ticks, labels=[points(t, 0).replace("-", "\N{MINUS SIGN}") for t in ticks], minor=False)
    bar.ax.minorticks_off()
    bar.set_label("gap in points: above 0, transfer harms")
    bar.outline.set_visible(False)


def _key(comparisons: pd.DataFrame) -> str:
    options = options_of(comparisons)
    meanings = dict(zip(VERDICTS, VERDICTS, strict=True))
    meanings["equivalent"] = f"equivalent (within {margin_text(options['margin'])})"
    marks = ", ".join(f"{MARKS[verdict]} {meaning}" for verdict, meaning in meanings.items())
    return f"{marks}.  n: blocks transferred, f: blocks frozen."


def gap_against_similarity(comparisons: pd.DataFrame, *, measure: str = NEAR) -> Figure:
    """Draw the gap against a measure of similarity, to see whether the farther source is the worse one.

    One panel a size. A point is one source under one strategy, its gap averaged over depths (and
    weightings); a line joins a strategy's points from near to far, one for each target and backbone. The
    marker is the verdict that all depths share, or a dot where they do not. Distances that span more
    than a factor of ten stand on a logarithmic axis.

    Raises
    ------
    UnknownName
        For a measure that the comparisons do not have.
    DataError
        When it was measured for no pair.
    """
    from matplotlib.figure import Figure

    measures = similarity_columns(comparisons)
    if measure not in measures:
        raise unknown("measure", measure, measures)
    known = comparisons[comparisons[measure].notna() & comparisons["ntg"].notna()]
    if known.empty:
        raise DataError(f"no pair has both a gap and a {measure_name(measure)}")
    strategies = list(dict.fromkeys(head.strategy for grid in grids(known, near=measure) for head in grid.heads))
    sizes = sorted(known["target_size"].unique())
    with figure_style():
        figure = Figure(figsize=(max(5.0, 4.4 * len(sizes)), 5.0), layout="constrained")
        axes = figure.subplots(1, len(sizes), squeeze=False, sharex=True, sharey=True)[0]
        for axis, size in zip(axes, sizes, strict=True):
            for i, strategy in enumerate(strategies):
                block = known[(known["target_size"] == size) & (known["strategy"] == strategy)]
                _draw_line(axis, block, measure, strategy, i)
        # The panels share their axes, so all are drawn before any is dressed.
        for axis, size in zip(axes, sizes, strict=True):
            axis.set_title(f"{size} target examples", pad=_dress(axis, known, measure))
        axes[0].set_ylabel("gap in points: above 0, transfer harms")
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=4)
        figure.supxlabel(
            "Mean over depths. Cross: negative at every depth, circle: positive, square: equivalent, "
            "dot: inconclusive or mixed.",
            fontsize=8,
        )
    return figure


def _draw_line(axis: Axes, block: pd.DataFrame, measure: str, strategy: str, i: int) -> None:
    line = {"color": PALETTE[i % len(PALETTE)], "linestyle": ("-", "--", ":")[i // len(PALETTE) % 3], "linewidth": 1.2}
    pairs = block.groupby(["target", "backbone", "source"]).agg(
        distance=(measure, "mean"),
        gap=("ntg", "mean"),
        verdict=("verdict", lambda v: v.iloc[0] if v.nunique() == 1 else "inconclusive"),
    )
    pairs = pairs.sort_values("distance")
    # A strategy that this size lacks still needs its place in the legend.
    axis.plot([], [], label=strategy, **line)
    for _, part in pairs.groupby(level=["target", "backbone"]):
        axis.plot(part["distance"], 100 * part["gap"], alpha=0.7, **line)
    for verdict, part in pairs.groupby("verdict"):
        axis.plot(
            part["distance"], 100 * part["gap"], MARKERS[verdict], color=line["color"], markersize=6, markeredgewidth=0
        )


def _dress(axis: Axes, known: pd.DataFrame, measure: str) -> float:
    """Dress the axes and return the room that the panel's title must leave, in typographic points."""
    from matplotlib.ticker import LogLocator, NullLocator

    distances = known[measure]
    axis.axhline(0, color="black", linewidth=0.8)
    bottom, top = axis.get_ylim()
    axis.set_yscale("asinh", linear_width=100 * SMALL)
    axis.set_yticks([t for t in (-50, -20, -10, -5, -2, 0, 2, 5, 10, 20, 50) if bottom <= t <= top])
    axis.set_ylim(1.15 * bottom, 1.15 * top)  # room for markers: the scale is tight at its ends
    axis.yaxis.set_major_formatter(lambda value, _: points(value / 100, 0).replace("-", "\N{MINUS SIGN}"))
    axis.yaxis.set_minor_locator(NullLocator())
    if distances.min() > 0 and distances.max() / distances.min() > 10:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        wide = distances.max() / distances.min() > 300
        axis.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
        axis.xaxis.set_minor_locator(NullLocator())
    direction = "near to far" if near_is_low(measure) else "far to near"
    axis.set_xlabel(f"{measure_name(measure)} ({direction} \N{RIGHTWARDS ARROW})")
    axis.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    axis.set_axisbelow(True)
    if known.groupby(["target", "backbone"]).ngroups > 1:
        return 6.0
    _name_sources(axis, known.groupby("source")[measure].mean())
    return 22.0 + 3.1 * known["source"].str.len().max()


def _name_sources(axis: Axes, distances: pd.Series) -> None:
    """Write each source above its distance, aslant; names that would meet are moved apart."""
    distances = distances.sort_values()
    to_share = axis.transData + axis.transAxes.inverted()
    wanted = [to_share.transform((distance, 0))[0] for distance in distances]
    for (name, distance), place in zip(distances.items(), _apart(wanted, LABEL_GAP), strict=True):
        axis.axvline(distance, color="#ececec", linewidth=0.6, zorder=0)
        axis.annotate(
            name,
            (distance, 1),
            xycoords=("data", "axes fraction"),
            xytext=(place, 1.05),
            textcoords="axes fraction",
            arrowprops={"arrowstyle": "-", "color": "#c8c8c8", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
            rotation=50,
            rotation_mode="anchor",
            ha="left",
            va="bottom",
            fontsize=7,
            color="#505050",
        )


def _apart(places: list[float], gap: float) -> list[float]:
    """Move sorted places on a line at least `gap` apart, as little as need be, groups about their middle."""
    groups: list[tuple[float, int]] = []  # (middle, members)
    for place in places:
        middle, members = place, 1
        while groups and middle - groups[-1][0] < gap * (members + groups[-1][1]) / 2:
            before, count = groups.pop()
            middle = (middle * members + before * count) / (members + count)
            members += count
        groups.append((middle, members))
    return [middle + gap * (i - (members - 1) / 2) for middle, members in groups for i in range(members)]
