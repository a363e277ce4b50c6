"""What many pairs say together: how often transfer harms, which pair is worst, and whether distance tells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import DataError, unknown
from bench.identity import derive
from bench.schema import ENDS, similarity_columns
from bench.scores import scale_of
from bench.stats import paired
from bench.stats.bootstrap import RESAMPLES, seed_weights
from bench.stats.gap import COMPARISON_KEY, paired_trials
from bench.stats.nearness import ranks, similarity_means, surely_nearer

if TYPE_CHECKING:
    import pandas as pd

POINT = ("strategy", "transfer_depth", "frozen_depth", "target_size")
FEWEST_PAIRS = 4
EXACT_PERMUTATIONS = 50_000  # 8 pairs have 40,320


def negative_share(comparisons: pd.DataFrame, by: Sequence[str] = POINT, *, alpha: float = 0.05) -> pd.DataFrame:
    """Count over pairs how often transfer harms, and name the worst pair.

    The interval of a share is Wilson's (1927): pairs count as draws from the pairs one might have taken.

    Parameters
    ----------
    comparisons : DataFrame
        As :func:`bench.stats.gap.negative_transfer` returns it.
    by : sequence of str
        Columns; one row for each of their combinations, an empty sequence for all comparisons together.
    alpha : float
        Intervals cover 1 - alpha.

    Returns
    -------
    DataFrame
        `by`, then `n_comparisons`, `n_negative` (by verdict), `share_negative` with `share_low` and
        `share_high`, `share_above_zero` (of the mean gaps, whatever the verdict), `mean_ntg`, and of the
        comparison with the largest gap `worst_source`, `worst_target`, `worst_ntg`, `worst_low`,
        `worst_high` and `worst_verdict`. The worst of many is worse than it would be on fresh seeds.

    Raises
    ------
    UnknownName
        For a column in `by` that does not identify comparisons.
    DataError
        For gaps by several metrics, unless `by` has "metric".
    """
    import pandas as pd
    from statsmodels.stats.proportion import proportion_confint

    for name in by:
        if name not in COMPARISON_KEY:
            raise unknown("column", name, COMPARISON_KEY)
    found = []
    for place, part in _groups(comparisons, by):
        if part.empty:
            continue
        n, negative = len(part), int((part["verdict"] == "negative").sum())
        low, high = proportion_confint(negative, n, alpha, method="wilson")
        worst = part.loc[part["ntg"].idxmax()]
        found.append(
            dict(zip(by, place, strict=True))
            | {"n_comparisons": n, "n_negative": negative, "share_negative": negative / n}
            | {"share_low": low, "share_high": high, "share_above_zero": float((part["ntg"] > 0).mean())}
            | {"mean_ntg": part["ntg"].mean(), "worst_source": worst["source"], "worst_target": worst["target"]}
            | {"worst_ntg": worst["ntg"], "worst_low": worst["ntg_low"], "worst_high": worst["ntg_high"]}
            | {"worst_verdict": worst["verdict"]}
        )
    return pd.DataFrame(found)


def similarity_correlation(
    comparisons: pd.DataFrame,
    by: Sequence[str] = ("target_size",),
    *,
    measures: Sequence[str] | None = None,
    alpha: float = 0.05,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    r"""Rank-correlate the gap with measured similarity, over pairs.

    A pair's gap is its mean over whatever `by` leaves open (strategies, depths), of the points that all
    pairs have. Spearman's :math:`\rho` is turned so that above 0 the farther source harms more, whichever
    way the measure runs; pairs whose intervals of similarity overlap share their ranks
    (:func:`bench.stats.nearness.ranks`), so that similarity without intervals tells nothing. Its
    interval is a percentile bootstrap over pairs; its p value comes from permutations, all of them for up to
    eight pairs.

    Parameters
    ----------
    comparisons : DataFrame
        As :func:`bench.stats.gap.negative_transfer` returns it.
    by : sequence of str
        Columns; one row for each of their combinations and each measure.
    measures : sequence of str, optional
        All that were taken, by default.
    alpha : float
    resamples : int

    Returns
    -------
    DataFrame
        `by`, `measure`, `n_pairs`, `rho`, `rho_low`, `rho_high`, `p_value`; NaN for fewer than four pairs
        or where the gap is the same for all or no similarity can be told from another; no interval where all
        pairs are in perfect order.

    Raises
    ------
    UnknownName
        For a measure that the comparisons do not have.
    DataError
        For gaps by several metrics, unless `by` has "metric".
    """
    import pandas as pd

    every = similarity_columns(comparisons)
    wanted = [name for name in every if comparisons[name].notna().any()] if measures is None else list(measures)
    for name in wanted:
        if name not in every:
            raise unknown("measure", name, every)
    found = []
    for place, part in _groups(comparisons, by):
        for measure in wanted:
            pairs = pair_means(part[part[measure].notna()], measure)
            far = ranks(surely_nearer(pairs, measure))
            rho, low, high, p = rank_correlation(far, pairs["ntg"].to_numpy(dtype=float), alpha, resamples)
            found.append(
                dict(zip(by, place, strict=True))
                | {"measure": measure, "n_pairs": len(pairs)}
                | {"rho": rho, "rho_low": low, "rho_high": high, "p_value": p}
            )
    return pd.DataFrame(found)


def _groups(comparisons: pd.DataFrame, by: Sequence[str]) -> Iterable[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Group the comparisons that have a gap; DataError names metrics whose gaps would be averaged."""
    known = comparisons[comparisons["ntg"].notna()]
    if "metric" not in by:
        scale_of(known)
    return known.groupby(list(by), dropna=False, sort=True) if len(by) else [((), known)]


