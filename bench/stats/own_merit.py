"""What a method gains without any transfer: the scratch arms that use one, which no comparison shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.schema import OK, SCRATCH
from bench.scores import scale_of

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 5
_PLACE = ["suite", "metric", "target", "backbone", "target_size"]


def own_merits(rows: pd.DataFrame) -> list[str]:
    """Say what scratch reaches by methods that need no source, where it was run: their part in a transfer's gap.

    Parameters
    ----------
    rows : DataFrame
        As :func:`bench.load_results` gives it.
    """
    if "method" not in rows.columns:
        return []
    done = rows[(rows["status"] == OK) & rows["source"].isna()]
    said = []
    for place, part in done.groupby(_PLACE, dropna=False):
        plain = part[part["strategy"] == SCRATCH].set_index("seed")["test_score"]
        for name, arm in part[part["method"].notna()].groupby("strategy", sort=False):
            seeds = arm.set_index("seed")["test_score"]
            seeds = seeds[seeds.index.isin(plain.index)]
            if not len(seeds):
                continue
            scale = scale_of(part)
            reached, gap = (scale.score(seeds.mean()), scale.gap((plain.loc[seeds.index] - seeds).mean()))
            _, _, target, backbone, size = place
            said.append(
                f"{name} for {target} ({backbone}, size {size}) reaches {reached} without a source, a gap of {gap} "
                f"{scale.units} to plain scratch: of a transfer by that method, so much is not the transfer's."
            )
    more = len(said) - SHOWN
    return said[:SHOWN] + ([f"The same holds for {more} more (rows without a source)."] if more > 0 else [])
