"""Scores of rows: which metric they are by, its unit, and how scores and gaps are written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import BenchError, DataError
from bench.registry import METRICS
from bench.schema import ACCURACY, POINTS

if TYPE_CHECKING:
    import pandas as pd

MARGIN = 0.01  # of equivalence, where a metric is bounded: one point
_MINUS = "minus "  # before the label of what is an error
BY_LABELS = (ACCURACY, "balanced-accuracy", "macro-f1")
_UNITS = {"": "units of the target"}


@dataclass(frozen=True)
class Scale:
    """What scores are measured by.

    Attributes
    ----------
    metric : str
        As a suite names it.
    unit : str
        "points" where the metric is bounded: hundredths; "nats", "" for the unit of the target, ...
    step : float
        Power of ten that no gap is above, where the metric is not bounded: what is written is resolved to a
        thousandth of it. 1 where it is bounded.
    """

    metric: str = ACCURACY
    unit: str = POINTS
    step: float = 1.0

    @property
    def bounded(self) -> bool:
        """Whether gaps are in points."""
        return self.unit == POINTS

    @property
    def label(self) -> str:
        """What a reader calls the score."""
        try:
            return METRICS.get(self.metric).meta["label"]
        except BenchError:  # a plug-in that is not loaded
            return self.metric

    @property
    def units(self) -> str:
        """The unit in words, as it stands behind a number: "points", "nats", "units of the target"."""
        return _UNITS.get(self.unit, self.unit)

    @property
    def axis(self) -> str:
        """What an axis of scores on the test set is called."""
        if self.metric == ACCURACY:
            return "test accuracy, %"
        unit = "%" if self.bounded else self.units
        name = f"minus test {self.error}" if self.error else f"test {self.label}"
        return name if self.label == unit else f"{name}, {unit}"

    @property
    def factor(self) -> float:
        """What scores and gaps are multiplied by to be written."""
        return 100.0 if self.bounded else 1.0

    @property
    def decimals(self) -> int:
        """Decimals of a gap, which is written to a thousandth of the largest."""
        return 1 if self.bounded else max(0, 3 - round(math.log10(self.step)))

    def gap(self, value: float, decimals: int = 1) -> str:
        """Write a gap with its sign; `decimals` are those of points."""
        places = max(0, self.decimals + decimals - 1)
        shown = round(self.factor * value, places)
        return f"{shown + 0.0:+.{places}f}" if shown else f"{0:.{places}f}"

    def short(self, value: float) -> str:
        """Write a gap with a true minus where there is room for three characters: no decimal from ten points on."""
        return self.signed(value, 1 if abs(value) < 0.0995 * self.step else 0)

    @property
    def gap_axis(self) -> str:
        """What an axis of gaps is called."""
        return f"{self.gap_name}: above 0, transfer harms"

    @property
    def gap_name(self) -> str:
        """What a gap is called, with its unit: "gap in points", "gap in AUROC, points"."""
        by = "" if self.metric == ACCURACY or self.label == self.units else f"{self.error or self.label}, "
        return f"gap in {by}{self.units}"

    def signed(self, value: float, decimals: int = 1) -> str:
        """Write a gap as :meth:`gap` does, with a true minus."""
        return self.gap(value, decimals).replace("-", "\N{MINUS SIGN}")

    def score(self, value: float) -> str:
        """Write a score: "87.0 %", "-0.412"."""
        return f"{100 * value:.1f} %" if self.bounded else f"{value:.{self.decimals}f}"

    @property
    def by_labels(self) -> bool:
        """Whether predicted labels alone make the score, so that predicting one class makes it a constant's."""
        return self.metric in BY_LABELS

    @property
    def error(self) -> str:
        """What an error is called, whose score is minus its value; empty where the score is the value itself."""
        return self.label.removeprefix(_MINUS) if self.label.startswith(_MINUS) else ""

    def named(self, value: float) -> str:
        """Write a score with its name, of an error its value; of accuracies the number alone."""
        if self.error:
            return f"{self.error} {self.score(-value)}"
        return self.score(value) if self.metric == ACCURACY else f"{self.label} {self.score(value)}"

    def margin(self, value: float) -> str:
        """Write a margin of equivalence with its unit."""
        shown = f"{self.factor * value:g}"
        if self.bounded:
            return f"{shown} point" if shown == "1" else f"{shown} points"
        return f"{shown} {self.units}"


