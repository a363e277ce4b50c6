"""Whether the grid of learning rates was wide enough for every strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.schema import OK

if TYPE_CHECKING:
    import pandas as pd

SHARE = 0.8
FEWEST = 10


def grid_edges(rows: pd.DataFrame) -> list[str]:
    """Say which strategies mostly chose the smallest or the largest learning rate that any trial chose.

    A best rate at the edge of the grid may lie beyond it, and part of a gap may then be a rate that was
    never tried, not the transfer. Judged per target, backbone, size and strategy with at least ten
    finished trials; a grid of one rate has no edge.

    Parameters
    ----------
    rows : DataFrame
        As :func:`bench.load_results` gives it.

    Returns
    -------
    list of str
        One sentence an edge that is leant on, for the sizes where at least 80 % of the trials did.
    """
    trained = rows[(rows["status"] == OK) & rows["learning_rate"].notna()]
    said = []
    for (target, backbone), part in trained.groupby(["target", "backbone"]):
        rates = part["learning_rate"]
        low, high = rates.min(), rates.max()
        if low == high:
            continue
        for edge, name, way in ((high, "largest", "larger"), (low, "smallest", "smaller")):
            at_edge = part.assign(edge=rates == edge).groupby(["strategy", "target_size"])["edge"]
            share = at_edge.mean()[(at_edge.mean() >= SHARE) & (at_edge.size() >= FEWEST)]
            if share.empty:
                continue
            cases = ", ".join(f"{strategy} at size {size} ({value:.0%})" for (strategy, size), value in share.items())
            said.append(
                f"The {name} learning rate chosen for {target} ({backbone}), {edge:g}, was the choice of most trials "
                f"of {cases}: a {way} rate may suit them better, so part of their gap may be the grid's."
            )
    return said
