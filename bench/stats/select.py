"""Choosing the depth of a strategy on validation data, as somebody who uses it would have to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.schema import ACCURACY, CHOSEN
from bench.scores import score_name
from bench.stats.gap import COMPARISON_KEY, prepare

if TYPE_CHECKING:
    import pandas as pd

SUFFIX = " (depth by validation)"
DEPTHS = ["transfer_depth", "frozen_depth"]
STRATEGY_KEY = [name for name in COMPARISON_KEY if name not in DEPTHS]


def select_depth(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep, for every strategy and seed, the depth that is best on validation data.

    The best of many depths on the test set is an optimist's number; this is the number that can be had.
    Of equal validation scores, or where they are undefined, the lower validation loss wins, then the shallower
    point. A strategy that has one depth only, and training from scratch, pass through as they are.

    Parameters
    ----------
    rows : DataFrame
        One row a trial, columns as in :data:`bench.schema.TRIAL`.

    Returns
    -------
    DataFrame
        Rows for :func:`bench.stats.gap.negative_transfer`. Those that were chosen have the strategy
        ``"<name> (depth by validation)"``, no transfer and frozen depth (they differ between seeds), and
        the depth in `chosen_transfer_depth` and `chosen_frozen_depth`. ``attrs["warnings"]`` says where
        no choice could be made for want of validation scores: such trials are failed rows.

    Raises
    ------
    DataError
        As :func:`bench.stats.gap.negative_transfer` does.
    """
    import pandas as pd

    rows = prepare(rows)
    where = rows.groupby(STRATEGY_KEY, dropna=False).ngroup()
    point = rows.groupby(DEPTHS, dropna=False).ngroup()
    open_choice = (point.groupby(where).transform("nunique") > 1) & rows["source"].notna()
    fixed, candidates = rows[~open_choice], rows[open_choice]
    # A completed trial that was not validated cannot be chosen, whatever its test score.
    undefined = (candidates["metric"] != ACCURACY) & candidates["val_loss"].notna()
    able = candidates["done"] & (candidates["val_score"].notna() | undefined)
    order = [*STRATEGY_KEY, "seed", "able", "val_score", "val_loss", *DEPTHS]
    upwards = [name not in ("able", "val_score") for name in order]
    ranked = candidates.assign(able=able).sort_values(order, ascending=upwards, kind="stable")
    chosen = ranked.drop_duplicates([*STRATEGY_KEY, "seed"]).copy()
    blind = chosen["done"] & ~chosen["able"]
    what = f"validation {score_name(rows)}"
    chosen.loc[blind, ["status", "error"]] = ["failed", f"no {what} to choose a depth by"]
    for name, depth in zip(CHOSEN, DEPTHS, strict=True):
        chosen[name] = chosen[depth].where(chosen["able"])
        chosen[depth] = pd.array([pd.NA] * len(chosen), dtype="Int64")
    chosen["strategy"] = chosen["strategy"] + SUFFIX
    result = pd.concat([fixed, chosen.drop(columns="able")], ignore_index=True).drop(columns="done")
    lost = int(blind.sum())
    result.attrs = {"warnings": [f"No {what} to choose a depth by in {lost} cases."] if lost else []}
    return result
