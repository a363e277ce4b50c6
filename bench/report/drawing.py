"""What several figures draw alike: axes of gaps and scores, names at the ends of lines, verdicts, intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.report.fitting import fit_titles, short_names, text_width, wrapped
from bench.report.grid import majority_of
from bench.report.style import GRID, QUIET, VERDICT_COLOURS, VERDICT_MARKERS
from bench.schema import ACCURACY
from bench.scores import Scale

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

PLAIN = Scale()
NOTHING = "#F2F2F2"  # behind what was run and has no result
# Of a scale's step: gaps below two points share the pale middle of a colour scale, and the straight part of an axis.
SMALL = 0.02
NAMES_SHARE = 0.3  # of a figure's width, at most, for the names at the ends of its lines
TICK_GAP = 4  # typographic points between labels side by side
MAJORITY = "majority class"
RAISED = str.maketrans("-0123456789", "\N{SUPERSCRIPT MINUS}\N{SUPERSCRIPT ZERO}\N{SUPERSCRIPT ONE}\N{SUPERSCRIPT TWO}"
                       "\N{SUPERSCRIPT THREE}\N{SUPERSCRIPT FOUR}\N{SUPERSCRIPT FIVE}\N{SUPERSCRIPT SIX}"
                       "\N{SUPERSCRIPT SEVEN}\N{SUPERSCRIPT EIGHT}\N{SUPERSCRIPT NINE}")  # fmt: skip
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def gap_norm(gaps: Iterable[float], scale: Scale = PLAIN) -> Normalize:
    """Scale of colours centred on 0 whose ends are the largest gap, at least ten points."""
    from matplotlib.colors import AsinhNorm

    largest = np.nanmax([0.1 * scale.step, *np.abs(np.asarray(list(gaps), dtype=float))])
    return AsinhNorm(linear_width=SMALL * scale.step, vmin=-largest, vmax=largest)


def gap_ticks(largest: float, scale: Scale = PLAIN) -> tuple[list[float], list[str]]:
    """Return ticks of a scale of gaps from -`largest` to `largest`, and their labels."""
    up = [t * scale.step for t in TICKS if t * scale.step <= largest]
    ticks = [*(-t for t in reversed(up)), 0.0, *up]
    return ticks, [scale.signed(t, 0) for t in ticks]


def spaced_ticks(axis: Axis, places: Sequence[float], labels: Sequence[str], *, size: float | None = None) -> None:
    """Put ticks on an axis; of those whose labels would meet at the size that is drawn, the later ones are left out.

    Parameters
    ----------
    axis : Axis
        Of panels, whose limits may still change.
    places, labels : sequence
        The most important first.
    size : float, optional
        Of the labels, in typographic points; that of the axis by default.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    class Spaced(FixedLocator):
        def __call__(self) -> np.ndarray:
            return np.array(_apart_on(axis, places, labels, size or 6.0))

    said = dict(zip(places, labels, strict=True))
    axis.set_major_locator(Spaced(list(places)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: said[min(said, key=lambda place: abs(place - value))]))
    axis.set_minor_locator(NullLocator())


def _apart_on(axis: Axis, places: Sequence[float], labels: Sequence[str], size: float) -> list[float]:
    """Return the places in view whose labels meet none of those before them."""
    panel, across = axis.axes, axis.axis_name == "x"
    low, high = sorted(panel.get_xlim() if across else panel.get_ylim())
    kept: list[tuple[float, float, float]] = []
    for place, label in zip(places, labels, strict=True):
        if not low <= place <= high:
            continue
        at = panel.transData.transform((place, low) if across else (panel.get_xlim()[0], place))[0 if across else 1]
        at *= 72 / panel.figure.dpi
        half = 0.5 * (text_width(label, size) + TICK_GAP if across else size)
        if all(abs(at - other) >= half + own for _, other, own in kept):
            kept.append((place, at, half))
    return sorted(place for place, *_ in kept)


