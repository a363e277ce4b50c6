"""The transfer map: the gap at every point of the triangle 0 <= f <= n <= L."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.errors import DataError
from bench.report.cells import margin_text
from bench.report.drawing import MAJORITY, NOTHING, dark, gap_norm, gap_scale_ticks, settle
from bench.report.fitting import text_width, wrapped
from bench.report.grid import NEAR, failed_alone, majority_of, near_to_far, order_of
from bench.report.style import (
    COLUMN,
    DIVERGING,
    MARKS,
    PAGE,
    QUIET,
    counted,
    counted_range,
    figure_style,
)  # fmt: skip
from bench.scores import Scale, scale_of, score_column
from bench.stats.gap import options_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

# Strategies that stay at one point; paths that end there, and other learning rates, are something else.
POINTS = ("triangle", "feature-extraction", "fine-tune", "layer-transfer", "layer-transfer-tuned")
FEWEST, MOST = 3, 6  # points of a triangle, and panels side by side
SAID = 5.8  # typographic points
LOST = "f"  # for "failed", in a cell too small for the word
WRITABLE, MARKABLE = 0.19, 0.09  # inches that a cell needs for its number, and for its mark alone


def transfer_map(comparisons: pd.DataFrame, *, near: str = NEAR) -> Figure:
    """Draw, for every pair and target size, the triangle of transfer depths coloured by the gap.

    To the right more blocks are copied (n), upwards more of them are frozen (f). Scratch stands in the
    corner (0, 0); along the bottom everything copied is tuned (AnB+, at its end full fine-tuning), along
    the slope everything copied is frozen (AnB, at its end feature extraction). A cell has its gap
    and the mark of its verdict; the best one is ringed, and that may be scratch. A point that was
    not run is hatched, one whose trials failed says so.

    Parameters
    ----------
    comparisons : DataFrame
        As :func:`bench.stats.gap.negative_transfer` returns it, of one target, backbone and weighting.
        Points come from the strategies in :data:`POINTS`.
    near : str
        Measure of similarity that sorts sources.

    Returns
    -------
    matplotlib.figure.Figure
        Bound to no window; save it with ``savefig``.

    Raises
    ------
    DataError
        When there are fewer than three points of a triangle.
    """
    from matplotlib.figure import Figure

    points = _points(comparisons)
    depth = int(points["transfer_depth"].max())
    known = points[points["ntg"].notna()]
    measure, ordered = near_to_far(points, near)
    sources, sizes = [source.name for source in ordered], sorted(int(size) for size in points["target_size"].unique())
    across = _across(len(sources), len(sizes))
    width = COLUMN if across <= 2 else PAGE
    down = -(-len(sources) * len(sizes) // across)
    cell = (width - 0.42) / across / (depth + 1.5)
    scale = scale_of(points)
    norm = gap_norm(known["ntg"], scale)
    with figure_style():
        figure = Figure(figsize=(width, down * (cell * (depth + 1) + 0.22) + 0.72), layout="constrained")
        axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        places = [(source, size) for source in sources for size in sizes]
        for i, axis in enumerate(axes.flat):
            if i >= len(places):
                axis.set_visible(False)
                continue
            source, size = places[i]
            part = points[(points["source"] == source) & (points["target_size"] == size)]
            _draw(axis, part, depth, norm, cell, scale)
            axis.set_title(f"{source} \N{RIGHTWARDS ARROW} {known['target'].iloc[0]}", pad=2, fontsize=6.5)
            said = _say(axis, part, size, depth, scale)
            if i == 0 and cell >= WRITABLE:
                _name_corners(axis, depth, cell, (depth - 0.15) * cell * 72 - text_width(said, SAID))
            axis.label_outer()
            if i + across >= len(places):  # nothing stands below, be it the last row or not
                axis.tick_params(axis="x", labelbottom=True)
                axis.set_xlabel("blocks copied, n")
        lost = f"; {LOST}: failed" if points["lost"].any() and MARKABLE <= cell < WRITABLE else ""
        order = order_of(known, measure) if measure and len(sources) > 1 else None
        _scale(figure, list(axes.flat), norm, _key(comparisons, order, axes.size, lost, scale), scale)
        settle(figure)
    return figure


def _points(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Keep the comparisons that are points, each once: those with a gap, and those whose trials failed."""
    known = comparisons[comparisons["strategy"].isin(POINTS)]
    known = known[known["ntg"].notna() | failed_alone(known)]
    known = known[known["transfer_depth"].notna() & known["frozen_depth"].notna()]
    for name in ("target", "backbone", "weighting"):
        if known[name].nunique(dropna=False) > 1:
            raise DataError(f"a transfer map is of one {name}, these comparisons have {known[name].nunique()}")
    place = ["source", "target_size", "transfer_depth", "frozen_depth"]
    known = known.assign(lost=known["ntg"].isna()).sort_values([*place, "lost", "strategy"], kind="stable")
    known = known.drop_duplicates(place)
    if known.loc[known["ntg"].notna(), ["transfer_depth", "frozen_depth"]].drop_duplicates().shape[0] < FEWEST:
        raise DataError(f"a transfer map needs at least {FEWEST} points (n, f): add the strategy triangle")
    return known


