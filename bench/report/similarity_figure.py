"""The gap against measured similarity, a point a pair."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bench.errors import DataError, unknown
from bench.report.drawing import apart, footnote, gap_axis, majority_text, settle
from bench.report.fitting import short_names
from bench.report.style import COLUMN, PAGE, QUIET, colours, counted, counted_range, figure_style, measure_name
from bench.schema import ENDS, near_is_low, similarity_columns
from bench.scores import scale_of
from bench.stats.nearness import has_intervals, ranks, surely_nearer
from bench.stats.pairs import pair_gaps, rank_correlation

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NAMES = 14
NAME_WIDTH = 90  # typographic points, at most, of a pair's name
MARKERS = ("o", "s", "^", "D", "v")


def gap_against_similarity(rows: pd.DataFrame, *, measure: str | None = None) -> Figure:
    """Draw the gap of every pair against how similar source and target were measured to be.

    One panel a measure, near to the left whichever way the measure runs; a point is a pair at a target
    size, its gap averaged over the strategies and depths that all pairs have, the bars its 95 % intervals:
    of the gap over seeds, of the similarity over examples and source models. Below each panel stands
    Spearman's rank correlation with its 95 % interval (bootstrap over pairs; above 0 the farther source harms
    more); pairs whose intervals of similarity overlap share their ranks.

    Parameters
    ----------
    rows : DataFrame
        One row a trial, columns as in :data:`bench.schema.TRIAL`.
    measure : str, optional
        One measure alone; all that were taken by default.

    Raises
    ------
    UnknownName
        For a measure that the rows do not have.
    DataError
        When it was measured for no pair.
    """
    from matplotlib.figure import Figure

    names = similarity_columns(rows)
    if measure is not None and measure not in names:
        raise unknown("measure", measure, names)
    scale = scale_of(rows)
    pairs = pair_gaps(rows)
    pairs = pairs[pairs["ntg"].notna()]
    wanted = [name for name in names if len(pairs) and pairs[name].notna().any()] if measure is None else [measure]
    if not wanted or pairs.empty or pairs[wanted[0]].isna().all():
        raise DataError(f"no pair has both a gap and a {measure_name(measure) if measure else 'measured similarity'}")
    sizes = sorted(pairs["target_size"].unique())
    labels = _labels(pairs)
    width = COLUMN if len(wanted) == 1 else PAGE
    down = -(-len(wanted) // 3)
    with figure_style():
        figure = Figure(figsize=(width, 2.6 * down + 0.2), layout="constrained")
        axes = figure.subplots(down, min(3, len(wanted)), squeeze=False, sharey=True)
        for axis, name in zip(axes.flat, wanted, strict=False):
            _draw(axis, pairs[pairs[name].notna()], name, sizes)
        low, high = (pairs[end].fillna(pairs["ntg"]) for end in ("ntg_low", "ntg_high"))
        for axis in list(axes.flat)[len(wanted) :]:
            axis.set_visible(False)
        gap_axis(axes[0, 0], "y", min(low.min(), 0.0), max(high.max(), 0.0), scale)
        for axis, name in zip(axes.flat, wanted, strict=False):
            _dress(axis, pairs[pairs[name].notna()], name, sizes, labels)
        for axis in axes[:, 0]:
            axis.set_ylabel(scale.gap_axis)
        footnote(figure, _key(pairs))
        settle(figure)
    return figure


def _labels(pairs: pd.DataFrame) -> dict[tuple, str]:
    """Name pairs by what tells them apart."""
    found = {}
    for target, backbone, source in pairs[["target", "backbone", "source"]].drop_duplicates().itertuples(index=False):
        label = source if pairs["target"].nunique() == 1 else f"{source} \N{RIGHTWARDS ARROW} {target}"
        found[target, backbone, source] = label if pairs["backbone"].nunique() == 1 else f"{label}, {backbone}"
    short = short_names(found.values(), NAME_WIDTH, 5.6)
    return {pair: short[label] for pair, label in found.items()}


def _draw(axis: Axes, pairs: pd.DataFrame, measure: str, sizes: list[int]) -> None:
    from matplotlib.transforms import ScaledTranslation

    axis.axhline(0, color="black", linewidth=0.6)
    for i, size in enumerate(sizes):
        part = pairs[pairs["target_size"] == size]
        colour, marker = colours(len(sizes), black=False)[i], MARKERS[i % len(MARKERS)]
        # Sizes stand beside each other, so that no interval covers another's.
        shift = ScaledTranslation((i - (len(sizes) - 1) / 2) * 2.6 / 72, 0, axis.figure.dpi_scale_trans)
        place = {"color": colour, "transform": axis.transData + shift}
        axis.vlines(part[measure], part["ntg_low"], part["ntg_high"], linewidth=0.7, **place)
        if has_intervals(part, measure):
            axis.hlines(part["ntg"], *(part[measure + end] for end in ENDS), linewidth=0.4, alpha=0.6, **place)
        axis.plot(part[measure], part["ntg"], marker, markersize=3.4, markeredgewidth=0, **place)
    for end in ("", *ENDS):
        if measure + end in pairs:
            known = pairs[[measure + end, "ntg"]].dropna()
            axis.update_datalim(known.to_numpy(dtype=float))
    axis.autoscale_view()


def _dress(axis: Axes, pairs: pd.DataFrame, measure: str, sizes: list[int], labels: dict[tuple, str]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    distances = pairs[measure]
    axis.grid(axis="y", color="#E6E6E6", linewidth=0.5)
    if distances.min() > 0 and distances.max() / distances.min() > 10:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        wide = distances.max() / distances.min() > 300
        axis.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
        axis.xaxis.set_minor_locator(NullLocator())
    axis.margins(x=0.07)
    if not near_is_low(measure):
        axis.invert_xaxis()
    name = measure_name(measure)
    axis.set_xlabel(f"{name[0].upper()}{name[1:]} (near to far \N{RIGHTWARDS ARROW})")
    lines = []
    for size in sizes:
        part = pairs[pairs["target_size"] == size]
        rho, low, high, _ = rank_correlation(ranks(surely_nearer(part, measure)), part["ntg"].to_numpy())
        said = _rho(rho, low, high, len(part)) if has_intervals(part, measure) else "no intervals, no order"
        lines.append((counted(size, "label"), said))
    _say(axis, lines)
    if len(labels) <= MOST_NAMES:
        _name_pairs(axis, pairs, measure, labels)


def _rho(rho: float, low: float, high: float, n: int) -> str:
    if math.isnan(rho):
        return f"{counted(n, 'pair')}: too few" if n < 4 else "not told apart"
    ends = f"({n} pairs in order)" if math.isnan(low) else f"[{low:+.2f}, {high:+.2f}]"
    text = f"$\\rho$ = {rho:+.2f} {ends}"
    return text.replace("-", "\N{MINUS SIGN}")


def _say(axis: Axes, lines: list[tuple[str, str]]) -> None:
    """Name each size in its colour with its rank correlation, below the axis."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="none", marker=MARKERS[i % 5], color=colour, markersize=3.6, label=f"{a}: {b}")
        for i, (colour, (a, b)) in enumerate(zip(colours(len(lines), black=False), lines, strict=True))
    ]
    key = axis.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), handletextpad=0.1, borderpad=0,
        fontsize=5.8, labelspacing=0.25, borderaxespad=3.9,
    )  # fmt: skip
    for text in key.get_texts():
        text.set_parse_math(True)


