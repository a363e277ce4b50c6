"""Which of two sources is nearer, as far as the intervals of measured similarity tell them apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.schema import ENDS, LEVEL, near_is_low

if TYPE_CHECKING:
    import pandas as pd


def similarity_means(rows: pd.DataFrame, by: Sequence[str], measures: Sequence[str]) -> pd.DataFrame:
    """Average measured similarity over source models, with its interval.

    An interval's half width joins two parts by squares: the mean half width within a source model (its examples
    might have been others), and Student's of the mean over source models (they might have been others too).

    Parameters
    ----------
    rows : DataFrame
        One row a trial, with `source_seed`.
    by : sequence of str
        Columns; one row for each of their combinations.
    measures : sequence of str

    Returns
    -------
    DataFrame
        Indexed by `by`: every measure, with its ends where its rows have them; the ends are NaN where some lack them.
    """
    import pandas as pd
    from scipy import stats

    groups = rows.groupby(list(by), dropna=False)
    found = groups[list(measures)].mean()
    models = rows.drop_duplicates([*by, "source_seed"]).groupby(list(by), dropna=False)
    for measure in measures:
        ends = [measure + end for end in ENDS]
        if not all(end in rows for end in ends):
            continue
        k, spread = models[measure].count(), models[measure].std().fillna(0.0)
        between = spread * stats.t.ppf((1 + LEVEL) / 2, np.maximum(k - 1, 1)) / np.sqrt(np.maximum(k, 1))
        for end, sign in zip(ends, (-1, 1), strict=True):
            inner = (rows[end] - rows[measure]).abs().groupby([rows[name] for name in by], dropna=False)
            within = inner.mean().where(inner.count() == groups[measure].count())
            found[end] = found[measure] + sign * np.hypot(within, between)
        if (rows[ends[0]].dropna() >= 0).all():  # a distance: it has no room below
            found[ends[0]] = found[ends[0]].clip(lower=0.0)
    return pd.DataFrame(found)


def surely_nearer(pairs: pd.DataFrame, measure: str) -> np.ndarray:
    """Say which pairs are nearer than which: bool array, shape (pairs, pairs), [i, j] where i is nearer than j.

    Only where their intervals do not overlap; a pair without an interval is neither nearer nor farther than any.
    """
    n = len(pairs)
    if not all(measure + end in pairs for end in ENDS):
        return np.zeros((n, n), bool)
    low, high = (pairs[measure + end].to_numpy(dtype=float) for end in ENDS)
    return high[:, None] < low if near_is_low(measure) else low[:, None] > high


def has_intervals(pairs: pd.DataFrame, measure: str) -> bool:
    """Whether any pair has an interval of a measure: rows of older versions have none."""
    return all(measure + end in pairs and pairs[measure + end].notna().any() for end in ENDS)


def ranks(nearer: np.ndarray) -> np.ndarray:
    """Rank pairs from near (1) to far, shape (pairs,), those that cannot be told apart sharing the places between.

    A pair's rank is the mean of its first and last place in all orders that the intervals allow.
    """
    return (1 + len(nearer) + nearer.sum(axis=0) - nearer.sum(axis=1)) / 2


def halves(pairs: pd.DataFrame, measure: str) -> tuple[list[int], list[int]]:
    """Return the places of the pairs that surely belong to the nearer and to the farther half.

    Those of the nearer half (the middle one of an odd number too) whose interval lies nearer than that of every
    pair of the farther half, and the other way round; pairs in between belong to neither.
    """
    value = pairs[measure].to_numpy(dtype=float) * (1 if near_is_low(measure) else -1)
    order = np.argsort(value, kind="stable")[: int(np.isfinite(value).sum())]
    first, last = order[: (len(order) + 1) // 2], order[(len(order) + 1) // 2 :]
    if not len(last):
        return [], []
    apart = surely_nearer(pairs, measure)[np.ix_(first, last)]
    return [int(i) for i in first[apart.all(axis=1)]], [int(j) for j in last[apart.all(axis=0)]]


def kendall(nearer: np.ndarray, gaps: np.ndarray, permutations: int) -> tuple[float, float]:
    """Return Kendall's tau-b of distance and gap, above 0 where the farther harms more, and its p value.

    Pairs that cannot be told apart are tied (Daniels, Biometrika 1944: any antisymmetric score may stand for the
    order). The p value comes from permutations of the gaps, all of them where there are at most `permutations`.
    NaN where either side is all ties.
    """
    from scipy import stats

    from bench.identity import derive

    farther = nearer.T.astype(float) - nearer
    scale = np.sqrt(np.abs(farther).sum() * np.abs(np.sign(gaps[:, None] - gaps)).sum())
    if not scale:
        return np.nan, np.nan

    def tau(y: np.ndarray, axis: int) -> np.ndarray:
        y = np.moveaxis(y, axis, -1)
        return (farther * np.sign(y[..., :, None] - y[..., None, :])).sum(axis=(-2, -1)) / scale

    test = stats.permutation_test(
        (gaps,), tau, permutation_type="pairings", vectorized=True, n_resamples=permutations, batch=1000,
        rng=np.random.default_rng(derive("kendall", len(gaps))),
    )  # fmt: skip
    return float(test.statistic), float(test.pvalue)
