"""Where output goes, and what may be written there."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console


def is_terminal(stream: TextIO) -> bool:
    """Whether a person watches: a terminal that can move its cursor."""
    import os

    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def console(stream: TextIO) -> Console:
    """Return a console that writes plain text to whatever is no terminal."""
    from rich.console import Console

    if is_terminal(stream):
        return Console(file=stream, highlight=False)
    return Console(file=stream, highlight=False, color_system=None, force_terminal=False)


def print_comparisons(comparisons: pd.DataFrame, near: str) -> None:
    """Print the comparison table: in colour and as wide as the terminal, or as plain text."""
    if is_terminal(sys.stdout):
        from bench.report.terminal import print_table

        print_table(comparisons, console(sys.stdout), near=near)
    else:
        from bench.report.table import format_table

        sys.stdout.write(format_table(comparisons, "text", near=near))
