"""The gap at every transfer depth, frozen and tuned, and what it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.errors import DataError
from bench.report.drawing import footnote, name_ends, plain_gap_axis
from bench.report.grid import NEAR, near_to_far
from bench.report.style import COLUMN, PAGE, PALETTE, figure_style
from bench.stats.decompose import FROZEN, TUNED, decomposition
from bench.stats.gap import negative_transfer

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CONTROL = "-other"
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
    curves = _curves(negative_transfer(rows))
    target = curves["target"].iloc[0]
    control = f"{target}{CONTROL}" if control is None else control
    control = control if control in set(curves["source"]) else None
    sources = [s.name for s in near_to_far(curves, near)[1] if s.name != control]
    if not sources:
        raise DataError(f'every source is the control "{control}"')
    sizes = sorted(curves["target_size"].unique())
    parts = [_parts(rows, source, control) for source in sources] if control else []
    shape = (2 * len(sources), len(sizes)) if parts else (-(-len(sources) // _wrap(sources, sizes)), 0)
    columns = len(sizes) if parts else _wrap(sources, sizes) * len(sizes)
    width = COLUMN if columns <= 2 else PAGE
    with figure_style():
        figure = Figure(figsize=(width, 1.35 * shape[0] + 0.45), layout="constrained")
        axes = figure.subplots(shape[0], columns, squeeze=False, sharex=True, sharey="row" if parts else True)
        for i, source in enumerate(sources):
            for j, size in enumerate(sizes):
                if parts:
                    upper, lower = axes[2 * i, j], axes[2 * i + 1, j]
                    _draw_parts(lower, parts[i][parts[i]["target_size"] == size])
                else:
                    upper = axes.flat[i * len(sizes) + j]
                here = curves[(curves["target_size"] == size) & curves["source"].isin([source, control])]
                pair = f"{source} \N{RIGHTWARDS ARROW} {target}" if columns <= 2 else source
                _draw_curves(upper, here, control, title=f"{pair}, {size:,} labels")
        _dress(axes, len(sources) * len(sizes), rows=bool(parts))
        _name_lines(figure, axes, len(sizes), bool(parts))
        footnote(figure, _key(curves))
    return figure


def _wrap(sources: list[str], sizes: list[int]) -> int:
    """How many sources stand side by side."""
    return min(len(sources), max(1, 4 // len(sizes)))


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


def _dress(axes: np.ndarray, used: int, *, rows: bool) -> None:
    for i, axis in enumerate(axes.flat):
        if not rows and i >= used:
            axis.set_visible(False)
            continue
        plain_gap_axis(axis, "y")
        axis.xaxis.get_major_locator().set_params(integer=True)
    for axis in axes[-1]:
        axis.set_xlabel("blocks copied, n")
    for i, axis in enumerate(axes[:, 0]):
        axis.set_ylabel("part, points" if rows and i % 2 else "gap, points")


def _name_lines(figure: Figure, axes: np.ndarray, sizes: int, parts: bool) -> None:
    """Name curves at the ends of the last panel of the first row."""
    figure.draw_without_rendering()
    axis = axes[0, sizes - 1] if parts else axes[0, -1]
    ends = []
    for line in axis.lines:
        if line.get_label() in ARMS:
            ends.append((line.get_xdata()[-1], line.get_ydata()[-1], LONG[line.get_label()], line.get_color()))
    name_ends(axis, ends)
    if parts:
        lower = axes[1, sizes - 1]
        bars = [(c, c.patches[-1]) for c in lower.containers if c.get_label() in PARTS and c.patches]
        ends = [
            (bar.get_x() + bar.get_width(), bar.get_height(), c.get_label().replace(" ", "\n"), bar.get_facecolor()[:3])
            for c, bar in bars
        ]
        name_ends(lower, ends, gap=14)


def _key(curves: pd.DataFrame) -> str:
    seeds = sorted({int(n) for n in curves["n_seeds"]})
    counted = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return f"Bars: 95 % intervals over {counted} seeds. Filled: surely not zero (Holm). Above 0, transfer harms."
