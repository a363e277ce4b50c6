"""``ntbench table``: the comparison table of a run folder."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bench.cli.options import Folder, TrustedPlugins, load_plugins


def table(
    folder: Folder,
    fmt: Annotated[
        str, typer.Option("--format", metavar="text|md|csv|latex", help="How it is written; csv has every column.")
    ] = "text",
    size: Annotated[list[int] | None, typer.Option("--size", metavar="N", help="Only this target size.")] = None,
    near: Annotated[
        str, typer.Option("--near", metavar="MEASURE", help="Measure that sorts sources from near to far.")
    ] = "frechet-distance",
    plugin: TrustedPlugins = None,
) -> None:
    """Print a run folder's comparison table.

    Sources stand down the side from near to far, strategies and depths across; each cell is the negative
    transfer gap with its verdict: in points, or in the unit of the suite's metric.
    """
    from bench.cli.stored import comparisons_of
    from bench.cli.terminal import print_comparisons
    from bench.errors import BenchError, unknown
    from bench.report.table import FORMATS, format_table

    if fmt not in FORMATS:
        raise unknown("table format", fmt, FORMATS)
    load_plugins(plugin)
    comparisons, warnings = comparisons_of(folder)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if size:
        known = sorted(int(n) for n in comparisons["target_size"].unique())
        wrong = [n for n in size if n not in known]
        if wrong:
            raise BenchError(f"--size {wrong[0]}: the folder has the sizes {', '.join(map(str, known)) or 'none'}")
        chosen = comparisons[comparisons["target_size"].isin(size)].reset_index(drop=True)
        chosen.attrs, comparisons = comparisons.attrs, chosen
    if comparisons.empty and fmt != "csv":
        raise BenchError(f"{folder} holds no comparison yet: no transfer trial has its scratch trial")
    near = near.replace("-", "_")
    if fmt == "text":
        print_comparisons(comparisons, near)
    else:
        sys.stdout.write(format_table(comparisons, fmt, near=near))
