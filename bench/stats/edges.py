"""Whether the grids of learning rates and of solved heads' strengths were wide enough for every strategy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.schema import OK

if TYPE_CHECKING:
    import pandas as pd

SHARE = 0.8
FEWEST = 10
FEWEST_ALIKE = 3  # trials that tell something where every one of them chose the edge
# The column of what was chosen, that of what was tried (and the key to extend), and what it is called.
_GRIDS = (
    ("learning_rate", "learning_rates", "learning rate", "rate"),
    ("head_strength", "head_strengths", "strength of a solved head's penalty", "strength"),
)


def grid_edges(rows: pd.DataFrame) -> list[str]:
    """Say which strategies mostly chose the smallest or the largest learning rate, or strength, of the grid.

    A best value at the edge of the grid may lie beyond it, and part of a gap may then be a value that was
    never tried, not the transfer. Judged per target, backbone, size and strategy with at least ten
    finished trials, or three that all chose the edge. The grid is what the rows say was tried (columns
    `learning_rates` and `head_strengths`); where they do not, the rates that any trial chose. A grid of one
    value has no edge, and of two strengths both are one, which says nothing.

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
    done = rows[rows["status"] == OK]
    return [sentence for grid in _GRIDS if grid[0] in done.columns for sentence in _leant_on(done, *grid)]


def _leant_on(done: pd.DataFrame, chosen: str, tried: str, called: str, short: str) -> Iterator[str]:
    trained = done[done[chosen].notna()]
    if chosen == "head_strength":  # where phases follow, one strength was given and none was chosen
        trained = trained[trained[tried].notna()] if tried in done.columns else trained.iloc[:0]
    for (target, backbone), part in trained.groupby(["target", "backbone"]):
        grid, what = _grid(part, chosen, tried)
        if len(grid) < 2 or (chosen == "head_strength" and len(grid) < 3):
            continue
        for edge, name, way in ((grid[-1], "largest", "larger"), (grid[0], "smallest", "smaller")):
            at_edge = (part[chosen] / edge - 1).abs() < 1e-5  # rows say what was tried to six digits
            by_arm = part.assign(edge=at_edge).groupby(["strategy", "target_size"])["edge"]
            mean, size = by_arm.mean(), by_arm.size()
            share = mean[((mean >= SHARE) & (size >= FEWEST)) | ((mean == 1) & (size >= FEWEST_ALIKE))]
            if share.empty:
                continue
            arms = ", ".join(f"{strategy} at size {size} ({value:.0%})" for (strategy, size), value in share.items())
            if len(share) == len(mean) > 1:
                arms = f"every strategy and size ({arms})"
            beyond = "" if what == "chosen" else f" Add {_beyond(grid, edge):.2g} to {tried} to know."
            yield (
                f"The {name} {called} {what} for {target} ({backbone}), {edge:g}, was the choice of most trials "
                f"of {arms}: a {way} {short} may suit them better, so part of their gap may be the grid's.{beyond}"
            )


def _grid(part: pd.DataFrame, chosen: str, tried: str) -> tuple[list[float], str]:
    """Return the values of a grid, ascending, and whether they are all that were tried or chosen."""
    said = part[tried].dropna() if tried in part.columns else part[chosen].iloc[:0]
    if len(said) == len(part):
        return sorted({float(value) for text in said.unique() for value in text.split(", ")}), "tried"
    return sorted(part[chosen].unique()), "chosen"


def _beyond(grid: list[float], edge: float) -> float:
    """Return the value that continues a grid beyond an edge in its own proportion."""
    return edge * edge / (grid[-2] if edge == grid[-1] else grid[1])
