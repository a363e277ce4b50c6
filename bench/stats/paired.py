"""Paired statistics over seeds, for many comparisons at once.

All functions take differences d of shape (n, k): n seeds of k comparisons, scratch minus transfer.

The t test judges a mean by the spread over seeds. Where the seeds agree exactly it has no spread to
judge by (t is infinite after two lucky seeds), so there the exact sign-flip test speaks instead.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.identity import generator

# Accuracies are multiples of 1 / n_test: anything below this is rounding of floats, not a difference.
TOLERANCE = 1e-9
EXACT_SEEDS = 16
RANDOM_FLIPS = 99_999


def interval(d: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 1 - `alpha` confidence interval of the mean (paired t), each of shape (k,).

    NaN for a single seed; of width zero where all seeds agree.
    """
    from scipy import stats

    n, k = d.shape
    if n < 2:
        return np.full(k, np.nan), np.full(k, np.nan)
    mean = d.mean(axis=0)
    error = np.where(_varies(d), d.std(axis=0, ddof=1), 0.0) / np.sqrt(n)
    half = stats.t.ppf(1 - alpha / 2, n - 1) * error
    return mean - half, mean + half


def t_test(d: np.ndarray) -> np.ndarray:
    """Two-sided p values of a zero mean by the paired t test, shape (k,); NaN for a single seed."""
    from scipy import stats

    return _by_spread(d, lambda part: stats.ttest_1samp(part, 0.0, axis=0).pvalue, sign_flip_test)


def sign_flip_test(d: np.ndarray) -> np.ndarray:
    """Two-sided p values of the sign-flip test, shape (k,); NaN for a single seed.

    Under the null hypothesis a seed's two arms are exchangeable, so every sign pattern of the
    differences is equally likely. Up to 16 seeds all 2^n patterns are counted and p is exact, with 2/2^n
    as its least value; beyond, p comes from 99,999 random patterns and the observed one.
    """
    if len(d) < 2:
        return np.full(d.shape[1], np.nan)
    return _flip(np.abs(d.sum(axis=0)), d, np.abs)


def t_equivalence(d: np.ndarray, margin: float) -> np.ndarray:
    """Test |mean| >= `margin` by two one-sided paired t tests; p of shape (k,), NaN for a single seed.

    A small p rejects that the gap is as large as the margin (TOST, Schuirmann, 1987).
    """
    from statsmodels.stats.weightstats import ttost_paired

    return _by_spread(
        d,
        lambda part: ttost_paired(part, np.zeros_like(part), -margin, margin)[0],
        lambda part: sign_flip_equivalence(part, margin),
    )


def sign_flip_equivalence(d: np.ndarray, margin: float) -> np.ndarray:
    """Test |mean| >= `margin` by two one-sided sign-flip tests; p of shape (k,), NaN for a single seed."""
    if len(d) < 2:
        return np.full(d.shape[1], np.nan)
    above_low = _flip((d + margin).sum(axis=0), d + margin, np.asarray)
    below_high = _flip((margin - d).sum(axis=0), margin - d, np.asarray)
    return np.maximum(above_low, below_high)


def resolution(n_seeds: int) -> float:
    """Return the least two-sided p value that the exact sign-flip test over `n_seeds` can reach, 2/2^n."""
    if n_seeds < 1:
        raise ValueError(f"n_seeds must be at least 1, got {n_seeds}")
    return min(1.0, 2.0 / 2**n_seeds)


def _varies(d: np.ndarray) -> np.ndarray:
    return np.ptp(d, axis=0) > TOLERANCE


def _by_spread(
    d: np.ndarray, varied: Callable[[np.ndarray], np.ndarray], constant: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Apply `varied` to the comparisons whose seeds differ and `constant` to the others."""
    p = np.full(d.shape[1], np.nan)
    if len(d) < 2:
        return p
    differ = _varies(d)
    for part, test in ((differ, varied), (~differ, constant)):
        if part.any():
            p[part] = test(d[:, part])
    return p


def _signs(n: int) -> np.ndarray:
    """Every sign pattern of n seeds, or many random ones and the observed; shape (patterns, n)."""
    if n <= EXACT_SEEDS:
        codes = np.arange(2**n, dtype=np.int64)
        return 1.0 - 2.0 * ((codes[:, None] >> np.arange(n)) & 1)
    flips = generator("sign-flip", n).integers(0, 2, size=(RANDOM_FLIPS, n))
    return np.vstack([np.ones((1, n)), 1.0 - 2.0 * flips])


def _flip(observed: np.ndarray, d: np.ndarray, side: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Share of the sign patterns whose sum, seen by `side`, is at least the observed one."""
    signs = _signs(len(d))
    p = np.empty(d.shape[1])
    width = max(1, 4_000_000 // len(signs))
    for start in range(0, d.shape[1], width):
        part = slice(start, start + width)
        p[part] = (side(signs @ d[:, part]) >= observed[part] - TOLERANCE).mean(axis=0)
    return p


def summary(d: np.ndarray, alpha: float) -> tuple[float, float, float, float]:
    """Return mean, ends of the interval and p value (all paired t) of one comparison's differences, shape (n,).

    NaN where there is no seed, and for all but the mean where there is one.
    """
    if not len(d):
        return (np.nan,) * 4
    # Rounded, so that 0.9 - 0.8 and 0.8 - 0.7 are the same difference.
    column = np.round(np.asarray(d, dtype=float), 12)[:, None]
    low, high = interval(column, alpha)
    return float(column.mean()), float(low[0]), float(high[0]), float(t_test(column)[0])
