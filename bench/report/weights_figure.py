"""How the weights of harmful and of other source examples are distributed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.errors import DataError
from bench.report.drawing import footnote, settle
from bench.report.style import COLUMN, PAGE, PALETTE, counted_range, figure_style
from bench.stats import paired

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEEDED = ("source", "weighting", "source_seed", "example", "weight", "harmful")
TRAINING = ("source", "target", "backbone", "weighting", "target_size", "seed", "joint")
HARMFUL, HELPFUL = PALETTE[1], PALETTE[0]
BINS = 36
ACROSS = 4  # panels side by side
TOP = 0.995  # of the weights; the few above are drawn in the last bin


def example_weights(weights: pd.DataFrame) -> Figure:
    """Draw how the weights of harmful and of other source examples are distributed.

    One panel for each source and weighting, the mean over the training, over all seeds; a weight of 1 is the
    mean. The number is the area under the ROC curve, the chance that a harmful example weighs less than
    another one (ties count half), with its 95 % interval over seeds: 0.5 is no knowledge.

    Parameters
    ----------
    weights : DataFrame
        One row an example, as :func:`bench.ledger.example_weights.load_weights` gives it: `source`, `weighting`,
        `source_seed`, `example`, `weight` (any positive scale) and `harmful`.

    Raises
    ------
    DataError
        When a column is missing, or no example is known to be harmful.
    """
    from matplotlib.figure import Figure

    last = _known(weights)
    sources, ways = sorted(last["source"].unique()), list(dict.fromkeys(last["weighting"]))
    width = COLUMN if len(ways) <= 2 else PAGE
    across = min(len(ways), ACROSS)
    # A row holds weightings of one source, as many as can be read.
    lines = [(source, ways[i : i + across]) for source in sources for i in range(0, len(ways), across)]
    with figure_style():
        figure = Figure(figsize=(width, 1.2 * len(lines) + 0.55), layout="constrained")
        axes = figure.subplots(len(lines), across, squeeze=False, sharex=True)
        right = max(1.5, float(last["share"].quantile(TOP)))
        for row, (source, here) in zip(axes, lines, strict=True):
            for axis, way in zip(row, here, strict=False):
                part = last[(last["source"] == source) & (last["weighting"] == way)]
                _draw(axis, part, np.linspace(0, right, BINS))
                axis.set_title(f"{source}, {way}", fontsize=6.5)
            for axis in row[len(here) :]:
                axis.set_axis_off()
            row[0].set_ylabel("density")
        for axis in axes[-1]:
            axis.set_xlabel("weight (mean 1)")
        seeds = last.groupby(["source", "weighting"])["source_seed"].nunique()
        said = counted_range(seeds, "source seed")
        footnote(figure, f"{said}, mean over the training. AUROC with its 95 % interval; 0.5: no knowledge.")
        settle(figure)
    return figure


def _known(weights: pd.DataFrame) -> pd.DataFrame:
    """Keep examples that were seen and are known to be harmful or not; add `share`, the weight over the mean."""
    missing = [name for name in NEEDED if name not in weights]
    if missing:
        raise DataError(f"the weights lack the column {', '.join(missing)}")
    known = weights[weights["harmful"].notna()]
    known = known.assign(harmful=known["harmful"].astype(bool))
    if not known["harmful"].any() or known["harmful"].all():
        raise DataError("no source has both examples that are known to be harmful and others")
    known = known[known["weight"].notna()]
    run = [name for name in (*TRAINING, "source_seed") if name in known]
    return known.assign(share=known["weight"] / known.groupby(run, dropna=False)["weight"].transform("mean"))


def _draw(axis: Axes, part: pd.DataFrame, bins: np.ndarray) -> None:
    shares = part["share"].clip(upper=bins[-1]).to_numpy(dtype=float)
    harmful = part["harmful"].to_numpy(dtype=bool)
    # Names stand where their distribution is highest, each in its colour.
    tops = []
    for mine, colour, name in ((~harmful, HELPFUL, "helpful"), (harmful, HARMFUL, "harmful")):
        if not mine.any():
            continue
        heights, _, _ = axis.hist(shares[mine], bins, density=True, histtype="stepfilled", color=colour, alpha=0.45)
        axis.hist(shares[mine], bins, density=True, histtype="step", color=colour, linewidth=0.8)
        tops.append((float(bins[int(heights.argmax())]), float(heights.max()), name, colour, int(mine.sum())))
    axis.axvline(1, color="black", linewidth=0.5, linestyle=":")
    axis.set_yticks([])
    axis.set_ylim(0, 1.3 * max(top for _, top, *_ in tops))
    for i, (_, _, name, colour, count) in enumerate(tops):
        axis.text(0.98, 0.95 - 0.13 * i, f"{name} ({count:,})", color=colour, fontsize=6, transform=axis.transAxes,
                  ha="right", va="top")  # fmt: skip
    axis.text(0.98, 0.95 - 0.13 * len(tops), _auroc(part), fontsize=6, transform=axis.transAxes, ha="right", va="top")


def _auroc(part: pd.DataFrame) -> str:
    from scipy import stats

    found = []
    for _, one in part.groupby("source_seed"):
        bad, good = one.loc[one["harmful"], "weight"], one.loc[~one["harmful"], "weight"]
        if len(bad) and len(good):
            found.append(stats.mannwhitneyu(good, bad).statistic / (len(bad) * len(good)))
    if not found:
        return ""
    mean, low, high, _ = paired.summary(np.array(found), 0.05)
    return f"AUROC {mean:.2f}" + ("" if np.isnan(low) else f" [{max(low, 0):.2f}, {min(high, 1):.2f}]")
