"""What can be rebuilt from stored rows: one table of products, figures and tables with the functions that make them.

To add products, write a function from the folder of results to products, and name it in :data:`SOURCES`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.atomic_write import write_whole
from bench.errors import BenchError, DataError, unknown
from bench.report.figures import FIGURES, panels
from bench.report.product import FIGURE, TABLE, Product
from bench.report.table import format_table
from bench.report.write import write_figure

if TYPE_CHECKING:
    from bench.report.material import Part

ROWS = "results.parquet"
EVERYTHING = "all"
# What builds the paper is no part of the package: it stands in the checkout that the package is run from.
PAPER = Path(__file__).resolve().parents[2] / "paper" / "ntbench_paper"


def suite_products(results: Path) -> Iterator[Product]:
    """Yield the figures and tables of every suite that has stored rows."""
    for rows in sorted(results.glob(f"*/{ROWS}")):
        suite = rows.parent.name
        for name, write in TABLES.items():
            what = f"{write.__doc__.splitlines()[0].rstrip('.')}: {suite}"
            yield Product(f"{suite}/{name}", TABLE, what, (suite,), partial(_table, suite, write), rows.parent)
        for name, kind in FIGURES.items():
            yield Product(
                f"{suite}/{name}",
                FIGURE,
                f"{kind.title}: {suite}",
                (suite,),
                partial(_figures, suite, name),
                rows.parent,
            )


def _table(suite: str, write: Callable[[Part, Path], Path], parts: Mapping[str, Part], out: Path) -> list[Path]:
    return [write(parts[suite], out)]


def _comparisons(part: Part, out: Path) -> Path:
    """All comparisons, every column."""
    return write_whole(out / "comparisons.csv", part.comparisons.to_csv(index=False, lineterminator="\n"), shared=True)


def _markdown(part: Part, out: Path) -> Path:
    """The comparison table."""
    return write_whole(out / "table.md", format_table(part.comparisons, "md"), shared=True)


TABLES: dict[str, Callable[[Part, Path], Path]] = {"comparisons": _comparisons, "table": _markdown}


def _figures(suite: str, name: str, parts: Mapping[str, Part], out: Path) -> list[Path]:
    part = parts[suite]
    kind = FIGURES[name]
    drawn, why = [], None
    for panel in panels(part.rows, part.comparisons):
        if panel.kind is kind:
            try:
                drawn.append(write_figure(out / f"{panel.name}.png", panel.draw()))
            except BenchError as error:
                why = error
    if not drawn:
        raise DataError(str(why or "there is nothing to draw"))
    return drawn


def paper_products(results: Path) -> Iterable[Product]:
    """Return what the paper beside a folder of results is built from; nothing without the code that builds it."""
    if not PAPER.is_dir():
        return ()
    if str(PAPER.parent) not in sys.path:
        sys.path.append(str(PAPER.parent))
    return importlib.import_module(f"{PAPER.name}.products").paper_products(results)


# Each from the folder of results to products.
SOURCES: tuple[Callable[[Path], Iterable[Product]], ...] = (suite_products, paper_products)


def products(results: Path) -> dict[str, Product]:
    """Return everything that can be rebuilt from a folder of results, by name.

    Raises
    ------
    DataError
        When there is no such folder, or no suite's rows in it.
    """
    found = {product.name: product for source in SOURCES for product in source(results)}
    if not found:
        raise DataError(f"{results} holds no stored rows (<suite>/{ROWS})")
    return found


def choose(known: Mapping[str, Product], names: Iterable[str]) -> list[Product]:
    """Return the products that names mean: one by its name, all of a group or of a kind, or all.

    Raises
    ------
    UnknownName
        For a name that means nothing, with the nearest match.
    DataError
        For the paper where there is no checkout.
    """
    chosen: dict[str, Product] = {}
    for name in names:
        meant = {key: product for key, product in known.items() if name in _handles(product)}
        if not meant and name.partition("/")[0] == PAPER.parent.name and not PAPER.is_dir():
            raise DataError(
                f'"{name}": what builds the paper is not installed; it stands in a checkout, which has {PAPER}'
            )
        if not meant:
            raise unknown(
                "figure or table", name, {handle for product in known.values() for handle in _handles(product)}
            )
        chosen |= meant
    return [product for key, product in known.items() if key in chosen]


def _handles(product: Product) -> set[str]:
    group, _, what = product.name.partition("/")
    return {product.name, group, what, f"{product.kind}s", EVERYTHING}


def same_content(path: Path, committed: Path) -> bool:
    """Whether two files say the same: CSV the same numbers to six digits, others byte for byte."""
    if path.suffix != ".csv":
        return path.read_bytes() == committed.read_bytes()
    import pandas as pd

    new, old = pd.read_csv(path), pd.read_csv(committed)
    try:
        # A column that came later is no difference in what both have.
        shared = [name for name in new.columns if name in old.columns]
        pd.testing.assert_frame_equal(
            new[shared], old[shared], check_exact=False, rtol=1e-6, atol=1e-9, check_dtype=False
        )
    except AssertionError:
        return False
    return len(shared) == len(old.columns)
