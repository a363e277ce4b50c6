"""Target size x similarity: which strategy won where, and whether the textbook's advice held."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.report.drawing import footnote, settle
from bench.report.fitting import short_names, shortened
from bench.report.grid import NEAR
from bench.report.style import PAGE, QUIET, VERDICT_COLOURS, counted, counted_range, figure_style, measure_name
from bench.schema import SCRATCH, near_is_low
from bench.scores import Scale, scale_of, score_column
from bench.stats.advice import BETWEEN, FAILED, FULL, HELD, textbook

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SAID = {
    "feature-extraction": "linear classifier",
    "layer-transfer": "first blocks, frozen",
    "layer-transfer-tuned": "first blocks, tuned",
    "fine-tune": "fine-tune, chosen f",
    FULL: "fine-tune all",
    SCRATCH: "scratch",
}
OUTCOME = {HELD: ("held", VERDICT_COLOURS["positive"]), FAILED: ("failed", VERDICT_COLOURS["negative"])}
LARGEST = 0.1


def corners(rows: pd.DataFrame, *, measure: str = NEAR) -> Figure:
    """Draw which strategy won for every source and target size, beside the textbook's advice.

    A cell has the winner, how far it is ahead of scratch and in what share of resamples over seeds it
    wins; below, the advice of its corner, how far that fell behind the winner and whether it held
    (:func:`bench.stats.advice.textbook`); a source whose interval of similarity overlaps one of the other half
    stands between and has no advice. The darker a cell, the more its winner is ahead of scratch. Thick
    lines part small from large targets and similar from different sources.

    Parameters
    ----------
    rows : DataFrame
        One row a trial, columns as in :data:`bench.schema.TRIAL`, of one target and backbone.
    measure : str
        What makes a source similar.

    Raises
    ------
    DataError
        When there are not two sizes and two sources with that measure, or their intervals tell none apart.
    """
    from matplotlib.figure import Figure

    rows = rows[rows["weighting"].isna() | (rows["weighting"] == "uniform")]
    margin = rows.attrs.get("margin")
    cells = textbook(rows, measure=measure, margin=margin)
    scale = scale_of(rows)
    first = cells[["target", "backbone"]].iloc[0]
    cells = cells[(cells["target"] == first["target"]) & (cells["backbone"] == first["backbone"])]
    cells = cells.assign(ahead=cells[score_column(cells, "winner")] - cells[score_column(cells, "scratch")])
    place = cells["similar"].map({True: 0, False: 2}, na_action="ignore").astype(float).fillna(1)
    nearness = cells["similarity"] * (1 if near_is_low(measure) else -1)
    order = cells.assign(place=place, nearness=nearness).sort_values(["place", "nearness"], kind="stable")
    sources, sizes = list(dict.fromkeys(order["source"])), sorted(int(size) for size in cells["target_size"].unique())
    # As wide as the paper; of more sizes than that has room for, wider.
    width = max(min(PAGE, 1.2 + 1.45 * len(sizes)), 1.2 + 1.1 * len(sizes))
    with figure_style():
        figure = Figure(figsize=(width, 0.62 * len(sources) + 0.75), layout="constrained")
        axis = figure.subplots()
        for cell in cells.itertuples():
            _draw(axis, sizes.index(int(cell.target_size)), sources.index(cell.source), cell, scale)
        _dress(axis, cells, sources, sizes)
        footnote(figure, _key(cells, measure, scale, margin))
        settle(figure)
    return figure


def _draw(axis: Axes, x: int, y: int, cell: object, scale: Scale) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    ahead = cell.ahead
    shade = 0.32 * np.clip(ahead / (LARGEST * scale.step), 0, 1) if np.isfinite(ahead) else 0.0
    box = {"facecolor": colormaps["Blues"](shade), "edgecolor": "white", "linewidth": 1.5}
    axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, **box))
    left = x - 0.46
    axis.text(
        left,
        y - 0.3,
        shortened(SAID.get(cell.winner, cell.winner), 92, 6.8),
        fontsize=6.8,
        fontweight="bold",
        va="center",
    )
    points = "" if cell.winner == SCRATCH else f"{scale.signed(ahead)} over scratch, "
    axis.text(left, y - 0.06, f"{points}wins {100 * cell.win_share:.0f} %", fontsize=5.8, va="center")
    if cell.outcome == BETWEEN:
        axis.text(left, y + 0.17, "textbook: no advice", fontsize=5.8, va="center", color=QUIET)
        return
    advice = shortened(f"textbook: {SAID.get(cell.advised, cell.advised)}", 100, 5.8)
    axis.text(left, y + 0.17, advice, fontsize=5.8, va="center", color=QUIET)
    word, colour = OUTCOME.get(cell.outcome, (cell.outcome, QUIET))
    behind = ""
    if cell.advised == cell.winner:
        behind = ", it is the winner"
    elif np.isfinite(cell.shortfall):
        short = (-cell.shortfall, -cell.shortfall_high, -cell.shortfall_low)
        behind = ", {} [{}, {}]".format(*map(scale.signed, short))
    heavy = "bold" if cell.outcome in OUTCOME else "normal"
    axis.text(left, y + 0.36, word + behind, fontsize=5.8, va="center", color=colour, fontweight=heavy)


def _dress(axis: Axes, cells: pd.DataFrame, sources: list[str], sizes: list[int]) -> None:
    small = sum(bool(cells[cells["target_size"] == size]["small"].iloc[0]) for size in sizes)
    found = cells.drop_duplicates("source").set_index("source")["similar"]
    kinds = ["in between" if found.isna()[s] else "similar" if found[s] else "different" for s in sources]
    axis.set(xlim=(-0.5, len(sizes) - 0.5), ylim=(len(sources) - 0.5, -0.5))
    axis.axvline(small - 0.5, color="black", linewidth=1.2)
    for i in range(1, len(kinds)):
        if kinds[i] != kinds[i - 1]:
            axis.axhline(i - 0.5, color="black", linewidth=1.2)
    axis.set_xticks(range(len(sizes)), [counted(size, "label") + (" (small)" if i < small else " (large)")
                                        for i, size in enumerate(sizes)])  # fmt: skip
    distance = cells.groupby("source")["similarity"].mean()
    short = short_names(sources, 90, 6.3)
    names = [f"{short[s]}\n{distance[s]:.3g} ({kind})" for s, kind in zip(sources, kinds, strict=True)]
    axis.set_yticks(range(len(sources)), names)
    axis.tick_params(length=0, labeltop=True, labelbottom=False, labelsize=6.3)
    axis.spines[:].set_visible(False)


def _key(cells: pd.DataFrame, measure: str, scale: Scale, margin: float | None) -> str:
    name, seeds = measure_name(measure), counted_range(cells["n_seeds"], "seed")
    return (
        f"Target {cells['target'].iloc[0]}, {seeds}; sources by {name}. Depths are chosen on validation data. "
        f"In {scale.units} of {scale.label} with 95 % intervals (paired t). Wins: share of resamples over seeds. "
        "Failed: another arm is surely better (Holm over all cells and arms); held: no other arm is better by "
        f"{'a point' if margin is None else scale.margin(margin)}."
    ) + (
        " In between: the interval overlaps one of the other half's, so that no advice is meant."
        if cells["similar"].isna().any()
        else ""
    )
