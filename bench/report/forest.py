"""A forest plot: every comparison with its interval and verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.errors import DataError
from bench.report.cells import margin_text
from bench.report.drawing import MAJORITY, footnote, gap_axis, settle, verdict_key, verdict_points
from bench.report.fitting import short_names, text_width
from bench.report.grid import NEAR, Grid, Head, depth_labels, failed_alone, grids, point_of
from bench.report.style import COLUMN, PAGE, TALLEST, VERDICT_COLOURS, counted, figure_style
from bench.scores import scale_of
from bench.stats.gap import options_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW, TIGHT = 0.115, 0.052  # inches a comparison where each is named, and where they are not
NAMED = 70
NAMES, NAME_SIZE = 0.4, 5.8  # share of the width, at most, and typographic points
MOST = 5  # panels side by side
BREAK = 1.15  # between blocks, in rows


def forest(comparisons: pd.DataFrame, *, near: str = NEAR) -> Figure:
    """Draw every comparison as a point with its interval, sizes side by side.

    Comparisons stand in blocks, one a strategy and depth, sources from near to far within; where there are
    more than seventy, blocks are named and sources are not. The thick line is the interval over seeds
    (paired t), the thin one, where there is one, the bootstrap's. Shape and colour are the verdict, which
    is corrected, as intervals are not.

    Parameters
    ----------
    comparisons : DataFrame
        As :func:`bench.stats.gap.negative_transfer` returns it, of one target, backbone and weighting.
    near : str
        Measure of similarity that sorts sources.

    Raises
    ------
    DataError
        When no comparison has a gap.
    """
    from matplotlib.figure import Figure

    panels = [grid for grid in grids(comparisons[comparisons["ntg"].notna()], near=near) if grid.cells]
    if not panels:
        raise DataError("no comparison has a gap to draw")
    places, blocks = _places(panels)
    ends = [end for panel in panels for c in panel.cells.values() if c.measured for end in (c.ntg, c.low, c.high)]
    scale = scale_of(comparisons)
    limits = min(np.nanmin(ends), -0.01 * scale.step), max(np.nanmax(ends), 0.01 * scale.step)
    count = len(places)
    named = count <= NAMED
    pitch = ROW if named else min(TIGHT * 1.6, max(0.03, (TALLEST - 1.1) / (count + len(blocks))))
    height = min(pitch * (count + BREAK * len(blocks)) + 0.95, TALLEST)
    # Names have at most two fifths of the page; long ones take the width of a page for one panel too.
    said = {*(str(head) for head in blocks), *(source.name for source in panels[0].sources if named)}
    widest = max(text_width(name, NAME_SIZE, bold=named) for name in said)
    width = COLUMN if len(panels) == 1 and widest <= NAMES * 72 * COLUMN else PAGE
    short = short_names(said, NAMES * 72 * width, NAME_SIZE)
    with figure_style():
        across = len(panels) if len(panels) <= MOST else -(-len(panels) // -(-len(panels) // MOST))
        down = -(-len(panels) // across)
        figure = Figure(figsize=(width, 0.5 + down * (height - 0.5)), layout="constrained")
        axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        boot = _boot(comparisons)
        for axis, panel in zip(axes.flat, panels, strict=False):
            _draw(axis, panel, places, boot, limits, tight=not named)
            title = counted(panel.setting["target_size"], "label") if len(panels) > 1 else panel.title
            seeds = counted(panel.scratch[1], "seed")
            trivial = "" if panel.majority is None else f"; {MAJORITY} {100 * panel.majority:.1f} %"
            axis.set_title(f"{title}: scratch {panel.reached}, {seeds}{trivial}")
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        for i, axis in enumerate(axes.flat):
            axis.tick_params(axis="y", left=False)
            axis.tick_params(axis="x", labelbottom=i + across >= len(panels))
            axis.set_xlabel(scale.gap_axis if i + across >= len(panels) else "")
        for axis in axes[:, 0]:
            _name(axis, places, blocks, short, named)
        verdict_key(axes[0, 0], loc="outside upper center")
        footnote(figure, _key(comparisons, panels, named, bool(boot)))
        settle(figure)
    return figure


def _places(panels: list[Grid]) -> tuple[dict[tuple[str, Head], float], dict[Head, float]]:
    """Return the height at which every comparison stands, and that of each block's name."""
    heads = list(dict.fromkeys(head for panel in panels for head in panel.heads))
    sources = [source.name for source in panels[0].sources]
    places: dict[tuple[str, Head], float] = {}
    blocks: dict[Head, float] = {}
    y = 0.0
    for head in heads:
        here = [source for source in sources if any((source, head) in panel.cells for panel in panels)]
        blocks[head] = y + (len(here) - 1) / 2
        for source in here:
            places[source, head] = y
            y += 1
        y += BREAK
    return places, blocks


