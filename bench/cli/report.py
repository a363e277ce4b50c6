"""``ntbench report``: everything that a folder of results says, as one HTML file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import TrustedPlugins, load_plugins, named_path

REPORT = "report.html"


def report(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A run folder, or one of committed results.", show_default=False, parser=named_path
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The file to write.  [default: DIR/report.html]", parser=named_path),
    ] = None,
    near: Annotated[
        str, typer.Option("--near", metavar="MEASURE", help="Measure that sorts sources from near to far.")
    ] = "frechet-distance",
    plugin: TrustedPlugins = None,
) -> None:
    """Write a folder's report as one HTML file.

    Findings, figures, tables that sort and filter, a page for every trial, provenance. The file opens from
    the disk and fetches nothing. It is made of what the folder holds, and says what is missing and why.
    """
    from bench.cli.gather import gather
    from bench.errors import DataError
    from bench.report.html import write_html

    path = folder / REPORT if out is None else out
    if path.is_dir():
        raise DataError(f"--out {path} is a folder; name a file in it, such as {path / REPORT}")
    load_plugins(plugin)
    material = gather(folder)
    written = write_html(material, path, near=near.replace("-", "_"))
    for note in material.notes:
        print(f"note: {note}", file=sys.stderr)
    print(written)