def pair_means(part: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return mean gap and similarity of every pair, over the points and sizes that all pairs of `part` have."""
    pair = ["target", "backbone", "source"]
    count = part.groupby(pair).ngroups
    shared = part.groupby(list(POINT), dropna=False)["source"].transform("size") >= count
    part = part[shared] if shared.any() else part
    ends = [measure + end for end in ENDS if measure + end in part]
    return part.groupby(pair)[["ntg", measure, *ends]].mean().reset_index()


def pair_gaps(rows: pd.DataFrame, *, alpha: float = 0.05) -> pd.DataFrame:
    """Return the mean gap of every pair at every size, over the strategies and depths that all pairs have there.

    Averaged within each seed first, so that the interval (paired t) is one over seeds.

    Parameters
    ----------
    rows : DataFrame
        One row a trial, columns as in :data:`bench.schema.TRIAL`.
    alpha : float

    Returns
    -------
    DataFrame
        One row a pair and size: `target`, `backbone`, `source`, `target_size`, `n_seeds`, `n_points` (what
        was averaged over), `ntg`, `ntg_low`, `ntg_high` and every measure of similarity with the ends of its interval.
    """
    import pandas as pd

    trials = paired_trials(rows)
    scale_of(trials)  # one metric alone
    measures = [name for name in similarity_columns(rows) if name in trials]
    pair, point = ["target", "backbone", "source"], ["strategy", "transfer_depth", "frozen_depth"]
    found = []
    for size, block in trials.groupby("target_size", sort=True):
        pairs = block.groupby(pair).ngroups
        spread = block[[*pair, *point]].drop_duplicates().groupby(point, dropna=False).size()
        shared = spread[spread == pairs].index
        if len(shared):
            block = block[pd.MultiIndex.from_frame(block[point]).isin(shared)]
        for place, part in block.groupby(pair, sort=True):
            gap, low, high, _ = paired.summary(part.groupby("seed")["gap"].mean().to_numpy(), alpha)
            similarity = similarity_means(part, pair, measures).iloc[0].to_dict() if measures else {}
            found.append(
                dict(zip(pair, place, strict=True))
                | {"target_size": int(size), "n_seeds": part["seed"].nunique()}
                | {"n_points": part.groupby(point, dropna=False).ngroups}
                | {"ntg": gap, "ntg_low": low, "ntg_high": high}
                | similarity
            )
    return pd.DataFrame(found, columns=None if found else [*pair, "target_size", "ntg", *measures])


def rank_correlation(
    x: np.ndarray, y: np.ndarray, alpha: float = 0.05, resamples: int = RESAMPLES
) -> tuple[float, float, float, float]:
    """Return Spearman's coefficient, the ends of its interval (bootstrap over pairs) and its p value (permutations).

    NaN throughout for fewer than four pairs, or where x or y does not vary. Where all pairs are in perfect order,
    so is every resample: the bootstrap then knows no interval, and its ends are NaN.

    Raises
    ------
    DataError
        For x and y of different lengths.
    """
    from scipy import stats

    if len(x) != len(y):
        raise DataError(f"a correlation needs pairs, got {len(x)} and {len(y)} values")
    n = len(x)
    if n < FEWEST_PAIRS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return (math.nan,) * 4
    rho = stats.spearmanr(x, y).statistic
    drawn = seed_weights(n, resamples).astype(int)
    which = np.repeat(np.tile(np.arange(n), resamples), drawn.ravel()).reshape(resamples, n)
    resampled = _correlations(stats.rankdata(x[which], axis=1), stats.rankdata(y[which], axis=1))
    # Plain percentiles: ties among resampled ranks widen them enough (in trials they cover at least 95 %).
    low, high = np.nanquantile(resampled, [alpha / 2, 1 - alpha / 2])
    if abs(rho) > 1 - 1e-12:
        low = high = math.nan
    ranks = stats.rankdata(x)
    test = stats.permutation_test(
        (ranks,),
        lambda a, axis: _correlations(np.moveaxis(a, axis, -1), stats.rankdata(y)),
        permutation_type="pairings",
        vectorized=True,
        n_resamples=EXACT_PERMUTATIONS,
        rng=np.random.default_rng(derive("rank-correlation", n)),
    )
    return float(rho), float(low), float(high), float(test.pvalue)


def _correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's coefficients along the last axis; NaN where one side is constant."""
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    scale = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    return np.divide((a * b).sum(axis=-1), scale, out=np.full(np.shape(scale), np.nan), where=scale > 1e-12)