def _boot(comparisons: pd.DataFrame) -> dict[tuple, tuple[float, float]]:
    """Return bootstrap intervals by source, point and size, where they were asked for."""
    if "ntg_boot_low" not in comparisons:
        return {}
    measured = comparisons[comparisons["ntg"].notna()]
    labels = depth_labels(measured)
    points = [labels[point_of(row)] for row in measured.itertuples()]
    known = measured.assign(head=points)[measured["ntg_boot_low"].notna()]
    return {(r.source, r.head, r.target_size): (r.ntg_boot_low, r.ntg_boot_high) for r in known.itertuples()}


def _draw(
    axis: Axes,
    grid: Grid,
    places: dict[tuple[str, Head], float],
    boot: dict[tuple, tuple[float, float]],
    limits: tuple[float, float],
    *,
    tight: bool,
) -> None:
    cells = [(places[key], key, cell) for key, cell in grid.cells.items() if cell.measured]
    for y, (source, head), cell in cells:
        colour = VERDICT_COLOURS[cell.verdict]
        axis.hlines(y, cell.low, cell.high, color=colour, linewidth=0.8 if tight else 1.2, zorder=2)
        ends = boot.get((source, head, grid.setting["target_size"]))
        if ends:
            axis.hlines(y, *ends, color=colour, linewidth=0.4, zorder=1)
    size = 2.4 if tight else 3.6
    verdict_points(axis, [c.ntg for *_, c in cells], [y for y, *_ in cells], [c.verdict for *_, c in cells], size)
    gap_axis(axis, "x", *limits, grid.scale)
    axis.axvline(0, color="black", linewidth=0.6)


def _name(
    axis: Axes, places: dict[tuple[str, Head], float], blocks: dict[Head, float], short: dict[str, str], named: bool
) -> None:
    bottom = max(places.values())
    axis.set_ylim(bottom + 1, -1.4 if named else -1)
    if named:
        axis.set_yticks(list(places.values()), [short[source] for source, _ in places], fontsize=5.6)
        for head in blocks:
            top = min(y for (_, other), y in places.items() if other == head)
            axis.annotate(
                short[str(head)], (0, top), xycoords=("axes fraction", "data"), xytext=(-3, 6.6),
                textcoords="offset points", ha="right", va="center", fontsize=NAME_SIZE, fontweight="bold",
                annotation_clip=False,
            )  # fmt: skip
    else:
        axis.set_yticks(list(blocks.values()), [short[str(head)] for head in blocks], fontsize=NAME_SIZE)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    for other in axis.get_shared_y_axes().get_siblings(axis) if axis.get_subplotspec().is_first_row() else ():
        for head in list(blocks)[1:]:
            top = min(y for (_, mine), y in places.items() if mine == head)
            other.axhline(top - BREAK, color="#E0E0E0", linewidth=0.5, zorder=0)


def _key(comparisons: pd.DataFrame, panels: list[Grid], named: bool, boot: bool) -> str:
    options = options_of(comparisons)
    method = {"holm": "Holm", "fdr_bh": "Benjamini-Hochberg"}[options["correction"]]
    text = f"{100 * (1 - options['alpha']):g} % intervals over seeds, not corrected; verdicts corrected ({method}), "
    text += f"equivalent: within {margin_text(options['margin'], comparisons)}."
    if boot:
        text += f" Thin: bootstrap over {' or '.join(sorted(comparisons['resampled'].dropna().unique())) or 'seeds'}."
    lost = int(failed_alone(comparisons).sum())
    if lost:
        text += f" {counted(lost, 'comparison')} without any completed pair of trials (failed): not drawn."
    if not named:
        text += f" Within a block, from top to bottom: {', '.join(source.name for source in panels[0].sources)}."
    return text
