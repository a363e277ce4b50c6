"""Effective data transferred: how much scratch data a transfer is worth (Hernandez et al., 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.schema import SCRATCH
from bench.scores import as_accuracy
from bench.stats.bootstrap import percentiles, seed_weights
from bench.stats.gap import COMPARISON_KEY, SETTING, prepare

if TYPE_CHECKING:
    import pandas as pd

PLACE = [name for name in SETTING if name != "target_size"]
RESAMPLES = 2_000
VALUES = (
    "n_seeds", "transfer_score", "effective_size", "transferred", "multiple", "multiple_low", "multiple_high",
    "censored", "low_censored", "high_censored",
)  # fmt: skip
AT_LEAST, AT_MOST = "at least", "at most"


def effective_data(rows: pd.DataFrame, *, alpha: float = 0.05, resamples: int = RESAMPLES) -> pd.DataFrame:
    r"""Say to how many labelled examples of training from scratch every transfer is equal.

    The effective data :math:`D_E` is where scratch reaches the transfer's mean test score; with
    :math:`D_F` target examples given, transfer was worth :math:`D_T = D_E - D_F` examples and multiplied
    the data by :math:`D_E / D_F` (Hernandez, Kaplan, Henighan & McCandlish, "Scaling laws for transfer",
    2021, who use the loss). Scratch's means are made monotone in size (isotonic regression) and
    interpolated linearly in score over the logarithm of the size. Beyond the sizes that scratch was
    trained with nothing is extrapolated: such a value is the last size and `censored` says "at least" or
    "at most". Below 1, a multiple says how much of the data negative transfer wasted.

    Parameters
    ----------
    rows : DataFrame
        One row a trial, columns as in :data:`bench.schema.TRIAL`.
    alpha : float
    resamples : int
        Of the seeds that the transfer and every scratch size share, in the bootstrap of the interval.

    Returns
    -------
    DataFrame
        What identifies a comparison, `n_seeds`, `transfer_score` (`transfer_accuracy` of rows by accuracy),
        `effective_size`, `transferred`
        (D_T), `multiple`, `multiple_low`, `multiple_high`, and `censored`, `low_censored`,
        `high_censored` ("at least", "at most" or missing). Settings where scratch has one size only are
        left out; ``attrs["warnings"]`` says so.

    Raises
    ------
    DataError
        As :func:`bench.stats.gap.negative_transfer` does.
    """
    import pandas as pd

    done = prepare(rows)
    done = done[done["done"]]
    found: list[dict[str, Any]] = []
    warnings = []
    for place, scratch in done[done["source"].isna() & (done["strategy"] == SCRATCH)].groupby(PLACE, dropna=False):
        levels = scratch.pivot_table(index="seed", columns="target_size", values="test_score").dropna()
        if levels.shape[1] < 2 or levels.empty:
            warnings.append(f"Scratch has one size only for {place[2]}, {place[3]}: no effective data there.")
            continue
        same = [_equal(done[name], value) for name, value in zip(PLACE, place, strict=True)]
        transfer = done[np.logical_and.reduce(same) & done["source"].notna().to_numpy()]
        for key, part in transfer.groupby(COMPARISON_KEY, dropna=False, sort=True):
            found.append(dict(zip(COMPARISON_KEY, key, strict=True)) | _one(part, levels, alpha, resamples))
    table = as_accuracy(pd.DataFrame(found, columns=[*COMPARISON_KEY, *VALUES]))
    table.attrs["warnings"] = warnings
    return table


def _equal(column: pd.Series, value: Any) -> np.ndarray:
    import pandas as pd

    return (column.isna() if pd.isna(value) else column.eq(value).fillna(False)).to_numpy(dtype=bool)


def _one(part: pd.DataFrame, levels: pd.DataFrame, alpha: float, resamples: int) -> dict[str, Any]:
    """Return the numbers of one comparison."""
    score = part.drop_duplicates("seed").set_index("seed")["test_score"]
    seeds = levels.index.intersection(score.index)
    size = float(part["target_size"].iloc[0])
    if not len(seeds):
        return {"n_seeds": 0}
    sizes = np.log(levels.columns.to_numpy(dtype=float))
    curve, reached = levels.loc[seeds].to_numpy(dtype=float), score[seeds].to_numpy(dtype=float)
    log_size, censored = equal_size(sizes, monotone(curve.mean(axis=0)), float(reached.mean()))
    ends: np.ndarray = np.full(2, np.nan)
    ends_censored: tuple[str | None, str | None] = (None, None)
    if len(seeds) > 1:
        drawn = seed_weights(len(seeds), resamples) / len(seeds)
        worth = [equal_size(sizes, monotone(c), a)[0] for c, a in zip(drawn @ curve, drawn @ reached, strict=True)]
        low, high = (float(end[0]) for end in percentiles(np.array(worth)[:, None], len(seeds), alpha))
        ends, ends_censored = np.exp([low, high]), (_at_end(low, sizes), _at_end(high, sizes))
    per = size if size > 0 else np.nan
    return {
        "n_seeds": len(seeds), "transfer_score": float(reached.mean()), "effective_size": float(np.exp(log_size)),
        "transferred": float(np.exp(log_size)) - size, "multiple": float(np.exp(log_size)) / per,
        "multiple_low": float(ends[0]) / per, "multiple_high": float(ends[1]) / per,
        "censored": censored, "low_censored": ends_censored[0], "high_censored": ends_censored[1],
    }  # fmt: skip


def monotone(score: np.ndarray) -> np.ndarray:
    """Return the non-decreasing sequence nearest to `score` (isotonic regression), shape (sizes,)."""
    if (np.diff(score) >= 0).all():
        return score
    from scipy.optimize import isotonic_regression

    return isotonic_regression(score).x


def equal_size(log_sizes: np.ndarray, score: np.ndarray, reached: float) -> tuple[float, str | None]:
    """Return the log size at which a non-decreasing curve first has the score `reached`, and how it is censored."""
    if reached < score[0]:
        return float(log_sizes[0]), AT_MOST
    if reached > score[-1]:
        return float(log_sizes[-1]), AT_LEAST
    above = int(np.searchsorted(score, reached, side="left"))
    if above == 0:
        return float(log_sizes[0]), None
    share = (reached - score[above - 1]) / (score[above] - score[above - 1])
    return float(log_sizes[above - 1] + share * (log_sizes[above] - log_sizes[above - 1])), None


def _at_end(log_size: float, log_sizes: np.ndarray) -> str | None:
    """Say whether an end of an interval stands where the sizes end, beyond which nothing is known."""
    if log_size <= log_sizes[0] + 1e-12:
        return AT_MOST
    return AT_LEAST if log_size >= log_sizes[-1] - 1e-12 else None
