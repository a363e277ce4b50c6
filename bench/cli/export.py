"""``ntbench export``: a folder's rows and comparisons as CSV or Parquet."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import TrustedPlugins, load_plugins, named_path

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("parquet", "csv")


def export(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A run folder, or one of committed results.", show_default=False, parser=named_path
        ),
    ],
    fmt: Annotated[str, typer.Option("--format", metavar="|".join(FORMATS), help="How they are written.")] = "parquet",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder to write to.  [default: DIR itself]", parser=named_path),
    ] = None,
    examples: Annotated[
        bool, typer.Option("--examples", help="Also which test examples each trial got right, as examples.parquet.")
    ] = False,
    plugin: TrustedPlugins = None,
) -> None:
    """Write a folder's rows and comparisons as CSV or Parquet.

    results.FORMAT has one row a trial, comparisons.FORMAT one row a comparison, with the columns that
    bench/schema.py documents. With --examples, intervals that resample test examples can be computed from
    what is written (bench.load_correctness reads it). The paths of what was written are printed.
    """
    from bench.cli.stored import comparisons_of
    from bench.errors import BenchError, StoreError, unknown
    from bench.report.files import write_file
    from bench.results import EXAMPLES, PARQUET, correctness_table, load_correctness, load_results
    from bench.store import ledgers

    if fmt not in FORMATS:
        raise unknown("format", fmt, FORMATS)
    target = folder if out is None else out
    rows = load_results(folder)
    if f"results.{fmt}" == PARQUET and not ledgers(folder) and target.resolve() == folder.resolve():
        raise BenchError(f"{folder / PARQUET} is what would be read; say where to write: --out")
    correct = correctness_table(load_correctness(folder), rows["key"]) if examples else None
    load_plugins(plugin)
    comparisons, warnings = comparisons_of(folder)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {target}: {error.strerror}") from error
    for name, table in (("results", rows), ("comparisons", comparisons)):
        print(write_file(target / f"{name}.{fmt}", _content(table, fmt)))
    if correct is not None:
        print(write_file(target / EXAMPLES, _content(correct, "parquet", "zstd")))


def _content(table: pd.DataFrame, fmt: str, compression: str = "snappy") -> bytes:
    from bench.schema import near_attrs

    table = table.assign()
    table.attrs = near_attrs(table)  # warnings were said; in Parquet's metadata they would only go stale
    if fmt == "csv":
        return table.to_csv(index=False, lineterminator="\n").encode("utf-8")
    file = io.BytesIO()
    table.to_parquet(file, index=False, compression=compression)
    return file.getvalue()