def _name_pairs(axis: Axes, pairs: pd.DataFrame, measure: str, labels: dict[tuple, str]) -> None:
    """Write each pair above its distance, aslant; names that would meet are moved apart."""
    axis.figure.draw_without_rendering()
    distance = pairs.groupby(["target", "backbone", "source"])[measure].mean()
    to_share = axis.transData + axis.transAxes.inverted()
    share = {key: float(to_share.transform((value, 0))[0]) for key, value in distance.items()}
    ordered = sorted(share, key=lambda key: (share[key], labels[key]))
    width = axis.get_window_extent().width / axis.figure.dpi
    gap = 0.125 / width  # inches between slanted names
    places = apart([share[key] for key in ordered], gap)
    for key, place in zip(ordered, places - max(0.0, places[-1] - 1.0), strict=True):
        axis.annotate(
            labels[key], (share[key], 1.0), xytext=(place, 1.07), xycoords="axes fraction", textcoords="axes fraction",
            rotation=48, rotation_mode="anchor", ha="left", va="center", fontsize=5.6, color=QUIET,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "#B0B0B0", "linewidth": 0.4, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
        axis.axvline(distance[key], color="#EDEDED", linewidth=0.5, zorder=0)


def _key(pairs: pd.DataFrame) -> str:
    shared = counted(int(pairs["n_points"].max()), "strategy or depth", "strategies and depths")
    count = counted(pairs.groupby(["target", "backbone", "source"]).ngroups, "pair")
    return (
        f"{count}; mean over {shared}; bars: 95 % intervals, of gaps over {counted_range(pairs['n_seeds'], 'seed')}. "
        "\N{GREEK SMALL LETTER RHO}: Spearman, overlapping similarities tied, with its 95 % interval over pairs; "
        f"above 0, farther sources harm more.{majority_text(pairs)}"
    )
