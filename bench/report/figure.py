"""The map of all comparisons: sources down, strategies and depths across."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.errors import DataError
from bench.report.cells import cell_text, margin_text
from bench.report.drawing import MAJORITY, NOTHING, dark, footnote, gap_norm, gap_scale_ticks, settle
from bench.report.fitting import short_names, text_width, wrapped
from bench.report.grid import NEAR, Cell, Grid, failed_alone, grids
from bench.report.style import DIVERGING, MARKS, PAGE, QUIET, SHORT_NAMES, counted, figure_style, in_words
from bench.schema import VERDICTS
from bench.scores import Scale, scale_of
from bench.stats.gap import options_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

CELL = (0.375, 0.2)  # inches, at most and at least

NAME_WIDTH = 150  # typographic points, at most, of a source's name
USUAL_NAME = 0.9  # inches of one that the usual width has room for
NARROW, LOW = 4.5, 2.4  # inches, below which a title takes two lines, and a scale's name is short


def gap_map(comparisons: pd.DataFrame, *, near: str = NEAR) -> Figure:
    """Draw every comparison as a coloured cell: sources down from near to far, strategies and depths across.

    One panel for each target, backbone and size, under each other. Colour is the gap (red for harm, blue
    for help, on a scale that is linear around 0 and logarithmic beyond), the number its size
    and the mark its verdict; a cell without a comparison is hatched, one whose trials failed says so.

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
    scale = scale_of(comparisons)
    norm = gap_norm(comparisons["ntg"], scale)
    rows = [len(panel.sources) for panel in panels]
    columns = max(len(panel.heads) for panel in panels)
    names = short_names((source.name for panel in panels for source in panel.sources), NAME_WIDTH, 6)
    longer = max(0.0, max(text_width(name, 6) for name in names.values()) / 72 - USUAL_NAME)
    # As wide as the paper; a map of many columns or long names is wider, and is then printed smaller.
    width = max(PAGE, 1.3 + longer + CELL[0] * columns) if columns > 6 else 1.9 + longer + 0.42 * columns
    height = CELL[1] * sum(rows) + (0.24 if width >= NARROW else 0.36) * len(panels) + 0.95
    with figure_style():
        figure = Figure(figsize=(max(width, 3.3), height), layout="constrained")
        axes = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": rows})[:, 0]
        for i, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
            _draw_panel(axis, panel, norm, names, heads=i == 0 or panel.heads != panels[i - 1].heads)
        _colour_bar(figure, list(axes), norm, scale)
        footnote(figure, _key(comparisons))
        settle(figure)
    return figure


def _draw_panel(axis: Axes, grid: Grid, norm: Normalize, names: dict[str, str], *, heads: bool) -> None:
    from matplotlib.patches import Rectangle

    values = np.full((len(grid.sources), len(grid.heads)), np.nan)
    for i, source in enumerate(grid.sources):
        for j, head in enumerate(grid.heads):
            cell = grid.cells.get((source.name, head))
            if cell is not None and cell.measured:
                values[i, j] = cell.ntg
                _write(axis, j, i, cell, norm)
            elif cell is not None:
                axis.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=NOTHING, linewidth=0))
                axis.text(j, i, cell_text(cell), ha="center", va="center", fontsize=5, color=QUIET)
    axis.patch.set(facecolor="white", edgecolor="#d9d9d9", hatch="//////", linewidth=0)
    axis.imshow(np.ma.masked_invalid(values), cmap=DIVERGING, norm=norm, aspect="auto")
    above = _name_groups(axis, grid) if heads else 0
    axis.set_title(_heading(grid, narrow=axis.figure.get_figwidth() < NARROW), pad=3 + above)
    axis.set_yticks(range(len(grid.sources)), [names[source.name] for source in grid.sources])
    axis.set_xticks(range(len(grid.heads)), [head.depth for head in grid.heads])
    axis.tick_params(length=0, labeltop=heads, labelbottom=False, labelsize=6)
    axis.spines[:].set_visible(False)
    axis.set_xticks(np.arange(-0.5, len(grid.heads)), minor=True)
    axis.set_yticks(np.arange(-0.5, len(grid.sources)), minor=True)
    axis.grid(which="major", visible=False)
    axis.grid(which="minor", color="white", linewidth=0.6)
    axis.tick_params(which="minor", length=0)
    for start in np.cumsum([len(heads) for _, heads in grid.groups])[:-1]:
        axis.axvline(start - 0.5, color="white", linewidth=3)


