"""A run's report: tables as CSV and Parquet, figures, and one page to read."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from bench.atomic_write import write_whole
from bench.errors import BenchError, StoreError
from bench.report.figures import panels
from bench.report.findings import failures, findings
from bench.report.grid import NEAR
from bench.report.inputs import task_sentences, transform_sentences
from bench.report.style import figure_style
from bench.report.table import format_table
from bench.report.weightings import sentences, share_tables, weighted
from bench.schema import conform, near_attrs
from bench.scores import with_scores
from bench.stats.gap import negative_transfer

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

DPI = 200  # a column of a paper is then 666 pixels wide


def write_report(
    rows: pd.DataFrame,
    out: str | Path,
    header: Mapping[str, Any] | None = None,
    *,
    tasks: Iterable[Mapping[str, Any]] = (),
    near: str = NEAR,
    **options: Any,
) -> list[Path]:
    """Write everything that is derived from a run's rows.

    ``results.csv`` and ``results.parquet`` (one row a trial), ``comparisons.csv`` and
    ``comparisons.parquet`` (one row a comparison), ``table.md``, the brief ones of
    :data:`bench.report.figures.FIGURES` that the rows suffice for (``gap_map.png``; for several targets,
    backbones or weightings one each, ``gap_map-<target>-<backbone>.png``), and ``report.md`` with
    findings, warnings, table, figures and provenance. Where source examples were weighted in more than one
    way, ``weightings.csv`` says what each won back (:func:`bench.stats.won_back.won_back`). Every file is
    replaced in one step: an interruption or a full disk leaves the old one.

    Parameters
    ----------
    rows : DataFrame
        As :func:`bench.load_results` returns it.
    out : path
        Folder; made if need be.
    header : mapping, optional
        Provenance, written at the end of the page.
    tasks : iterable of mapping
        Cards of the tasks, as a ledger keeps them: the page says what data they hold.
    near : str
        Measure of similarity that sorts sources.
    **options
        For :func:`bench.stats.gap.negative_transfer`.

    Returns
    -------
    list of Path
        What was written, the page first.

    Raises
    ------
    StoreError
        When something cannot be written.
    """
    out = Path(out)
    rows = with_scores(conform(rows))
    comparisons = negative_transfer(rows, **options)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {out}: {error.strerror}") from error
    written = []
    for name, table in (("results", rows), ("comparisons", comparisons)):
        written.append(_write_text(out / f"{name}.csv", table.to_csv(index=False, lineterminator="\n")))
        # Warnings belong to the page: in Parquet's metadata they would only go stale.
        bare = table.copy()
        bare.attrs = near_attrs(table)
        written.append(_write(out / f"{name}.parquet", lambda file, t=bare: t.to_parquet(file, index=False)))
    table = format_table(comparisons, "md", near=near) if len(comparisons) else ""
    written.append(_write_text(out / "table.md", table or "No comparison has a result yet.\n"))
    weights = weighted(rows)
    if weights is not None:
        written.append(_write_text(out / "weightings.csv", weights.to_csv(index=False, lineterminator="\n")))
    figures = write_figures(rows, comparisons, out, near=near, brief=True)
    page = _page(rows, comparisons, weights, table, figures, header or {}, near, task_sentences(tasks))
    return [_write_text(out / "report.md", page), *written, *figures]


def write_figures(
    rows: pd.DataFrame, comparisons: pd.DataFrame, out: Path, *, near: str = NEAR, brief: bool = False
) -> list[Path]:
    """Draw what the results have enough for; the HTML report says what they lack for the others.

    Parameters
    ----------
    rows, comparisons : DataFrame
        One row a trial, and one row a comparison of these.
    out : Path
        Folder that exists.
    near : str
        Measure of similarity that sorts sources.
    brief : bool
        Only the figures that every run ends with, as PNG; else all of them, as PNG and as PDF.

    Returns
    -------
    list of Path

    Raises
    ------
    StoreError
        When one cannot be written.
    """
    if comparisons["ntg"].notna().sum() == 0:
        return []
    written = []
    for panel in panels(rows, comparisons, near=near):
        if panel.kind.brief or not brief:
            with suppress(BenchError):
                figure = panel.draw()
                endings = (".png",) if brief else (".png", ".pdf")
                written += [write_figure(out / f"{panel.name}{ending}", figure) for ending in endings]
    return written


def _page(
    rows: pd.DataFrame,
    comparisons: pd.DataFrame,
    weights: pd.DataFrame | None,
    table: str,
    figures: list[Path],
    header: Mapping[str, Any],
    near: str,
    data: list[str],
) -> str:
    suites = ", ".join(sorted(rows["suite"].dropna().unique())) or "run"
    parts = [f"# Negative transfer in {suites}", "## Findings", _bullets(findings(comparisons, near=near))]
    if inputs := [*data, *transform_sentences(rows)]:
        parts += ["## Inputs", _bullets(inputs)]
    if weights is not None:
        parts += ["## Weighting the source's examples", _bullets(sentences(weights)), share_tables(weights)]
    cautions = [
        *rows.attrs.get("warnings", []),
        *comparisons.attrs["warnings"],
        *map(_one_line, failures(rows, "see the column `error` of results.csv")),
    ]
    if cautions:
        parts += ["## What to keep in mind", _bullets(cautions)]
    if figures:
        shown = [path for path in figures if path.suffix == ".png"]
        parts += ["## Figures", *(f"![{path.stem.replace('_', ' ')}]({path.name})" for path in shown)]
    if table:
        parts += ["## Table", table.rstrip("\n")]
    if header:
        parts += ["## Made with", _bullets([f"{key}: {_plain(value)}" for key, value in header.items()])]
    return "\n\n".join(parts) + "\n"


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(inner) for inner in value)
    return _one_line(str(value))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def write_figure(path: Path, figure: Figure) -> Path:
    """Write a figure as what its name ends in, .png or .pdf: equal figures give equal files."""
    # Without the name of the software and the date, equal rows give equal files.
    unsaid = {".png": ("Software",), ".pdf": ("Creator", "Producer", "CreationDate")}
    metadata = dict.fromkeys(unsaid[path.suffix])

    def save(file: BinaryIO) -> None:
        with figure_style():
            figure.savefig(file, format=path.suffix[1:], dpi=DPI, metadata=metadata)

    return _write(path, save)


def _write_text(path: Path, text: str) -> Path:
    return write_whole(path, text, shared=True)


def _write(path: Path, fill: Callable[[BinaryIO], Any]) -> Path:
    """Fill a file and put it in place."""
    content = io.BytesIO()
    fill(content)
    return write_whole(path, content.getvalue(), shared=True)
