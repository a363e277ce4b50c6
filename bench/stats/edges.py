"""Whether the grid of learning rates was wide enough for every strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.schema import OK

if TYPE_CHECKING:
    import pandas as pd

SHARE = 0.8
FEWEST = 10
FEWEST_ALIKE = 3  # trials that tell something where every one of them chose the edge


def grid_edges(rows: pd.DataFrame) -> list[str]:
    """Say which strategies mostly chose the smallest or the largest learning rate of the grid.

    A best rate at the edge of the grid may lie beyond it, and part of a gap may then be a rate that was
    never tried, not the transfer. Judged per target, backbone, size and strategy with at least ten
    finished trials, or three that all chose the edge. The grid is what the rows say was tried (column
    `learning_rates`); where they do not, the rates that any trial chose. A grid of one rate has no edge.

    Parameters
    ----------
    rows : DataFrame
        As :func:`bench.load_results` gives it.

    Returns
    -------
    list of str
        One sentence an edge that is leant on, for the sizes where at least 80 % of the trials did, with the
        way in which to extend the grid.
    """
    trained = rows[(rows["status"] == OK) & rows["learning_rate"].notna()]
    said = []
    for (target, backbone), part in trained.groupby(["target", "backbone"]):
        grid, what = _grid(part)
        if len(grid) < 2:
            continue
        for edge, name, way in ((grid[-1], "largest", "larger"), (grid[0], "smallest", "smaller")):
            at_edge = (part["learning_rate"] / edge - 1).abs() < 1e-5  # rows say what was tried to six digits
            by_arm = part.assign(edge=at_edge).groupby(["strategy", "target_size"])["edge"]
            mean, size = by_arm.mean(), by_arm.size()
            share = mean[((mean >= SHARE) & (size >= FEWEST)) | ((mean == 1) & (size >= FEWEST_ALIKE))]
            if share.empty:
                continue
            arms = ", ".join(f"{strategy} at size {size} ({value:.0%})" for (strategy, size), value in share.items())
            if len(share) == len(mean) > 1:
                arms = f"every strategy and size ({arms})"
            beyond = "" if what == "chosen" else f" Add {_beyond(grid, edge):.2g} to learning_rates to know."
            said.append(
                f"The {name} learning rate {what} for {target} ({backbone}), {edge:g}, was the choice of most trials "
                f"of {arms}: a {way} rate may suit them better, so part of their gap may be the grid's.{beyond}"
            )
    return said


def _grid(part: pd.DataFrame) -> tuple[list[float], str]:
    """Return the learning rates of a grid, ascending, and whether they are all that were tried or chosen."""
    tried = part["learning_rates"].dropna() if "learning_rates" in part.columns else part["learning_rate"].iloc[:0]
    if len(tried) == len(part):
        return sorted({float(rate) for text in tried.unique() for rate in text.split(", ")}), "tried"
    return sorted(part["learning_rate"].unique()), "chosen"


def _beyond(grid: list[float], edge: float) -> float:
    """Return the rate that continues a grid beyond an edge in its own proportion."""
    return edge * edge / (grid[-2] if edge == grid[-1] else grid[1])