def _heading(grid: Grid, *, narrow: bool) -> str:
    """Return the title of a panel: what it is about, what scratch reaches over how many seeds, the majority class."""
    _, seeds = grid.scratch
    scratch = f"scratch {grid.reached}, {counted(seeds, 'seed')}" if seeds else ""
    trivial = "" if grid.majority is None else f"{MAJORITY} {100 * grid.majority:.1f} %"
    said = "; ".join(filter(None, (scratch, trivial)))
    said = f" ({said})" if said else ""
    setting, _, size = grid.title.rpartition(", ")
    return f"{setting},\n{size}{said}" if narrow else f"{grid.title}{said}"


def _name_groups(axis: Axes, grid: Grid) -> float:
    """Name the strategies above a panel and return the height that this takes, in typographic points."""
    start, above = 0, 0.0
    for name, heads in grid.groups:
        # "layer tr." would save room where there is enough of it.
        words = in_words(name if len(heads) > 1 else SHORT_NAMES.get(name, name))
        shown = words if len(words) <= 8 * len(heads) else words.replace(" ", "\n")
        room = CELL[0] * 72 * len(heads) + 4
        size = 6 if text_width(shown, 6) <= room else 5.2
        shown = wrapped(shown, room, size)
        lift = 10 if any(head.depth for head in heads) else 3
        axis.annotate(
            shown, (start + (len(heads) - 1) / 2, 1), xycoords=("data", "axes fraction"), xytext=(0, lift),
            textcoords="offset points", ha="center", va="bottom", fontsize=size, linespacing=1.0,
        )  # fmt: skip
        start += len(heads)
        above = max(above, lift + 7.6 * (shown.count("\n") + 1))
    return above


def _write(axis: Axes, x: int, y: int, cell: Cell, norm: Normalize) -> None:
    """Write gap and mark into a cell, white where its colour is dark; bold where it is certain."""
    from matplotlib import colormaps

    decided = cell.verdict in ("negative", "positive")
    white = dark(colormaps[DIVERGING](norm(cell.ntg)))
    axis.text(
        x, y, cell.scale.short(cell.ntg) + MARKS[cell.verdict], ha="center", va="center",
        fontsize=5.6, color="white" if white else "black" if decided else "#404040",
        fontweight="bold" if decided else "normal",
    )  # fmt: skip


def _colour_bar(figure: Figure, axes: list[Axes], norm: Normalize, scale: Scale) -> None:
    from matplotlib.cm import ScalarMappable

    bar = figure.colorbar(ScalarMappable(norm, DIVERGING), ax=axes, fraction=0.04, aspect=40, pad=0.01)
    gap_scale_ticks(bar.ax.yaxis, norm.vmax, scale, size=5.5)
    bar.ax.tick_params(length=0, labelsize=5.5)
    bar.set_label(f"gap, {scale.units}" if figure.get_figheight() < LOW else scale.gap_axis, fontsize=6)
    bar.outline.set_visible(False)


def _key(comparisons: pd.DataFrame) -> str:
    options = options_of(comparisons)
    meanings = dict(zip(VERDICTS, VERDICTS, strict=True))
    meanings["equivalent"] = f"equivalent (within {margin_text(options['margin'], comparisons)})"
    marks = ", ".join(f"{MARKS[verdict]} {meaning}" for verdict, meaning in meanings.items())
    lost = "; failed: run, and no pair of trials completed" if failed_alone(comparisons).any() else ""
    return f"{marks}.  n: blocks transferred, f: blocks frozen.  Hatched: not run{lost}."
