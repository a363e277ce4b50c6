"""What several figures draw alike: axes in points, names at the ends of lines, verdicts, intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.report.style import GRID, QUIET, VERDICT_COLOURS, VERDICT_MARKERS, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

SMALL = 0.02  # gaps below two points share the pale middle of a colour scale, and the straight part of an axis
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def gap_norm(gaps: Iterable[float]) -> Normalize:
    """Scale of colours centred on 0 whose ends are the largest gap, at least ten points."""
    from matplotlib.colors import AsinhNorm

    largest = np.nanmax([0.1, *np.abs(np.asarray(list(gaps), dtype=float))])
    return AsinhNorm(linear_width=SMALL, vmin=-largest, vmax=largest)


def gap_ticks(largest: float) -> tuple[list[float], list[str]]:
    """Return ticks of a scale of gaps from -`largest` to `largest`, and their labels in points."""
    up = [t for t in TICKS if t <= largest]
    ticks = [*(-t for t in reversed(up)), 0.0, *up]
    return ticks, [signed(t, 0) for t in ticks]


def gap_axis(axis: Axes, which: str, low: float, high: float) -> None:
    """Give an axis of gaps (fractions) from `low` to `high` a scale that is linear around 0, in points."""
    from matplotlib.ticker import NullLocator

    room = 0.06 * (np.arcsinh(high / SMALL) - np.arcsinh(low / SMALL))
    ends = SMALL * np.sinh([np.arcsinh(low / SMALL) - room, np.arcsinh(high / SMALL) + room])
    getattr(axis, f"set_{which}scale")("asinh", linear_width=SMALL)
    getattr(axis, f"set_{which}lim")(*ends)
    ticks, labels = gap_ticks(max(abs(low), abs(high), 0.01))
    kept = [(t, label) for t, label in zip(ticks, labels, strict=True) if ends[0] <= t <= ends[1]]
    getattr(axis, f"set_{which}ticks")([t for t, _ in kept], [label for _, label in kept])
    getattr(axis, f"{which}axis").set_minor_locator(NullLocator())
    axis.grid(axis=which, color=GRID, linewidth=0.5)


def plain_gap_axis(axis: Axes, which: str) -> None:
    """Write a linear axis of gaps (fractions) in points with signs."""
    getattr(axis, f"{which}axis").set_major_formatter(lambda value, _: signed(value, 0))
    axis.grid(axis=which, color=GRID, linewidth=0.5)


def log_sizes(axis: Axes, sizes: Sequence[int]) -> None:
    """Put target sizes on a logarithmic axis with their own numbers as ticks."""
    from matplotlib.ticker import NullLocator

    axis.set_xscale("log")
    axis.set_xticks(list(sizes), [f"{size:,}" for size in sizes])
    axis.xaxis.set_minor_locator(NullLocator())


def log_costs(axis: Axes) -> None:
    """Put costs on a logarithmic axis: powers of ten are labelled, and 2 and 5 where there is hardly one of them."""
    axis.set_xscale("log")

    def label(value: float, _: object) -> str:
        return f"{value:g}" if 1e-3 <= value < 1e5 else f"$10^{{{math.log10(value):.0f}}}$"

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


def apart(wanted: Sequence[float], gap: float) -> np.ndarray:
    """Move places apart until they are at least `gap` from each other, as little as may be, in their order.

    Parameters
    ----------
    wanted : sequence of float
        Ascending.
    """
    places = np.array(wanted, dtype=float)
    if len(places) < 2:
        return places
    # The least squares under an ordering is isotonic regression, of the places less their steps.
    from scipy.optimize import isotonic_regression

    steps = gap * np.arange(len(places))
    return isotonic_regression(places - steps).x + steps


def name_ends(axis: Axes, ends: Sequence[tuple[float, float, str, str]], *, gap: float = 7.2, size: float = 6) -> None:
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
        return
    scale = axis.figure.dpi / 72
    at = [axis.transData.transform((x, y))[1] / scale for x, y, _, _ in ends]
    placed = apart(at, gap)
    # Names start at one distance, far enough for leaders where some had to move.
    start = 9 if (np.abs(placed - at) > 1.5).any() else 6
    right = max(x for x, *_ in ends)
    for (x, y, name, colour), own, place in zip(ends, at, placed, strict=True):
        aside = (axis.transData.transform((right, y)) - axis.transData.transform((x, y)))[0] / scale
        # From the middle of the name's left edge: else a leader runs through the names between.
        leader = {"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 2, "relpos": (0, 0.5)}
        axis.annotate(
            name, (x, y), xytext=(start + aside, place - own), textcoords="offset points", color=colour, fontsize=size,
            va="center", ha="left", annotation_clip=False, arrowprops=leader if start > 6 else None,
        )  # fmt: skip


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
    import textwrap

    figure.supxlabel("\n".join(textwrap.wrap(text, int(25 * figure.get_figwidth()))), fontsize=5.5, color=QUIET)