def with_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Fill in what rows of older versions do not say: that they are by accuracy, and so what their scores are.

    Parameters
    ----------
    rows : DataFrame
        One row a trial, with the columns of :data:`bench.schema.TRIAL`.
    """
    metric = rows["metric"].fillna(ACCURACY)
    plain = metric == ACCURACY
    found = rows.assign(metric=metric)
    unit = rows["metric_unit"].mask(plain, POINTS)
    if not plain.all():
        for name in metric[unit.isna()].unique():
            unit = unit.mask(unit.isna() & (metric == name), _unit_of(name))
    found["metric_unit"] = unit
    for score, accuracy in (("test_score", "test_accuracy"), ("val_score", "val_accuracy")):
        found[score] = rows[score].mask(plain, rows[accuracy].fillna(rows[score]))
    return found


def _unit_of(name: str) -> str:
    """Return the unit of a metric; that of the target where nobody knows it."""
    try:
        return METRICS.get(name).meta["unit"]
    except BenchError:
        return ""


def scale_of(table: pd.DataFrame) -> Scale:
    """Return what the scores of trials or comparisons are measured by.

    Parameters
    ----------
    table : DataFrame
        With the columns `metric` and `metric_unit`; accuracy where there are none, or no rows.

    Raises
    ------
    DataError
        For scores of several metrics, which cannot be compared.
    """
    found = metrics_of(table)
    if len(found) > 1:
        raise DataError(f"scores of several metrics cannot be compared: {', '.join(found)}; look at one at a time")
    if not found or found == [ACCURACY]:
        return Scale()
    here = table[table["metric"] == found[0]]
    units = list(here["metric_unit"].dropna()) if "metric_unit" in here else []
    unit = str(units[0]) if units else _unit_of(found[0])
    return Scale(found[0], unit, 1.0 if unit == POINTS else _step(here))


def scales_of(table: pd.DataFrame) -> list[Scale]:
    """Return what the scores of trials or comparisons are measured by, one scale a metric; accuracy for no rows."""
    return [scale_of(table[table["metric"] == name]) for name in metrics_of(table)] or [Scale()]


def score_name(table: pd.DataFrame) -> str:
    """Name what a table's scores are, in a sentence: "accuracy", "AUROC"; "score" where there are several."""
    found = metrics_of(table)
    return "score" if len(found) > 1 else (Scale(found[0]) if found else Scale()).label


def metrics_of(table: pd.DataFrame) -> list[str]:
    """Name the metrics of a table, sorted."""
    return sorted(map(str, table["metric"].dropna().unique())) if "metric" in table else []


def _step(table: pd.DataFrame) -> float:
    """Return the power of ten above every gap, or above what scores spread over."""
    column = next((name for name in ("ntg", "change") if name in table), None)
    if column is not None:
        spread = table[column].abs().max()
    else:
        spread = table["test_score"].max() - table["test_score"].min() if "test_score" in table else math.nan
    return 10.0 ** math.ceil(math.log10(spread)) if spread and math.isfinite(spread) and spread > 0 else 1.0


def as_accuracy(table: pd.DataFrame) -> pd.DataFrame:
    """Call the scores of a table accuracies where all of them are: its columns are then those of older versions."""
    if set(metrics_of(table)) - {ACCURACY}:
        return table
    names = {name: _accuracy(name) for name in table.columns if name == "score" or name.endswith("_score")}
    return table.drop(columns=["metric", "metric_unit"], errors="ignore").rename(columns=names)


def score_column(table: pd.DataFrame, which: str = "") -> str:
    """Return what a table that :func:`as_accuracy` may have renamed calls its scores: "scratch" -> "scratch_score"."""
    name = f"{which}_score" if which else "score"
    return name if name in table.columns else _accuracy(name)


def _accuracy(name: str) -> str:
    return f"{name.removesuffix('score')}accuracy"
