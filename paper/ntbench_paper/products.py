"""What the paper is built from: a file of numbers for each suite, tables, and figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.atomic_write import write_whole
from bench.report.product import FIGURE, TABLE, Product
from bench.report.write import write_figure
from ntbench_paper.chapters import CHAPTERS, Chapter
from ntbench_paper.tables import TABLES
from ntbench_paper.values import pick

if TYPE_CHECKING:
    from bench.report.material import Part

PAPER = "paper"
GENERATED = "generated"
ROWS = "results.parquet"


@dataclass(frozen=True)
class Picture:
    """A figure of the paper: of which suite, and by which function of its rows or comparisons, all or some."""

    suite: str
    function: str
    of: str = "comparisons"
    where: Mapping[str, Any] = field(default_factory=dict)


PICTURES: dict[str, Picture] = {
    "triangle": Picture("triangle", "bench.report.transfer_map:transfer_map"),
    "gap-map": Picture("default", "bench.report.figure:gap_map"),
    "similarity": Picture("default", "bench.report.similarity_figure:gap_against_similarity", of="rows"),
    "depth": Picture("depth", "bench.report.depth_figure:gap_by_depth", of="rows"),
    "square": Picture("size-similarity", "bench.report.corners:corners", of="rows"),
    "weighting": Picture(
        "weighting",
        "bench.report.won_back_figure:share_won_back",
        of="rows",
        where={
            "source": ["wrong-40", "flipped", "mixed"],
            "strategy": ["zero-shot", "feature-extraction"],
            "target_size": [0, 400],
        },
    ),
    "learning": Picture("size-similarity", "bench.report.learning:learning_curves", of="rows"),
}


def paper_products(results: Path) -> Iterator[Product]:
    """Yield what the paper beside a folder of results needs of the suites that have rows there."""
    committed = results.parent / PAPER / GENERATED
    if not committed.is_dir():
        return
    there = [path.parent.name for path in sorted(results.glob(f"*/{ROWS}"))]
    for name, chapter in CHAPTERS.items():
        if set(chapter.suites) <= set(there):
            what = f"Numbers that the paper quotes: {', '.join(chapter.suites)}"
            make = partial(_values, name, chapter)
            yield Product(f"{PAPER}/values-{name}", TABLE, what, chapter.suites, make, committed)
    for name, table in TABLES.items():
        suites = tuple(suite for suite in table.suites if suite in there)
        if suites and (len(suites) == len(table.suites) or not table.whole):
            yield Product(f"{PAPER}/table-{name}", TABLE, table.what, suites, partial(_table, name), committed)
    for name, picture in PICTURES.items():
        if picture.suite in there:
            make = partial(_figure, name, picture)
            what = f"The paper's figure: {name.replace('-', ' ')} ({picture.suite})"
            yield Product(f"{PAPER}/figure-{name}", FIGURE, what, (picture.suite,), make, committed)


def _values(name: str, chapter: Chapter, parts: Mapping[str, Part], out: Path) -> list[Path]:
    places = ", ".join(f"results/{suite}" for suite in chapter.suites)
    found = chapter.numbers(*(parts[suite] for suite in chapter.suites))
    lines = [f"% Rebuilt from {places} by: ntbench reproduce {PAPER}"]
    lines += [rf"\defval{{{name}.{key}}}{{{value}}}" for key, value in found.items()]
    return [write_whole(out / f"values-{name}.tex", "\n".join(lines) + "\n", shared=True)]


def _table(name: str, parts: Mapping[str, Part], out: Path) -> list[Path]:
    table = TABLES[name]
    wanted = [parts[suite] for suite in table.suites if suite in parts]
    return [write_whole(out / f"table-{name}.tex", table.write(wanted), shared=True)]


def _figure(name: str, picture: Picture, parts: Mapping[str, Part], out: Path) -> list[Path]:
    module, _, function = picture.function.partition(":")
    table = getattr(parts[picture.suite], picture.of)
    figure = getattr(import_module(module), function)(pick(table, **picture.where) if picture.where else table)
    return [write_figure(out / f"figure-{name}.pdf", figure)]
