"""What weighting the source examples came to: sentences from the table of what was won back."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.report.grid import depth_labels
from bench.scores import Scale, metrics_of, scale_of, score_column
from bench.stats.won_back import NOTHING, won_back

if TYPE_CHECKING:
    import pandas as pd


def weighted(rows: pd.DataFrame) -> pd.DataFrame | None:
    """Return what :func:`bench.stats.won_back.won_back` finds; None where there is the uniform one alone."""
    try:
        table = won_back(rows)
    except BenchError:
        return None
    return table if len(table) else None


def sentences(table: pd.DataFrame) -> list[str]:
    """Say of each weighting how well it found planted harm, what it won back, what that changed, and its time.

    Parameters
    ----------
    table : DataFrame
        As :func:`bench.stats.won_back.won_back` returns it.
    """
    if len(metrics := metrics_of(table)) > 1:
        parts = [(Scale(name).label, table[table["metric"] == name]) for name in metrics]
        return [f"By {label}: {sentence}" for label, part in parts for sentence in sentences(part)]
    said, scale = [], scale_of(table)
    for name, part in table.groupby("weighting", sort=True):
        facts = []
        if part["weight_auroc"].notna().any():
            facts.append(f"finds planted harm with an AUROC of {_span(part['weight_auroc'], '.2f')}")
        better, worse = (part["won_low"] > 0).sum(), (part["won_high"] < 0).sum()
        facts.append(f"is surely better than uniform weights in {better} of {len(part)} comparisons, worse in {worse}")
        share = part["share"].dropna()
        if len(share):
            facts.append(
                f"wins back {_span(100 * share, '.0f', ' %')} of what the oracle gains, where that gains at all "
                f"({len(share)} of {len(part)})"
            )
        elif (part["note"] == NOTHING).all():
            facts.append("has nothing to win back: the oracle does not gain either")
        if part["ntg"].notna().any():
            before, after = (scale.gap(part[column].mean()) for column in ("uniform_ntg", "ntg"))
            facts.append(f"moves the mean gap from {before} to {after} {scale.units}")
        if part["relative_cost"].notna().any():
            facts.append(f"takes {part['relative_cost'].median():.1f} x uniform's time")
        said.append(
            f"{name} " + ", ".join(facts[:-1]) + f" and {facts[-1]}." if len(facts) > 1 else f"{name} {facts[0]}."
        )
    return said


def share_tables(table: pd.DataFrame) -> str:
    """Lay out, as Markdown, what each weighting won back: a table for each source and target size.

    A cell is the share of the oracle's gain over uniform weights with its interval; where the oracle does not
    surely gain, the gain over uniform weights in points stands in brackets.

    Parameters
    ----------
    table : DataFrame
        As :func:`bench.stats.won_back.won_back` returns it.
    """
    if len(metrics := metrics_of(table)) > 1:
        return "\n\n".join(share_tables(table[table["metric"] == name]) for name in metrics)
    labels, scale = depth_labels(table), scale_of(table)
    table = table.assign(point=[str(labels[point]) for point in table[POINT].itertuples(index=False, name=None)])
    blocks = []
    for (target, backbone, source, size), part in table.groupby(["target", "backbone", "source", "target_size"]):
        points_of = list(dict.fromkeys(part["point"]))
        head = [f"{source} -> {target}, {size} labels ({backbone})", "AUROC", *points_of]
        lines = [head, [":--", *("--:" for _ in head[1:])]]
        first = part.drop_duplicates("point").set_index("point")
        for arm in ("uniform", "oracle"):
            reached = (first.at[point, score_column(table, arm)] for point in points_of)
            lines.append([f"{arm}: {scale.label}", "", *("" if isnan(x) else scale.score(x) for x in reached)])
        for way, mine in part.groupby("weighting", sort=False):
            cells = mine.set_index("point")
            lines.append([way, _auroc(mine), *(_share(cells, point, scale) for point in points_of)])
        blocks.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join([*blocks, CAPTION.format(units=scale.units)])


CAPTION = (
    "Share of the oracle's gain over uniform weights that was won back, with its 95 % interval (Fieller). In "
    "brackets, where the oracle does not surely gain: the gain over uniform weights in {units}, with its 95 % interval."
)
POINT = ["strategy", "transfer_depth", "frozen_depth"]


def _auroc(mine: pd.DataFrame) -> str:
    """Return that of source models: joint training has weights of its own."""
    row = mine.sort_values("strategy", key=lambda names: names == "joint", kind="stable").iloc[0]
    if isnan(row["weight_auroc"]):
        return ""
    low, high = max(row["weight_auroc_low"], 0.0), min(row["weight_auroc_high"], 1.0)
    return f"{row['weight_auroc']:.2f}" + _ends(low, high, ".2f")


def _share(cells: pd.DataFrame, point: str, scale: Scale) -> str:
    if point not in cells.index:
        return ""
    row = cells.loc[point]
    if isnan(row["share"]):
        gains = [scale.gap(row[name]) for name in ("won", "won_low", "won_high")]
        return f"({gains[0]} [{gains[1]}, {gains[2]}])"
    share, low, high = (round(100 * row[name]) for name in ("share", "share_low", "share_high"))
    return f"{share} % [{low}, {high}]"


def _ends(low: float, high: float, form: str) -> str:
    return "" if isnan(low) else f" [{low:{form}}, {high:{form}}]"


def _span(values: pd.Series, form: str, unit: str = "") -> str:
    """Return the median and the range of values."""
    values = values.dropna()
    middle = f"{values.median():{form}}{unit}"
    return middle if len(values) == 1 else f"{middle} in the median ({values.min():{form}} to {values.max():{form}})"
