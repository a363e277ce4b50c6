"""Something that is made from stored rows and can be made again: a figure or a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.report.material import Part

FIGURE, TABLE = "figure", "table"


@dataclass(frozen=True)
class Product:
    """A figure or a table that is made from stored rows.

    Attributes
    ----------
    name : str
        ``"<group>/<what>"``, the group being its folder.
    kind : {"figure", "table"}
    what : str
        What it shows, in a line.
    suites : tuple of str
        Whose rows it reads.
    make : callable
        From the parts of these suites, by name, and a folder to the files that it writes there.
    committed : Path
        Folder that holds the same files as they were committed.
    """

    name: str
    kind: str
    what: str
    suites: tuple[str, ...]
    make: Callable[[Mapping[str, Part], Path], list[Path]]
    committed: Path
