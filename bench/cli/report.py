"""``ntbench report``: everything that a folder of results says, as one HTML file."""

from __future__ import annotations

import os
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
        str | None,
        typer.Option(
            "--out",
            metavar="FILE|DIR/",
            help="The file to write (.html is added where it has no suffix), or the folder that report.html goes into."
            "  [default: DIR]",
            parser=str,
        ),
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
    from bench.report.html import write_html

    path = folder / REPORT if out is None else _page(out)
    load_plugins(plugin)
    material = gather(folder)
    written = write_html(material, path, near=near.replace("-", "_"))
    for note in material.notes:
        print(f"note: {note}", file=sys.stderr)
    print(written)


def _page(out: str) -> Path:
    """Return where the page goes that ``--out`` names: a file, ``.html`` added to a bare name, or into a folder."""
    from bench.errors import StoreError

    path = named_path(out)
    if out.endswith(("/", os.sep)) or path.is_dir():
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the folder {path}: {error.strerror}") from error
        return path / REPORT
    bare = not path.suffix[1:].isalpha()  # "v1.2" has no suffix either
    return path.with_name(f"{path.name}.html") if bare else path
