"""The numbers on weightings of source examples: planted harm, and the findings of two papers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.stats import paired
from bench.stats.won_back import won_back
from ntbench_paper.values import Values, count, gap, general, size

if TYPE_CHECKING:
    import pandas as pd

    from bench.report.material import Part

ALPHA = 0.05


def weighting(part: Part) -> Values:
    """Planted harm: how well weights find it, what that wins back, and what becomes of the gap to scratch."""
    rows, table = part.rows, part.comparisons
    values = general(part) | _planted(part)
    judged = rows[rows["weight_auroc"].notna() & (rows["strategy"] == "zero-shot")]
    for (source, name, n), block in judged.groupby(["source", "weighting", "target_size"]):
        values |= _mean(f"auroc.{source}.{name}.{n}", block["weight_auroc"], sign="")
        values |= _mean(f"with-loss.{source}.{name}.{n}", block["weight_loss_correlation"], sign="+")
    for row in won_back(rows, alpha=ALPHA).itertuples():
        place = f"{row.source}.{row.strategy}"
        values[f"winnable.{place}.{row.target_size}"] = gap(row.winnable)
        if row.share == row.share:
            name = f"share.{place}.{row.weighting}.{row.target_size}"
            values |= {
                name: _percent(row.share),
                f"{name}.ci": f"{_percent(row.share_low)} to {_percent(row.share_high)}",
            }
    for (strategy, name, n), block in table.groupby(["strategy", "weighting", "target_size"]):
        place = f"{strategy}.{name}.{n}"
        values |= {f"gap.{place}": gap(block["ntg"].mean()), f"of.{place}": count(len(block))}
        values[f"negative.{place}"] = count((block["verdict"] == "negative").sum())
    return values


def _planted(part: Part) -> Values:
    """Return the share of examples in which harm was planted, in percent."""
    values = {}
    for name, task in part.config["tasks"].items():
        noise, mix = task.get("label_noise"), task.get("mix")
        share = noise.get("rate") if isinstance(noise, dict) else noise if noise else mix["share"] if mix else None
        values |= {} if share is None else {f"planted.{name}": _percent(share)}
    return values


def _percent(share: float) -> str:
    return f"${round(100 * share):d}$"


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
        values[f"closed.{row.source}"] = _percent(row.share)
        values[f"closed.{row.source}.ci"] = f"{_percent(row.share_low)} to {_percent(row.share_high)}"
    return values


def _mean(name: str, column: pd.Series, *, sign: str) -> Values:
    """Write the mean over seeds with its interval; nothing where there is no value."""
    known = column.dropna().to_numpy(dtype=float)
    if not len(known):
        return {}
    # No minus before a zero.
    mean, low, high = (round(value, 2) + 0.0 for value in paired.summary(known, ALPHA)[:3])
    return {name: f"${mean:{sign}.2f}$", f"{name}.ci": f"$[{low:{sign}.2f}, {high:{sign}.2f}]$"}