def ends_first(values: Sequence[float]) -> list[float]:
    """Order ascending values so that what comes first covers the range: both ends, then halves of what lies between."""
    if len(values) <= 2:
        return list(values)
    order, gaps = [0, len(values) - 1], [(0, len(values) - 1)]
    while gaps:
        left, right = gaps.pop(0)
        if right - left > 1:
            order.append(middle := (left + right) // 2)
            gaps += [(left, middle), (middle, right)]
    return [values[i] for i in order]


def gap_scale_ticks(axis: Axis, largest: float, scale: Scale = PLAIN, *, size: float | None = None) -> None:
    """Put ticks of gaps on an axis; where there is no room, those around 0 are left out before the ends."""
    ticks, labels = gap_ticks(largest, scale)
    order = sorted(range(len(ticks)), key=lambda i: (ticks[i] != 0, -abs(ticks[i])))
    spaced_ticks(axis, [ticks[i] for i in order], [labels[i] for i in order], size=size)


def gap_axis(axis: Axes, which: str, low: float, high: float, scale: Scale = PLAIN) -> None:
    """Give an axis of gaps from `low` to `high` a scale that is linear around 0."""
    small = SMALL * scale.step
    # Gaps that are all alike still need an axis around them.
    room = 0.06 * max(np.arcsinh(high / small) - np.arcsinh(low / small), 1.0)
    ends = small * np.sinh([np.arcsinh(low / small) - room, np.arcsinh(high / small) + room])
    getattr(axis, f"set_{which}scale")("asinh", linear_width=small)
    getattr(axis, f"set_{which}lim")(*ends)
    gap_scale_ticks(getattr(axis, f"{which}axis"), max(abs(low), abs(high), 0.01 * scale.step), scale)
    axis.grid(axis=which, color=GRID, linewidth=0.5)


def plain_gap_axis(axis: Axes, which: str, scale: Scale = PLAIN) -> None:
    """Write a linear axis of gaps with signs."""
    getattr(axis, f"{which}axis").set_major_formatter(lambda value, _: scale.signed(value, 0))
    axis.grid(axis=which, color=GRID, linewidth=0.5)


def log_sizes(axis: Axes, sizes: Sequence[int]) -> None:
    """Put target sizes on a logarithmic axis with their own numbers as ticks, as many as have room."""
    axis.set_xscale("log")
    order = [int(size) for size in ends_first(sorted(sizes))]
    spaced_ticks(axis.xaxis, order, [f"{size:,}" for size in order])


def score_axis(axis: Axes, scale: Scale = PLAIN) -> None:
    """End an axis of bounded scores in percent where they end: no interval makes an accuracy of 110 %.

    Call it when all points are drawn.
    """
    low, high = axis.get_ylim()
    if scale.bounded:
        axis.set_ylim(max(low, 0.0) if scale.metric == ACCURACY else low, min(high, 100.0))
    for line in axis.lines:
        if line.get_marker() not in ("None", "", None):  # a point at the end is whole
            line.set_clip_on(False)


def majority_line(axis: Axes, accuracy: float | None) -> None:
    """Draw what always predicting the most frequent class reaches (a fraction), on an axis in percent."""
    if accuracy is not None:
        axis.axhline(100 * accuracy, color=QUIET, linewidth=0.8, linestyle="--", label=MAJORITY, zorder=1)


def majority_text(table: pd.DataFrame) -> str:
    """Say in a sentence, after a space, what the majority class reaches; nothing where that is not known."""
    accuracy = majority_of(table)
    return "" if accuracy is None else f" {MAJORITY.capitalize()}: {100 * accuracy:.1f} %."


def log_costs(axis: Axes) -> None:
    """Put costs on a logarithmic axis: powers of ten are labelled, and 2 and 5 where there is hardly one of them."""
    axis.set_xscale("log")

    def label(value: float, _: object) -> str:
        return f"{value:g}" if 1e-3 <= value < 1e5 else "10" + f"{math.log10(value):.0f}".translate(RAISED)

    def between(value: float, position: object) -> str:
        low, high = axis.get_xlim()
        first = round(value / 10 ** math.floor(math.log10(value) + 1e-9))
        return label(value, position) if high < 20 * low and first in (2, 5) else ""

    axis.xaxis.set_major_formatter(label)
    axis.xaxis.set_minor_formatter(between)
    axis.tick_params(axis="x", which="minor", length=0)


def dark(colour: tuple[float, float, float, float]) -> bool:
    """Whether white letters read better on a colour than black ones."""
    red, green, blue, _ = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue < 0.5


def apart(wanted: Sequence[float], gap: float, low: float = -np.inf, high: float = np.inf) -> np.ndarray:
    """Move places apart until they are at least `gap` from each other, as little as may be, in their order.

    Parameters
    ----------
    wanted : sequence of float
        Ascending.
    low, high : float
        What they stay within, where there is room for all of them.
    """
    places = np.array(wanted, dtype=float)
    if len(places) < 2:
        return np.clip(places, low, high)
    # The least squares under an ordering is isotonic regression, of the places less their steps.
    from scipy.optimize import isotonic_regression

    steps = gap * np.arange(len(places))
    found = isotonic_regression(places - steps).x + steps
    return np.maximum(np.minimum(found, high - steps[::-1]), low + steps)


def name_ends(
    axis: Axes, ends: Sequence[tuple[float, float, str, str]], *, gap: float = 7.2, size: float = 6
) -> list[Annotation]:
    """Write names beside the right ends of lines, moved apart so that none covers another.

    Call it when the limits of the axis are final.

    Parameters
    ----------
    ends : sequence of (x, y, name, colour)
        In data coordinates.
    gap : float
        Least distance of two names, in typographic points.
    """
    ends = sorted((end for end in ends if np.isfinite(end[1])), key=lambda end: axis.transData.transform(end[:2])[1])
    if not ends:
        return []
    # The panels keep most of the page.
    short = short_names([name for _, _, name, _ in ends], NAMES_SHARE * 72 * axis.figure.get_figwidth(), size)
    written = []
    scale = axis.figure.dpi / 72
    at = [axis.transData.transform((x, y))[1] / scale for x, y, _, _ in ends]
    bottom, top = (edge / scale for edge in axis.get_window_extent().intervaly)
    placed = apart(at, gap, bottom + size / 2, top - size / 2)  # whole names, so that none stands beside a title
    # Names start at one distance, far enough for leaders where some had to move.
    start = 9 if (np.abs(placed - at) > 1.5).any() else 6
    right = max(x for x, *_ in ends)
    for (x, y, name, colour), own, place in zip(ends, at, placed, strict=True):
        aside = (axis.transData.transform((right, y)) - axis.transData.transform((x, y)))[0] / scale
        # From the middle of the name's left edge: else a leader runs through the names between.
        leader = {"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 2, "relpos": (0, 0.5)}
        mark = axis.annotate(
            short[name], (x, y), xytext=(start + aside, place - own), textcoords="offset points", color=colour,
            fontsize=size, va="center", ha="left", annotation_clip=False, arrowprops=leader if start > 6 else None,
        )  # fmt: skip
        written.append(mark)
    return written


def settle(figure: Figure, name: Callable[[], list[Annotation]] = list) -> None:
    """Give a figure's titles their room, and write names beside its lines where the panels then stand.

    Parameters
    ----------
    figure : Figure
        With everything else in it.
    name : callable
        Writes the names, for which it finds the layout as it is, and returns them.
    """
    fit_titles(figure)
    written = name()
    if written:
        fit_titles(figure)  # names make panels narrower
        for mark in written:
            mark.remove()
        name()


def verdict_points(axis: Axes, x: Sequence[float], y: Sequence[float], verdicts: Sequence[str], size: float) -> None:
    """Draw points whose shape and colour is their verdict; hollow where it is inconclusive."""
    x, y, verdicts = np.asarray(x, dtype=float), np.asarray(y, dtype=float), np.asarray(verdicts)
    for verdict, colour in VERDICT_COLOURS.items():
        mine = verdicts == verdict
        if mine.any():
            hollow = verdict == "inconclusive"
            axis.plot(
                x[mine], y[mine], VERDICT_MARKERS[verdict], markersize=size, color=colour, zorder=3,
                markerfacecolor="white" if hollow else colour, markeredgewidth=0.7 if hollow else 0.3,
                markeredgecolor=colour if hollow else "white",
            )  # fmt: skip


def verdict_key(axis: Axes, **place: object) -> None:
    """Explain the marks of verdicts in one line."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], linestyle="none", marker=VERDICT_MARKERS[verdict], color=colour, markersize=4, label=verdict,
            markerfacecolor="white" if verdict == "inconclusive" else colour,
        )
        for verdict, colour in VERDICT_COLOURS.items()
    ]  # fmt: skip
    axis.figure.legend(handles=handles, ncols=4, handletextpad=0.2, columnspacing=1.2, borderpad=0, fontsize=6, **place)


def footnote(figure: Figure, text: str) -> None:
    """Write a sentence or two below everything else, in as many lines as the figure's width asks for."""
    figure.supxlabel(wrapped(text, 72 * figure.get_figwidth() - 16, 5.5), fontsize=5.5, color=QUIET)
