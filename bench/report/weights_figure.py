"""What a weighting of source examples learned, and how much of the oracle's gain it won back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.errors import DataError
from bench.report.drawing import footnote
from bench.report.grid import depth_labels
from bench.report.style import COLUMN, GRID, PAGE, PALETTE, QUIET, figure_style, signed
from bench.stats import paired
from bench.stats.won_back import won_back

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEEDED = ("source", "weighting", "source_seed", "example", "weight", "harmful")
TRAINING = ("source", "target", "backbone", "weighting", "target_size", "seed", "joint")
HARMFUL, HELPFUL = PALETTE[1], PALETTE[0]
BINS = 36
TOP = 0.995  # of the weights; the few above are drawn in the last bin
MOST = 60


def example_weights(weights: pd.DataFrame) -> Figure:
    """Draw how the weights of harmful and of other source examples are distributed.

    One panel for each source and weighting, the mean over the training, over all seeds; a weight of 1 is the
    mean. The number is the area under the ROC curve, the chance that a harmful example weighs less than
    another one (ties count half), with its 95 % interval over seeds: 0.5 is no knowledge.

    Parameters
    ----------
    weights : DataFrame
        One row an example, as :func:`bench.weight_files.load_weights` gives it: `source`, `weighting`,
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
    with figure_style():
        figure = Figure(figsize=(width, 1.2 * len(sources) + 0.55), layout="constrained")
        axes = figure.subplots(len(sources), len(ways), squeeze=False, sharex=True)
        right = max(1.5, float(last["share"].quantile(TOP)))
        for i, source in enumerate(sources):
            for j, way in enumerate(ways):
                part = last[(last["source"] == source) & (last["weighting"] == way)]
                _draw(axes[i, j], part, np.linspace(0, right, BINS))
                axes[i, j].set_title(f"{source}, {way}", fontsize=6.5)
        for axis in axes[-1]:
            axis.set_xlabel("weight (mean 1)")
        for axis in axes[:, 0]:
            axis.set_ylabel("density")
        seeds = last.groupby(["source", "weighting"])["source_seed"].nunique()
        counted = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
        footnote(
            figure, f"{counted} source seeds, mean over the training. AUROC with its 95 % interval; 0.5: no knowledge."
        )
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


def share_won_back(rows: pd.DataFrame, *, uniform: str = "uniform", oracle: str = "oracle") -> Figure:
    """Draw what share of the oracle's gain over uniform weights each weighting won back.

    One line a place and weighting, with Fieller's 95 % interval (:func:`bench.stats.won_back.won_back`). At
    0 the weighting did nothing, at 1 it did as well as knowing which examples are harmful. To the right
    stand the gain itself and what could be gained, in points. Where the oracle did not surely gain, there
    is no share, and the line says so.

    Parameters
    ----------
    rows : DataFrame
        One row a trial, columns as in :data:`bench.schema.TRIAL`, with several values of `weighting`.
    uniform, oracle : str
        What `weighting` calls them.

    Raises
    ------
    DataError
        When there is no weighting besides uniform and the oracle.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    table = won_back(rows, uniform=uniform, oracle=oracle)
    if table.empty:
        raise DataError(f"no weighting besides {uniform} and {oracle} has a result beside the uniform one")
    ways = sorted(table["weighting"].unique())
    table = _named(table)
    # The largest winnable gains where there are too many lines for a page.
    shown = table.assign(order=table["winnable"].fillna(0.0)).sort_values("order", ascending=False, kind="stable")
    kept = list(dict.fromkeys(shown["place"]))[: MOST // len(ways)]
    table = table[table["place"].isin(kept)]
    places = list(dict.fromkeys(table["place"]))
    with figure_style():
        height = 0.13 * len(places) * max(1, len(ways) * 0.75) + 0.85
        figure = Figure(figsize=(COLUMN if len(places) <= 8 else PAGE, height), layout="constrained")
        axis = figure.subplots()
        for row in table.to_dict("records"):
            j = ways.index(row["weighting"])
            y = places.index(row["place"]) + (j - (len(ways) - 1) / 2) * 0.8 / len(ways)
            _line(axis, y, row, PALETTE[j % len(PALETTE)])
        if len(ways) > 1:
            named = [Line2D([], [], color=PALETTE[j % len(PALETTE)], marker="o", markersize=3.4, label=way)
                     for j, way in enumerate(ways)]  # fmt: skip
            figure.legend(handles=named, loc="outside upper center", ncols=len(ways), labelcolor="linecolor")
        _excuse(axis, table, places)
        _dress(axis, table, places, len(kept) < shown["place"].nunique(), oracle)
    return figure


def _named(table: pd.DataFrame) -> pd.DataFrame:
    labels = depth_labels(table)
    depth = [
        str(
            labels[row.strategy, None if row.transfer_depth is None else int(row.transfer_depth), int(row.frozen_depth)]
        )
        for row in table.itertuples()
    ]
    pairs = table["source"] + " \N{RIGHTWARDS ARROW} " + table["target"]
    sizes = table["target_size"].map(lambda size: f"{size:,} labels" if size else "no label")
    return table.assign(place=[f"{p}, {d}, {s}" for p, d, s in zip(pairs, depth, sizes, strict=True)])


def _line(axis: Axes, y: float, row: dict, colour: str) -> None:
    gain = f"{signed(row['won'])} of {signed(row['winnable'])}" if np.isfinite(row["winnable"]) else signed(row["won"])
    if np.isfinite(row["share"]):
        axis.hlines(y, row["share_low"], row["share_high"], color=colour, linewidth=1.1)
        axis.plot([row["share"]], [y], "o", color=colour, markersize=3.4)
    axis.annotate(gain, (1, y), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
                  fontsize=5.6, va="center", color=colour, annotation_clip=False)  # fmt: skip


def _excuse(axis: Axes, table: pd.DataFrame, places: list[str]) -> None:
    """Say why a place has no share, once."""
    for place, part in table[table["share"].isna()].groupby("place", sort=False):
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
        axis.text(0.5, places.index(place), part["note"].iloc[0], fontsize=5.6, color=QUIET, ha="center", va="center",
                  style="italic", bbox=box)  # fmt: skip


def _dress(axis: Axes, table: pd.DataFrame, places: list[str], cut: bool, oracle: str) -> None:
    known = table[table["share"].notna()]
    low, high = known["share_low"].min() if len(known) else 0.0, known["share_high"].max() if len(known) else 1.0
    axis.set_xlim(max(-1.1, min(low, 0.0) - 0.1), min(2.1, max(high, 1.0) + 0.1))
    axis.set_ylim(len(places) - 0.4, -0.7)
    axis.axvline(0, color="black", linewidth=0.6)
    axis.axvline(1, color="black", linewidth=0.6, linestyle="--")
    axis.set_yticks(range(len(places)), places, fontsize=5.8)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.grid(axis="x", color=GRID, linewidth=0.5)
    axis.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %".replace("-", "\N{MINUS SIGN}"))
    axis.set_xlabel(f"share of the {oracle}'s gain won back")
    seeds = sorted({int(n) for n in table["n_seeds"]})
    counted = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    more = " Those with the most to win." if cut else ""
    footnote(
        axis.figure,
        f"Fieller's 95 % intervals over {counted} seeds. Right: points gained, of those that the {oracle} gains.{more}",
    )
