"""Which figures there are: one table, from which the report, the run folder and a reproduction draw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.report.grid import NEAR, SETTING
from bench.report.style import slug

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COMPARISONS = "comparisons"
ROWS = "rows"


@dataclass(frozen=True)
class Kind:
    """One kind of figure.

    Attributes
    ----------
    title : str
        What it shows, as a heading.
    reading : str
        How to read it, in a sentence or two.
    function : str
        ``"module:name"`` of a function from a DataFrame to a matplotlib figure, which raises a
        ``BenchError`` that says what is missing where it cannot be drawn.
    reads : {"comparisons", "rows"}
        What the DataFrame holds: a row a comparison or a row a trial.
    each : bool
        Whether there is one for each target, backbone and weighting; else one for the whole suite.
    near : str or None
        Name of the argument that takes the measure of similarity, where there is one.
    """

    title: str
    reading: str
    function: str
    reads: str = COMPARISONS
    each: bool = False
    near: str | None = None


FIGURES: dict[str, Kind] = {
    "gap_map": Kind(
        "The gap for every source, strategy and depth",
        "A cell is scratch minus transfer in points: red harms, blue helps. Sources stand from near to far.",
        "bench.report.figure:gap_map",
        each=True,
        near="near",
    ),
    "gap_against_similarity": Kind(
        "The gap against measured similarity",
        "A point is one source under one strategy, averaged over depths; to the right the sources get farther.",
        "bench.report.figure:gap_against_similarity",
        near="measure",
    ),
}


@dataclass(frozen=True)
class Panel:
    """One figure to draw: a kind, and what of the results it is about.

    Attributes
    ----------
    name : str
        Of its file, without an ending.
    title : str
    """

    name: str
    title: str
    kind: Kind
    table: pd.DataFrame
    near: str

    def draw(self) -> Figure:
        """Draw it.

        Raises
        ------
        BenchError
            When what it shows is not among the results.
        """
        module, _, name = self.kind.function.partition(":")
        options = {self.kind.near: self.near} if self.kind.near else {}
        try:
            return getattr(import_module(module), name)(self.table, **options)
        except ValueError as error:
            # matplotlib's word for a name it takes for mathematics, or for an axis without a finite end.
            raise BenchError(" ".join(str(error).split())[:300]) from error


def panels(rows: pd.DataFrame, comparisons: pd.DataFrame, *, near: str = NEAR) -> Iterator[Panel]:
    """Yield every figure of a suite's results, in the order of the table.

    Parameters
    ----------
    rows : DataFrame
        One row a trial.
    comparisons : DataFrame
        One row a comparison, of these rows.
    near : str
        Measure of similarity that sorts sources.
    """
    for name, kind in FIGURES.items():
        table = comparisons if kind.reads == COMPARISONS else rows
        if not kind.each:
            yield Panel(name, kind.title, kind, table, near)
            continue
        varying = [column for column in SETTING if comparisons[column].nunique(dropna=False) > 1]
        for setting, part in _settings(table):
            part.attrs = dict(table.attrs)
            said = [str(setting[column]) for column in varying]
            tail = "".join(f"-{slug(text)}" for text in said)
            yield Panel(
                name + tail, ": ".join([kind.title, ", ".join(said)] if said else [kind.title]), kind, part, near
            )


def _settings(table: pd.DataFrame) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    for values, part in table.groupby(SETTING, dropna=False, sort=True):
        yield dict(zip(SETTING, values, strict=True)), part
