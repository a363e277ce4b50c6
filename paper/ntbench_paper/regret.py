"""What it costs that the depth must be chosen on a few validation examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.schema import CHOSEN
from bench.scores import as_accuracy
from bench.stats import paired
from bench.stats.gap import prepare
from bench.stats.select import DEPTHS, STRATEGY_KEY, SUFFIX, select_depth

if TYPE_CHECKING:
    import pandas as pd


def depth_regret(rows: pd.DataFrame, *, alpha: float = 0.05) -> pd.DataFrame:
    """Compare the depth that validation chooses, seed by seed, with the depth that turned out best.

    The best depth is the one with the highest mean test score over the seeds: hindsight, which a
    user does not have. It is picked by the same numbers that it is judged by, so its score is a little
    too high and the regret with it; `regret_left_out` picks it for each seed by the other seeds alone,
    which errs the other way.

    Parameters
    ----------
    rows : DataFrame
        One row a trial, columns as in :data:`bench.schema.TRIAL`.
    alpha : float

    Returns
    -------
    DataFrame
        One row for each pair, strategy and size with several depths: `n_seeds`, `n_depths`,
        `best_transfer_depth`, `best_frozen_depth`, `best_score`, `chosen_score`, `regret` (best
        minus chosen, at least what chance leaves) with `regret_low` and
        `regret_high` (paired t over seeds, the best depth taken as known), `regret_left_out`,
        `worst_score` (of the worst depth) and `share_best` (of seeds in which validation chose the
        best depth). Of rows by accuracy the scores are called `best_accuracy` and so on.
    """
    import pandas as pd

    done = prepare(rows)
    done = done[done["done"] & done["source"].notna()]
    chosen = select_depth(rows)
    chosen = chosen[(chosen["status"] == "ok") & chosen["strategy"].str.endswith(SUFFIX).fillna(False)]
    chosen = chosen.assign(strategy=chosen["strategy"].str.removesuffix(SUFFIX))
    picked = {key: part.set_index("seed") for key, part in chosen.groupby(STRATEGY_KEY, dropna=False)}
    columns = [*STRATEGY_KEY, "n_seeds", "n_depths", "best_transfer_depth", "best_frozen_depth", "best_score",
               "chosen_score", "regret", "regret_low", "regret_high", "regret_left_out", "worst_score",
               "share_best"]  # fmt: skip
    found = []
    for key, part in done.groupby(STRATEGY_KEY, dropna=False, sort=True):
        if key in picked and part.groupby(DEPTHS, dropna=False).ngroups > 1:
            found.append(dict(zip(STRATEGY_KEY, key, strict=True)) | _one(part, picked[key], alpha))
    return as_accuracy(pd.DataFrame([row for row in found if row["n_seeds"]], columns=columns))


def _one(part: pd.DataFrame, chosen: pd.DataFrame, alpha: float) -> dict[str, Any]:
    """Compare over the seeds in which every depth has a result and one was chosen."""
    wide = part.pivot_table(index="seed", columns=DEPTHS, values="test_score", aggfunc="first").dropna()
    wide = wide.loc[wide.index.intersection(chosen.index)]
    if wide.empty:
        return {"n_seeds": 0}
    mean = wide.mean().round(12)
    best = mean.idxmax()  # of equals the shallower, as in the choice on validation data
    reached = chosen.loc[wide.index, "test_score"].astype(float)
    regret, low, high, _ = paired.summary((wide[best] - reached).to_numpy(), alpha)
    others = (wide.sum() - wide).round(12)  # of each depth over all seeds but this one
    left_out = [wide.loc[seed, others.loc[seed].idxmax()] for seed in wide.index] if len(wide) > 1 else []
    right = (chosen.loc[wide.index, list(CHOSEN)].to_numpy(dtype=float) == [float(depth) for depth in best]).all(axis=1)
    return {
        "n_seeds": len(wide), "n_depths": wide.shape[1], "best_transfer_depth": int(best[0]),
        "best_frozen_depth": int(best[1]), "best_score": float(mean[best]), "chosen_score": float(reached.mean()),
        "regret": regret, "regret_low": low, "regret_high": high,
        "regret_left_out": float((left_out - reached).mean()) if left_out else float("nan"),
        "worst_score": float(mean.min()), "share_best": float(right.mean()),
    }  # fmt: skip
