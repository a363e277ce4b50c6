"""The comparison table in a terminal, at whatever width it has."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.report.cells import caption, cell_text, distance_text, legend
from bench.report.grid import NEAR, Grid, Head, grids
from bench.report.style import ASCII_MARKS, MARKS, SHORT_NAMES, TERMINAL, in_words, measure_name
from bench.schema import near_is_low

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

Heads = tuple[Head, ...]
# A table of a million columns has no reader; this only keeps rich from wrapping while it measures.
UNBOUNDED = 10_000


def print_table(comparisons: pd.DataFrame, console: Console, *, near: str = NEAR) -> None:
    """Print the comparison table in colour: one table for each target, backbone and size, and a legend.

    Gaps lose their decimal, and a table is then cut into several, where the terminal is too narrow.
    Where it cannot show the marks of the verdicts, plain characters stand in for them.
    """
    if console.encoding.lower().startswith("utf"):
        _print(comparisons, console, near, MARKS)
        return
    with console.capture() as capture:
        _print(comparisons, console, near, ASCII_MARKS)
    # What the terminal has no letter for loses its accent, or else becomes a question mark.
    bare = "".join(c for c in unicodedata.normalize("NFKD", capture.get()) if not unicodedata.combining(c))
    console.file.write(bare.encode(console.encoding, "replace").decode(console.encoding))


def _print(comparisons: pd.DataFrame, console: Console, near: str, marks: dict[str, str]) -> None:
    from rich.text import Text

    for grid in grids(comparisons, near=near):
        console.print(Text(grid.title, style="bold"))
        for table in _fitted(grid, console, marks):
            console.print(table)
            console.print()
        console.print(Text(caption(grid)))
        console.print()
    console.print(Text(legend(comparisons, marks), style="dim"))


def _fitted(grid: Grid, console: Console, marks: dict[str, str]) -> list[Table]:
    """Draw a grid within the console: with decimals, else without, else in several tables."""
    for decimals in (1, 0):
        table = _table(grid, decimals, marks)
        if _fits(table, console):
            return [table]
    pieces: list[Heads] = []
    current: Heads = ()
    for _, heads in grid.groups:
        # A strategy that alone is too wide gets a table of its own.
        if current and not _fits(_table(replace(grid, heads=current + heads), 0, marks), console):
            pieces.append(current)
            current = ()
        current += heads
    return [_table(replace(grid, heads=heads), 0, marks) for heads in (*pieces, current)]


def _fits(table: Table, console: Console) -> bool:
    from rich.measure import Measurement

    options = console.options.update(width=UNBOUNDED)
    return Measurement.get(console, options, table).maximum <= console.width


def _table(grid: Grid, decimals: int, marks: dict[str, str]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    width = _cell_width(grid, decimals, marks)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("source", no_wrap=True, vertical="bottom")
    if grid.measure:
        head = "dist." if near_is_low(grid.measure) else measure_name(grid.measure)
        table.add_column(head, justify="right", no_wrap=True, vertical="bottom")
    for name, heads in grid.groups:
        table.add_column(Text("\n".join(_header(name, heads, width))), no_wrap=True, vertical="bottom")
    for source in grid.sources:
        row = [Text(source.name), *([Text(distance_text(source.distance))] if grid.measure else [])]
        row += [_group_cell(grid, source.name, heads, decimals, marks, width) for _, heads in grid.groups]
        table.add_row(*row)
    return table


def _cell_width(grid: Grid, decimals: int, marks: dict[str, str]) -> int:
    shown = [len(cell_text(cell, marks, decimals)) for cell in grid.cells.values()]
    return max([*shown, *(len(head.depth) for head in grid.heads)], default=1)


def _header(name: str, heads: Heads, width: int) -> list[str]:
    """Lines above a group of columns: the strategy, broken only where it must be, and the depths."""
    room = len(heads) * (width + 1) - 1
    lines: list[str] = []
    for word in in_words(SHORT_NAMES.get(name, name)).split():
        if lines and len(lines[-1]) + 1 + len(word) <= room:
            lines[-1] += " " + word
        else:
            lines.append(word)
    depths = " ".join(head.depth.rjust(width) for head in heads)
    return [*lines, depths] if depths.strip() else lines


def _group_cell(grid: Grid, source: str, heads: Heads, decimals: int, marks: dict[str, str], width: int) -> Text:
    from rich.text import Text

    text = Text()
    for i, head in enumerate(heads):
        cell = grid.cells.get((source, head))
        style = "" if cell is None else TERMINAL[cell.verdict] if cell.measured else "red"
        text.append(" " if i else "").append(cell_text(cell, marks, decimals).rjust(width), style=style)
    return text
