"""``ntbench export``: a folder's rows and comparisons as CSV or Parquet."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import TrustedPlugins, load_plugins, named_path

if TYPE_CHECKING:
    import pandas as pd

    from bench.ledger.predictions import KeptPredictions

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
    predictions: Annotated[
        bool,
        typer.Option("--predictions", help="Also each trial's prediction of every example: predictions-TARGET.FORMAT."),
    ] = False,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Also what each trial scores on every class, and each class's gap.")
    ] = False,
    plugin: TrustedPlugins = None,
) -> None:
    """Write a folder's rows and comparisons as CSV or Parquet.

    results.FORMAT has one row a trial, comparisons.FORMAT one row a comparison, with the columns that
    bench/schema.py documents. With --examples, intervals that resample test examples can be computed from
    what is written (bench.load_correctness reads it). With --predictions, a table a target has one row a trial
    and test example: what names the trial, the example's place in the test set, its label, the predicted one and
    a probability for each class (p_CLASS, to three digits). With --per-class, a table has one row a trial, metric and
    class: recalls, F1, average precisions, ..., and per-class-gaps.FORMAT one row a comparison, metric and class, with
    an interval over seeds and p values corrected over the classes. The test set has the order of the data: of rows,
    arrays or, in folders, of classes and file names; where the harness cut it, that of what it cut. The paths of
    what was written are printed.
    """
    from bench.atomic_write import write_whole
    from bench.cli.stored import comparisons_of
    from bench.errors import BenchError, StoreError, unknown
    from bench.ledger import results
    from bench.ledger.file import ledgers
    from bench.ledger.predictions import KeptPredictions
    from bench.stats.classes import per_class_gap

    if fmt not in FORMATS:
        raise unknown("format", fmt, FORMATS)
    target = folder if out is None else out
    rows = results.load_results(folder)
    if f"results.{fmt}" == results.PARQUET and not ledgers(folder) and target.resolve() == folder.resolve():
        raise BenchError(f"{folder / results.PARQUET} is what would be read; say where to write: --out")
    correct = results.correctness_table(results.load_correctness(folder), rows["key"]) if examples else None
    kept = KeptPredictions(folder) if predictions else None
    by_class = results.load_per_class(folder) if per_class else None
    load_plugins(plugin)
    comparisons, warnings = comparisons_of(folder)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {target}: {error.strerror}") from error
    tables = {"results": rows, "comparisons": comparisons}
    if by_class is not None:
        tables |= {"per-class": by_class, "per-class-gaps": per_class_gap(rows, by_class)}
    for name, table in tables.items():
        print(write_whole(target / f"{name}.{fmt}", _content(table, fmt), shared=True))
    if correct is not None:
        print(write_whole(target / results.EXAMPLES, _content(correct, "parquet", "zstd"), shared=True))
    if kept is not None:
        for path in _write_predictions(kept, rows, target, fmt):
            print(path)


def _write_predictions(kept: KeptPredictions, rows: pd.DataFrame, out: Path, fmt: str) -> Iterator[Path]:
    """Write what trials predicted, a file for each target (and suite, where there are several)."""
    from bench.atomic_write import write_whole
    from bench.errors import StoreError
    from bench.ledger.predictions import prediction_tables
    from bench.report.style import slug
    from bench.schema import OK

    done = rows[rows["status"] == OK]
    held = done[done["key"].isin([key for key in done["key"] if key in kept])]
    lacking = done[~done["key"].isin(held["key"])]
    if held.empty:
        raise StoreError(
            f"{kept.folder} keeps no predictions: its trials ran with predictions = false, or by an earlier version. "
            "To have them, run the suite again into another folder: ntbench run SUITE --out DIR"
        )
    if len(lacking):
        print(
            f"warning: {len(lacking):,} of {len(done):,} finished trials kept no predictions and are left out, "
            f"{lacking['key'].iloc[0]} the first: they ran with predictions = false, or by an earlier version",
            file=sys.stderr,
        )
    by = ["suite", "target"] if held["suite"].nunique() > 1 else ["target"]
    taken: set[str] = set()
    for place, part in held.groupby(by, sort=True):
        name = slug(f"predictions-{'-'.join(place)}")
        name = next(free for n in count(1) if (free := name if n == 1 else f"{name}-{n}") not in taken)
        taken.add(name)
        path, write = out / f"{name}.{fmt}", {"csv": _write_csv, "parquet": _write_parquet}[fmt]
        write_whole(path, partial(write, prediction_tables(kept, part.drop_duplicates("key"))))
        yield path


def _write_csv(tables: Iterable[pd.DataFrame], path: Path) -> None:
    for number, table in enumerate(tables):
        table.to_csv(path, mode="a", header=not number, index=False, lineterminator="\n", float_format="%.5g")


def _write_parquet(tables: Iterable[pd.DataFrame], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    tables = iter(tables)
    first = pa.Table.from_pandas(next(tables), preserve_index=False)
    with pa.parquet.ParquetWriter(path, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(pa.Table.from_pandas(table, schema=first.schema, preserve_index=False))


def _content(table: pd.DataFrame, fmt: str, compression: str = "snappy") -> bytes:
    from bench.schema import near_attrs

    table = table.assign()
    table.attrs = near_attrs(table)  # warnings were said; in Parquet's metadata they would only go stale
    if fmt == "csv":
        return table.to_csv(index=False, lineterminator="\n").encode("utf-8")
    file = io.BytesIO()
    table.to_parquet(file, index=False, compression=compression)
    return file.getvalue()
