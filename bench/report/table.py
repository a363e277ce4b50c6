"""The comparison table as text: plain, Markdown, CSV and LaTeX."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.errors import unknown
from bench.report.cells import caption, cell_text, distance_interval, gap_text, judged, legend, margin_text
from bench.report.grid import NEAR, Cell, Grid, grids
from bench.report.style import measure_name
from bench.report.terminal import print_table
from bench.stats.gap import options_of

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 140


def format_table(comparisons: pd.DataFrame, fmt: str = "text", *, near: str = NEAR) -> str:
    """Write the comparison table as text.

    Parameters
    ----------
    comparisons : DataFrame
        As :func:`bench.stats.gap.negative_transfer` returns it.
    fmt : {"text", "md", "csv", "latex"}
        Plain text of at most 140 columns; Markdown; the comparisons themselves, with all columns, as
        CSV; LaTeX with booktabs.
    near : str
        Measure of similarity that sorts sources from near to far.

    Raises
    ------
    UnknownName
        For an unknown format or measure.
    """
    if fmt not in FORMATS:
        raise unknown("table format", fmt, FORMATS)
    return FORMATS[fmt](comparisons, near)


def _text(comparisons: pd.DataFrame, near: str) -> str:
    from rich.console import Console

    page = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    console = Console(file=page, width=WIDTH, color_system=None, force_terminal=False)
    print_table(comparisons, console, near=near)
    page.flush()
    lines = page.buffer.getvalue().decode().splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _csv(comparisons: pd.DataFrame, near: str) -> str:
    del near
    return comparisons.to_csv(index=False, lineterminator="\n")


def _md(comparisons: pd.DataFrame, near: str) -> str:
    blocks = [_md_grid(grid) for grid in grids(comparisons, near=near)]
    return "\n\n".join([*blocks, legend(comparisons)]) + "\n"


def _md_grid(grid: Grid) -> str:
    measured = [measure_name(grid.measure)] if grid.measure else []
    lines = [
        ["source", *measured, *(str(head) for head in grid.heads)],
        [":--", *("--:" for _ in (*measured, *grid.heads))],
    ]
    for source in grid.sources:
        row = [source.name, *([distance_interval(source)] if measured else [])]
        lines.append([*row, *(_md_cell(grid.cells.get((source.name, head))) for head in grid.heads)])
    body = "\n".join("| " + " | ".join(_md_escape(cell) for cell in line) + " |" for line in lines)
    return f"**{_md_escape(grid.title)}**\n\n{body}\n\n{caption(grid)}"


def _md_cell(cell: Cell | None) -> str:
    written = cell_text(cell)
    return f"**{written}**" if cell is not None and cell.verdict in ("negative", "positive") else written


def _md_escape(text: str) -> str:
    return text.replace("|", "\\|")


# Harm and help differ in weight, slope and mark, so that they survive a grey printer.
LATEX_CELL = {
    "negative": r"$\mathbf{%s}^{\times}$",
    "positive": r"$\mathit{%s}^{\star}$",
    "equivalent": r"$%s^{=}$",
    "inconclusive": r"$%s$",
}
LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: "\\" + character for character in "&%$#_{}"},
}


def _latex(comparisons: pd.DataFrame, near: str) -> str:
    return "\n".join(_latex_grid(grid, comparisons) for grid in grids(comparisons, near=near))


def _latex_grid(grid: Grid, comparisons: pd.DataFrame) -> str:
    """Write one table; it needs the package booktabs and nothing else."""
    first = 2 if grid.measure else 1
    spans, rules, start = [], [], first + 1
    for name, heads in grid.groups:
        end = start + len(heads) - 1
        spans.append(rf"\multicolumn{{{len(heads)}}}{{c}}{{{latex_escape(name)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{end}}}")
        start = end + 1
    measured = [latex_escape(measure_name(grid.measure))] if grid.measure else []
    lines = [
        r"\begin{table}",
        rf"\caption{{{latex_escape(grid.title)}. {latex_escape(caption(grid))} {_latex_legend(comparisons)}}}",
        r"\centering",
        rf"\begin{{tabular}}{{l{'r' * (first - 1 + len(grid.heads))}}}",
        r"\toprule",
        " & ".join([""] * first + spans).strip() + r" \\",
        " ".join(rules),
        " & ".join(["source", *measured, *(f"${head.depth}$" if head.depth else "" for head in grid.heads)]) + r" \\",
        r"\midrule",
    ]
    for source in grid.sources:
        row = [latex_escape(source.name), *([distance_interval(source)] if measured else [])]
        row += [_latex_cell(grid.cells.get((source.name, head))) for head in grid.heads]
        lines.append(" & ".join(row) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _latex_cell(cell: Cell | None) -> str:
    if cell is None or not cell.measured:
        return cell_text(cell)
    return LATEX_CELL[cell.verdict] % cell.scale.gap(cell.ntg)


def _latex_legend(comparisons: pd.DataFrame) -> str:
    margin = margin_text(options_of(comparisons)["margin"], comparisons)
    return (
        latex_escape(gap_text(comparisons)) + r"; above 0 is harm. "
        rf"Bold$^{{\times}}$ negative, italic$^{{\star}}$ positive, $^{{=}}$ equivalent within {margin}; "
        + latex_escape(judged(comparisons))
        + "."
    )


def latex_escape(text: str) -> str:
    """Escape what LaTeX would read as a command."""
    return re.sub(r"[\\~^&%$#_{}]", lambda match: LATEX_SPECIAL[match.group()], text)


FORMATS: dict[str, Callable[..., str]] = {"text": _text, "md": _md, "csv": _csv, "latex": _latex}
