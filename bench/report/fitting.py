"""Text that stays on the page: widths measured, long names shortened or wrapped, titles given room."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
HINTING = 1.025  # a pixel grid makes letters a little wider than their outlines
LEADING = 1.2  # of a line, as a multiple of the font's size
EDGE = 3  # typographic points that a title keeps from the edge of the page and from its neighbour
MOST_LINES = 7  # of a title
# Where a line may break: never within a number, nor before its "%".
BREAKS = re.compile(r"(?<=\s)(?![%\s])|(?<=\w[-_/])(?![\s>])|(?<=[.,:])(?![\d\s])")
PASSES = 3  # a title that takes another line moves the panels a little, so that it is measured again
# Shares of a shortened name that its beginning gets; the first that keeps names apart is taken.
HEADS = (0.5, 0.7, 0.3, 0.9, 0.1)


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Return the width of the widest line of a text in the figures' font, in typographic points, hinting included."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    from bench.report.style import RC

    font = FontProperties(family=RC["font.family"], size=size, weight="bold" if bold else "normal")
    lines = (text_to_path.get_text_width_height_descent(line, font, ismath=False)[0] for line in text.split("\n"))
    return HINTING * max(lines)


def shortened(name: str, width: float, size: float, *, head: float = HEADS[0]) -> str:
    """Cut the middle out of a name that is wider than `width` typographic points."""
    if text_width(name, size) <= width:
        return name
    for kept in range(len(name) - 1, 1, -1):
        first = min(max(1, round(head * kept)), kept - 1)
        cut = name[:first] + ELLIPSIS + name[first - kept :]
        if text_width(cut, size) <= width:
            return cut
    return name[:1] + ELLIPSIS


def short_names(names: Iterable[str], width: float, size: float) -> dict[str, str]:
    """Shorten names to a width in typographic points, each to something that no other name becomes.

    Returns
    -------
    dict of name -> what a figure writes
        Numbers stand behind names that differ nowhere but in what is cut out.
    """
    names = list(dict.fromkeys(names))
    for head in HEADS:
        found = {name: shortened(name, width, size, head=head) for name in names}
        if len(set(found.values())) == len(names):
            return found
    return {name: f"{shortened(name, width - text_width(f' {i}', size), size)} {i}" for i, name in enumerate(names, 1)}


def wrapped(text: str, width: float, size: float, *, bold: bool = False, most: int = MOST_LINES) -> str:
    """Break a text into lines of at most `width` typographic points, after spaces and marks, else within a word.

    Line breaks of its own are kept; of more than `most` lines (at least two) those before the last are cut, with
    an ellipsis: a title ends in what tells panels apart.
    """
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for piece in _pieces(paragraph, width, size, bold):
            if line and text_width((line + piece).rstrip(), size, bold=bold) > width:
                lines.append(line.rstrip())
                line = ""
            line += piece.lstrip() if not line else piece
        lines.append(line.rstrip())
    if len(lines) > most:
        cut = lines[most - 2]
        while cut and text_width(cut + ELLIPSIS, size, bold=bold) > width:
            cut = cut[:-1]
        lines[most - 2 : -1] = [cut + ELLIPSIS]
    return "\n".join(lines)


def _pieces(text: str, width: float, size: float, bold: bool) -> list[str]:
    """Part a text where a line may break, so that each piece has room."""
    found = []
    for piece in filter(None, BREAKS.split(text)):
        rest = piece
        while text_width(rest.rstrip(), size, bold=bold) > width and len(rest.rstrip()) > 1:
            cut = next((n for n in range(len(rest.rstrip()) - 1, 1, -1)
                        if text_width(rest[:n], size, bold=bold) <= width), 1)  # fmt: skip
            found.append(rest[:cut])
            rest = rest[cut:]
        found.append(rest)
    return found


def fit_titles(figure: Figure) -> None:
    """Wrap titles and axis labels of a figure's panels to the room that each has; more titles make it higher.

    Call it when everything else that takes room has been drawn.
    """
    panels = {axis: title for axis in figure.axes if axis.get_visible() and (title := _title(axis)) is not None}
    whole = {axis: _whole(title) for axis, title in panels.items()}
    labels = [(panel, axis, _whole(axis.label)) for panel in figure.axes if panel.get_visible()
              for axis in (panel.xaxis, panel.yaxis) if axis.get_label_text()]  # fmt: skip
    lines = {axis: title.get_text().count("\n") for axis, title in panels.items()}
    for title in panels.values():
        title.set_text("")  # the layout makes room for the middle of a title, wherever that is
    for _ in range(PASSES):
        figure.draw_without_rendering()
        for panel, axis, text in labels:
            beside = [other for other, its, _ in labels if its.axis_name == axis.axis_name and other is not panel]
            room = _room_along(panel, beside, across=axis.axis_name == "x")
            axis.label.set_text(wrapped(text, room, axis.label.get_fontsize()))
        more: dict[int, float] = {}
        for axis, title in panels.items():
            size = title.get_fontsize()
            text = wrapped(whole[axis], _room(axis, list(panels)), size, bold=title.get_fontweight() == "bold")
            taller = LEADING * size / 72 * (text.count("\n") - lines[axis])
            lines[axis] = text.count("\n")
            row = axis.get_subplotspec().rowspan.start
            more[row] = max(more.get(row, taller), taller)
            title.set_text(text)
        if not any(more.values()):
            return
        figure.set_figheight(figure.get_figheight() + sum(more.values()))


def _whole(text: Text) -> str:
    """Return a text as it was before it was wrapped: the artist's label keeps it."""
    text.set_label(text.get_label() or text.get_text())
    return text.get_label()


def _title(axis: Axes) -> Text | None:
    """Return the text of a panel's title, which stands at its left."""
    from matplotlib.text import Text

    said = axis.get_title(loc="left")
    return next((t for t in axis.get_children() if said and isinstance(t, Text) and t.get_text() == said), None)


def _room(axis: Axes, panels: list[Axes]) -> float:
    """Return how wide a title may be, to what stands beside it or to the edge of the page, in typographic points."""
    own = axis.get_window_extent()
    right = [axis.figure.bbox.x1]
    for other in axis.figure.axes:
        box = other.get_window_extent()
        # A panel has a title at the same height; a colour scale is in the way where it is higher than the panel.
        meets = box.y0 < own.y1 and own.y0 < box.y1 if other in panels else box.y0 < own.y1 < box.y1 - 1
        if box.x0 > own.x0 + 1 and meets:
            right.append(box.x0)
    return (min(right) - own.x0) * 72 / axis.figure.dpi - EDGE


def _room_along(panel: Axes, others: list[Axes], *, across: bool) -> float:
    """Return how long the label of an axis may be: as far as panels are apart, or to the page's edge, in points."""

    def spans(axis: Axes) -> tuple[tuple[float, float], tuple[float, float]]:
        box = axis.get_window_extent()
        return ((box.x0, box.x1), (box.y0, box.y1)) if across else ((box.y0, box.y1), (box.x0, box.x1))

    (low, high), (bottom, top) = spans(panel)
    room = min(low + high, 2 * (panel.figure.bbox.width if across else panel.figure.bbox.height) - low - high)
    for other in others:
        (left, right), (under, over) = spans(other)
        if under < top and bottom < over:
            room = min(room, abs(left + right - low - high) / 2)
    return room * 72 / panel.figure.dpi - EDGE
