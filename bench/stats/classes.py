"""The gap class by class: a transfer may help on average and ruin one class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.schema import SCRATCH
from bench.stats import paired
from bench.stats.gap import COMPARISON_KEY, SETTING, prepare
from bench.stats.verdict import correct as correct_p

if TYPE_CHECKING:
    import pandas as pd


def per_class_gap(rows: pd.DataFrame, values: pd.DataFrame, *, alpha: float = 0.05) -> pd.DataFrame:
    """Compare every transfer with scratch on each class.

    Parameters
    ----------
    rows : DataFrame
        One row a trial, columns as in :data:`bench.schema.TRIAL`.
    values : DataFrame
        What each trial scores on every class, as :func:`bench.ledger.results.load_per_class` gives it: `key`, `metric`,
        `class` and `value`.
    alpha : float

    Returns
    -------
    DataFrame
        What identifies a comparison, `class_metric`, `class`, `n_seeds`, `scratch_value`, `transfer_value`, `ntg`
        (scratch minus transfer; above 0 is harm), `ntg_low`, `ntg_high` and `p_value` (paired t over seeds), and
        `p_holm` over the classes of a comparison. Seeds in which either is undefined are left out.
    """
    import pandas as pd

    rows = prepare(rows)
    rows = rows[rows["done"]]
    scratch = rows[rows["source"].isna() & (rows["strategy"] == SCRATCH)]
    beside = scratch[[*SETTING, "seed", "key"]].rename(columns={"key": "scratch_key"})
    trials = rows[rows["source"].notna() & (rows["target_size"] > 0)].merge(beside, on=[*SETTING, "seed"])
    what = ["class_metric", "class"]
    mine = values.rename(columns={"metric": what[0], "value": "transfer"})[["key", *what, "transfer"]]
    theirs = mine.rename(columns={"key": "scratch_key", "transfer": "scratch"})
    both = trials[[*COMPARISON_KEY, "key", "scratch_key"]].merge(mine, on="key")
    both = both.merge(theirs, on=["scratch_key", *what]).dropna(subset=["transfer", "scratch"])
    group = [*COMPARISON_KEY, *what]
    found = []
    for place, part in both.groupby(group, dropna=False, sort=False):
        gap = paired.summary((part["scratch"] - part["transfer"]).to_numpy(), alpha)
        found.append((*place, len(part), part["scratch"].mean(), part["transfer"].mean(), *gap))
    columns = ["n_seeds", "scratch_value", "transfer_value", "ntg", "ntg_low", "ntg_high", "p_value"]
    table = pd.DataFrame(found, columns=[*group, *columns])
    families = table.groupby([*COMPARISON_KEY, what[0]], dropna=False).ngroup()
    return table.assign(p_holm=correct_p(table["p_value"], families, "holm"))
