"""The gap at every transfer depth, frozen and tuned, and what it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.errors import DataError
from bench.report.drawing import footnote, majority_text, name_ends, plain_gap_axis, settle
from bench.report.grid import NEAR, near_to_far
from bench.report.style import COLUMN, PAGE, PALETTE, counted, counted_range, figure_style
from bench.scores import Scale, scale_of
from bench.stats.decompose import FROZEN, TUNED, decomposition
from bench.stats.gap import negative_transfer

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

CONTROL = "-other"
MOST = 6  # panels side by side
# Arm -> (colour, dashes, shift to the side so that intervals do not cover each other).
ARMS = {
    "AnB": (PALETTE[1], "-", -0.09),
    "AnB+": (PALETTE[0], "-", 0.09),
    "BnB": (PALETTE[4], (0, (3, 1.5)), -0.03),
    "BnB+": (PALETTE[5], (0, (3, 1.5)), 0.03),
}
PARTS = {
    "co-adaptation": (PALETTE[4], -0.16),
    "specificity": (PALETTE[1], 0.0),
    "lingering benefit": (PALETTE[2], 0.16),
}
LONG = {"AnB": "AnB, frozen", "AnB+": "AnB+, tuned", "BnB": "BnB, frozen", "BnB+": "BnB+, tuned"}


def gap_by_depth(rows: pd.DataFrame, *, control: str | None = None, near: str = NEAR) -> Figure:
    """Draw the gap against the number of copied blocks, frozen (AnB) and tuned (AnB+).

    One block of panels for each source, one panel for each size. With a control, a source that has the
    target's own classes (BnB, BnB+), its curves stand beside and a second row of panels splits the gap
    as Yosinski et al. (2014) do (:func:`bench.stats.decompose.decomposition`). Bars are 95 % intervals
    over seeds (paired t), not corrected; the shape of a point is its verdict.

    Parameters
    ----------
    rows : DataFrame
        One row a trial, columns as in :data:`bench.schema.TRIAL`, of one backbone.
    control : str, optional
        Source with the target's own classes; by default the source that is called like the target
        with "-other" behind it, where there is one.
    near : str
        Measure of similarity that sorts sources.

    Raises
    ------
    DataError
        When no source was transferred at two depths.
    """
    from matplotlib.figure import Figure

    rows = rows[rows["weighting"].isna() | (rows["weighting"] == "uniform")]
    curves = _curves(negative_transfer(rows, margin=rows.attrs.get("margin")))
    scale = scale_of(curves)
    target = curves["target"].iloc[0]
    control = f"{target}{CONTROL}" if control is None else control
    control = control if control in set(curves["source"]) else None
    sources = [s.name for s in near_to_far(curves, near)[1] if s.name != control]
    if not sources:
        raise DataError(f'every source is the control "{control}"')
    sizes = sorted(curves["target_size"].unique())
    parts = [_parts(rows, source, control) for source in sources] if control else []
    places = [(source, size) for source in sources for size in sizes]
    columns = _columns(sources, sizes, parts=bool(parts))
    lines = -(-len(sizes) // columns)  # of a source, where its sizes are too many for one
    down = 2 * len(sources) * lines if parts else -(-len(places) // columns)
    width = COLUMN if columns <= 2 else PAGE
    with figure_style():
        figure = Figure(figsize=(width, 1.35 * down + 0.45), layout="constrained")
        axes = figure.subplots(down, columns, squeeze=False, sharex=True, sharey="row" if parts else True)
        drawn = []
        for place, (source, size) in enumerate(places):
            upper = axes.flat[place]
            if parts:
                i, j = divmod(place, len(sizes))
                row, column = 2 * (i * lines + j // columns), j % columns
                upper, lower = axes[row, column], axes[row + 1, column]
                _draw_parts(lower, parts[i][parts[i]["target_size"] == size])
                drawn.append(lower)
            here = curves[(curves["target_size"] == size) & curves["source"].isin([source, control])]
            pair = f"{source} \N{RIGHTWARDS ARROW} {target}" if columns <= 2 else source
            _draw_curves(upper, here, control, title=f"{pair}, {counted(size, 'label')}")
            drawn.append(upper)
        _dress(axes, drawn, scale, rows=bool(parts))
        footnote(figure, _key(curves))
        settle(figure, lambda: _name_lines(axes, min(columns, len(sizes)), bool(parts)))
    return figure


def _columns(sources: list[str], sizes: list[int], *, parts: bool) -> int:
    """How many panels stand side by side: a source's sizes in a row, and as many sources as have room."""
    if len(sizes) > MOST:
        return MOST
    return len(sizes) if parts else min(len(sources), max(1, 4 // len(sizes))) * len(sizes)


def _curves(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Keep the points (k, k) and (k, 0), with the column `tuned`."""
    import pandas as pd

    known = comparisons[comparisons["ntg"].notna()]
    n, f = known["transfer_depth"], known["frozen_depth"]
    frozen = known[known["strategy"].isin(FROZEN) & (n == f)].assign(tuned=False)
    tuned = known[known["strategy"].isin(TUNED) & (f == 0) & (n > 0)].assign(tuned=True)
    every = pd.concat([frozen, tuned], ignore_index=True)
    every = every.drop_duplicates(["target", "backbone", "source", "target_size", "tuned", "transfer_depth"])
    if every["transfer_depth"].nunique() < 2:
        raise DataError("no source was transferred at two depths: add layer-transfer and layer-transfer-tuned")
    for name in ("target", "backbone"):
        if every[name].nunique() > 1:
            first = sorted(every[name].unique())[0]
            every = every[every[name] == first]
    return every


def _parts(rows: pd.DataFrame, source: str, control: str) -> pd.DataFrame:
    return decomposition(rows, source, control)


def _draw_curves(axis: Axes, curves: pd.DataFrame, control: str | None, title: str) -> None:
    axis.axhline(0, color="black", linewidth=0.6)
    for (source, tuned), part in curves.groupby(["source", "tuned"]):
        arm = ("B" if source == control else "A") + ("nB+" if tuned else "nB")
        colour, dashes, shift = ARMS[arm]
        part = part.sort_values("transfer_depth")
        x = part["transfer_depth"].to_numpy(dtype=float) + shift
        axis.plot(x, part["ntg"], color=colour, linestyle=dashes, label=arm, zorder=2)
        axis.vlines(x, part["ntg_low"], part["ntg_high"], color=colour, linewidth=0.8, zorder=2)
        _points(axis, x, part, colour)
    axis.set_title(title, fontsize=6.3)


def _points(axis: Axes, x: np.ndarray, part: pd.DataFrame, colour: str) -> None:
    """Filled where transfer surely harms or helps, hollow where it does not."""
    sure = part["verdict"].isin(["negative", "positive"]).to_numpy()
    y = part["ntg"].to_numpy(dtype=float)
    axis.plot(x[sure], y[sure], "o", color=colour, markersize=3.4, zorder=3)
    axis.plot(x[~sure], y[~sure], "o", color=colour, markersize=3.2, markerfacecolor="white", zorder=3)


def _draw_parts(axis: Axes, parts: pd.DataFrame) -> None:
    axis.axhline(0, color="black", linewidth=0.6)
    for component, (colour, shift) in PARTS.items():
        part = parts[parts["component"] == component].sort_values("depth")
        x = part["depth"].to_numpy(dtype=float) + shift
        axis.bar(x, part["value"], width=0.15, color=colour, alpha=0.55, linewidth=0, label=component)
        axis.vlines(x, part["low"], part["high"], color=colour, linewidth=0.9)


def _dress(axes: np.ndarray, drawn: list[Axes], scale: Scale, *, rows: bool) -> None:
    for axis in axes.flat:
        axis.set_visible(axis in drawn)
        plain_gap_axis(axis, "y", scale)
        axis.xaxis.get_major_locator().set_params(integer=True)
    for axis in axes[-1]:
        axis.set_xlabel("blocks copied, n")
    for i, axis in enumerate(axes[:, 0]):
        axis.set_ylabel(f"part, {scale.units}" if rows and i % 2 else f"gap, {scale.units}")


def _name_lines(axes: np.ndarray, sizes: int, parts: bool) -> list[Annotation]:
    """Name curves at the ends of the last panel of the first row."""
    axis = axes[0, sizes - 1] if parts else axes[0, -1]
    ends = []
    for line in axis.lines:
        if line.get_label() in ARMS:
            ends.append((line.get_xdata()[-1], line.get_ydata()[-1], LONG[line.get_label()], line.get_color()))
    written = name_ends(axis, ends)
    if parts:
        lower = axes[1, sizes - 1]
        bars = [(c, c.patches[-1]) for c in lower.containers if c.get_label() in PARTS and c.patches]
        ends = [
            (bar.get_x() + bar.get_width(), bar.get_height(), c.get_label().replace(" ", "\n"), bar.get_facecolor()[:3])
            for c, bar in bars
        ]
        written += name_ends(lower, ends, gap=14)
    return written


def _key(curves: pd.DataFrame) -> str:
    seeds = counted_range(curves["n_seeds"], "seed")
    said = f"Bars: 95 % intervals over {seeds}. Filled: surely not zero (Holm). Above 0, transfer harms."
    return said + majority_text(curves)