def _across(sources: int, sizes: int) -> int:
    """How many panels stand side by side: a source's sizes part only where they are too many for a page."""
    if sources * sizes <= 2:
        return sources * sizes
    if sizes <= 2 and sources * sizes <= 4:
        return sizes if sizes == 2 else 2
    return MOST if sizes > MOST else sizes * max(1, 4 // sizes)


def _draw(axis: Axes, part: pd.DataFrame, depth: int, norm: Normalize, cell: float, scale: Scale) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    gaps = {(int(row.transfer_depth), int(row.frozen_depth)): row for row in part.itertuples()}
    helps = {place: row.ntg for place, row in gaps.items() if row.ntg < 0}
    best = min(helps, key=helps.__getitem__, default=(0, 0))
    size = min(6.0, 5.4 * cell / 0.25)
    for n in range(depth + 1):
        for f in range(n + 1):
            row = gaps.get((n, f))
            lost = row is not None and row.lost
            colour = to_rgba(NOTHING) if lost else colormaps[DIVERGING](norm(row.ntg if row is not None else 0.0))
            blank = row is None and n > 0
            axis.add_patch(
                Rectangle(
                    (n - 0.5, f - 0.5), 1, 1, facecolor="white" if blank else colour, linewidth=0.8,
                    edgecolor="#C8C8C8" if blank else "white", hatch="//////" if blank else None,
                )
            )  # fmt: skip
            if lost and cell >= MARKABLE:
                said, fitted = ("failed", 0.72 * size) if cell >= WRITABLE else (LOST, 4.5)
                axis.text(n, f, said, ha="center", va="center", fontsize=fitted, color=QUIET)
            elif row is not None:
                fitted = size if cell >= WRITABLE else None
                _write(axis, n, f, row, scale.short(row.ntg), fitted, cell, white=dark(colour))
    if cell >= WRITABLE:
        axis.text(0, 0, "0", ha="center", va="center", fontsize=size, color=QUIET)
    _ring(axis, *best)
    axis.set(xlim=(-0.56, depth + 0.56), ylim=(-0.56, depth + 0.56), aspect="equal")
    axis.set_xticks(range(depth + 1))
    axis.set_yticks(range(depth + 1))
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0, pad=1)
    axis.set_xlabel("blocks copied, n")
    axis.set_ylabel("blocks frozen, f")


def _write(
    axis: Axes, n: int, f: int, row: object, number: str, size: float | None, cell: float, *, white: bool
) -> None:
    """Write gap and mark into a cell; the mark alone where it is small."""
    decided = row.verdict in ("negative", "positive")
    mark = MARKS[row.verdict]
    colour = "white" if white else "black" if decided else "#303030"
    weight = "bold" if decided else "normal"
    if size is not None:
        text = number if row.verdict == "inconclusive" else f"{number}\n{mark}"
        axis.text(
            n, f, text, ha="center", va="center", fontsize=size, color=colour, fontweight=weight, linespacing=0.95
        )
    elif cell >= MARKABLE:
        axis.text(n, f, mark, ha="center", va="center", fontsize=4.5, color=colour)


def _ring(axis: Axes, n: int, f: int) -> None:
    from matplotlib.patches import FancyBboxPatch

    shape = "round,pad=0,rounding_size=0.2"
    for width, colour in ((2.4, "white"), (1.3, "black")):
        box = FancyBboxPatch((n - 0.47, f - 0.47), 0.94, 0.94, boxstyle=shape, fill=False, zorder=4)
        box.set(edgecolor=colour, linewidth=width)
        axis.add_patch(box)


def _name_corners(axis: Axes, depth: int, cell: float, room: float) -> None:
    """Name two corners; that of feature extraction where the empty half has `room` typographic points for it."""
    style = {"va": "center", "fontsize": 0.78 * min(6.0, 5.4 * cell / 0.25), "color": QUIET}
    axis.text(0, -0.3, "scratch", ha="center", **style)
    if text_width("extraction", style["fontsize"]) <= room:
        axis.text(depth - 0.6, depth, "feature\nextraction", ha="right", **style)


def _say(axis: Axes, part: pd.DataFrame, size: int, depth: int, scale: Scale) -> str:
    """Say size, scratch, the majority class and seeds in the empty half of the panel; return that."""
    seeds, level = part.loc[~part["lost"], "n_seeds"], part[score_column(part, "scratch")].mean()
    scratch = "" if level != level else f"\nscratch {scale.named(level)}"
    majority = majority_of(part)
    trivial = "" if majority is None else f"\n{MAJORITY.partition(' ')[0]} {100 * majority:.1f} %"
    lines = f"{counted(size, 'label')}{scratch}{trivial}\n{counted_range(seeds, 'seed')}"
    axis.text(-0.45, depth + 0.45, lines, ha="left", va="top", fontsize=SAID, color=QUIET, linespacing=1.15)
    return lines


def _key(comparisons: pd.DataFrame, order: str | None, panels: int, lost: str, scale: Scale) -> str:
    """Explain colours, marks and blanks; `order` says how several sources are sorted."""
    margin, by = margin_text(options_of(comparisons)["margin"], comparisons), scale.gap_name
    sources = f"; sources {order}" if order and panels > 4 else ""
    how = "transfer minus scratch" if scale.error else "scratch minus transfer"
    return (
        f"{by} ({how}): above 0, transfer harms{sources}\n"
        f"{MARKS['negative']} negative, {MARKS['positive']} positive, {MARKS['equivalent']} equivalent within {margin}"
        + ("\n" if panels <= 4 else ", ")
        + f"no mark: inconclusive; ring: best; hatched: not run{lost}"
    )


def _scale(figure: Figure, axes: list[Axes], norm: Normalize, key: str, scale: Scale) -> None:
    from matplotlib.cm import ScalarMappable

    bar = figure.colorbar(
        ScalarMappable(norm, DIVERGING), ax=axes, location="bottom", fraction=0.05, aspect=45, pad=0.02, shrink=0.92
    )
    gap_scale_ticks(bar.ax.xaxis, norm.vmax, scale, size=5.5)
    bar.ax.tick_params(length=0, pad=1.5, labelsize=5.5)
    bar.outline.set_visible(False)
    bar.set_label(wrapped(key, 72 * figure.get_figwidth() - 12, 5.8), fontsize=5.8, linespacing=1.3)
