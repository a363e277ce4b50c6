"""The numbers on weightings of source examples: planted harm, and the findings of two papers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.report.paper.values import Values, count, gap, general, interval, size
from bench.schema import VERDICTS
from bench.stats import paired
from bench.stats.won_back import won_back

if TYPE_CHECKING:
    import pandas as pd

    from bench.report.material import Part

ALPHA = 0.05


def weighting(part: Part) -> Values:
    """Planted harm: how well weights find it, what that wins back, and what becomes of the gap to scratch."""
    rows, table = part.rows, part.comparisons
    values = general(part)
    judged = rows[rows["weight_auroc"].notna() & (rows["strategy"] == "zero-shot")]
    for (source, name, n), block in judged.groupby(["source", "weighting", "target_size"]):
        values |= _mean(f"auroc.{source}.{name}.{n}", block["weight_auroc"], sign="")
    for row in won_back(rows, alpha=ALPHA).itertuples():
        name = f"{row.source}.{_point(row)}.{row.weighting}.{row.target_size}"
        values |= {f"won.{name}": gap(row.won), f"won.{name}.ci": interval(row.won_low, row.won_high)}
        if row.share == row.share:
            values[f"share.{name}"] = f"{100 * row.share:.0f}"
            values[f"share.{name}.ci"] = f"{100 * row.share_low:.0f} to {100 * row.share_high:.0f}"
    for row in table[table["ntg"].notna()].itertuples():
        name = f"gap.{row.source}.{_point(row)}.{row.weighting}.{row.target_size}"
        values |= {
            name: gap(row.ntg),
            f"{name}.ci": interval(row.ntg_low, row.ntg_high),
            f"{name}.verdict": row.verdict,
        }
    for name, block in table.groupby("weighting"):
        values |= {f"{verdict}.{name}": count((block["verdict"] == verdict).sum()) for verdict in VERDICTS}
    return values


def _point(row: Any) -> str:
    """Name a strategy by itself, with its depths where they are not the whole network's."""
    return f"{row.strategy}.{row.transfer_depth}.{row.frozen_depth}"


def published(part: Part) -> Values:
    """Accuracy of every weighting, and how weights go with losses, over all runs and source by source."""
    values = general(part)
    rows = part.rows[part.rows["source"].notna()]
    for name, block in rows.groupby("weighting"):
        accuracy = block["test_accuracy"].astype(float)
        values |= {str(name): size(accuracy.mean()), f"{name}.runs": count(len(block))}
        values |= {f"{name}.least": size(accuracy.min()), f"{name}.most": size(accuracy.max())}
        for source, mine in block.groupby("source"):
            values[f"{name}.{source}"] = size(mine["test_accuracy"].astype(float).mean())
            values |= _mean(f"{name}.{source}.with-loss", mine["weight_loss_correlation"], sign="+")
            values |= _mean(f"{name}.{source}.auroc", mine["weight_auroc"], sign="")
    return values


def ren2018(part: Part, tuned: Part) -> Values:
    """Reweighting against imbalance at the paper's rate, and how much of its lead a tuned plain baseline has."""
    import pandas as pd

    values = published(part) | {f"tuned.{name}": value for name, value in published(tuned).items()}
    plain = tuned.rows[tuned.rows["weighting"] == "uniform"].assign(weighting="tuned", suite=part.suite)
    paper = part.rows[part.rows["weighting"].isin(["uniform", "l2rw"])]
    for row in won_back(pd.concat([paper, plain]), oracle="l2rw", alpha=ALPHA).itertuples():
        values[f"closed.{row.source}"] = f"{100 * row.share:.0f}"
        values[f"closed.{row.source}.ci"] = f"{100 * row.share_low:.0f} to {100 * row.share_high:.0f}"
    return values


def _mean(name: str, column: pd.Series, *, sign: str) -> Values:
    """Write the mean over seeds with its interval; nothing where there is no value."""
    known = column.dropna().to_numpy(dtype=float)
    if not len(known):
        return {}
    mean, low, high, _ = paired.summary(known, ALPHA)
    return {name: f"${mean:{sign}.2f}$", f"{name}.ci": f"$[{low:{sign}.2f}, {high:{sign}.2f}]$"}
