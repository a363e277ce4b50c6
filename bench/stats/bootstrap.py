"""Bootstrap intervals over seeds and test examples, for many comparisons at once.

A gap varies with the seed (subsample, head, batches, source model) and with the test examples that
happened to be drawn. Every seed is tested on the same examples, so the two are crossed, and both are
resampled with replacement, independently (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics
1(2), 2007). Two known faults are mended. That bootstrap counts the interaction of seed and example three
times: the resampled gaps are therefore scaled about the gap to the unbiased variance of the two-way
random effects. And percentiles of a handful of seeds are too close together, as a normal distribution is
beside Student's t: their level is widened by just that (Hesterberg, "What teachers should know about the
bootstrap", American Statistician 69(4), 2015), with Satterthwaite's degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import DataError
from bench.identity import generator
from bench.schema import ACCURACY

if TYPE_CHECKING:
    import pandas as pd

RESAMPLES = 10_000
SEEDS, BOTH = "seeds", "seeds and examples"
_CHUNK = 500  # resamples of the examples at a time
_MEMORY = 64_000_000  # bytes of differences at a time


def seed_weights(n: int, resamples: int = RESAMPLES) -> np.ndarray:
    """How often each of n seeds is drawn in each resample: whole numbers, shape (resamples, n), rows sum to n."""
    return next(_counts(n, resamples, resamples, "bootstrap-seeds"))


def expanded_level(n: int, alpha: float) -> float:
    r"""Return the level at which percentiles of n values are as wide as Student's t interval.

    :math:`\alpha' = 2\,\Phi(-\sqrt{n/(n-1)}\;t_{1-\alpha/2,\,n-1})` (Hesterberg, 2015).
    """
    from scipy import stats

    return float(2 * stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf(1 - alpha / 2, n - 1)))


def percentiles(values: np.ndarray, n: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the expanded percentile interval of resampled `values`, shape (resamples, k); NaN is skipped.

    Parameters
    ----------
    n : int
        How many values were resampled: the fewer, the wider the interval.
    """
    level = expanded_level(n, alpha)
    quantile = np.nanquantile if np.isnan(values).any() else np.quantile
    low, high = quantile(values, [level / 2, 1 - level / 2], axis=0)
    return low, high


def mean_interval(d: np.ndarray, alpha: float, resamples: int = RESAMPLES) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 1 - `alpha` interval of the mean over seeds, each of shape (k,).

    Parameters
    ----------
    d : array, shape (n, k)
        Paired differences of k comparisons in n seeds.
    alpha : float
    resamples : int

    Returns
    -------
    low, high : arrays, shape (k,)
        NaN for a single seed.
    """
    n, k = d.shape
    if n < 2:
        return np.full(k, np.nan), np.full(k, np.nan)
    variance = d.var(axis=0, ddof=1) / n
    return _calibrated(seed_weights(n, resamples) @ d / n, d.mean(axis=0), variance, np.full(k, n - 1.0), alpha)


def two_way_interval(d: np.ndarray, alpha: float, resamples: int = RESAMPLES) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 1 - `alpha` interval of the mean over seeds and test examples, each of shape (k,).

    Parameters
    ----------
    d : int array, shape (k, n, m)
        Scratch right minus transfer right (-1, 0 or 1) for k comparisons, n seeds and m test examples.
    alpha : float
    resamples : int

    Returns
    -------
    low, high : arrays, shape (k,)
        NaN for a single seed.
    """
    k, n, m = d.shape
    low, high = np.full(k, np.nan), np.full(k, np.nan)
    if n < 2:
        return low, high
    seeds = seed_weights(n, resamples)
    width = max(1, _MEMORY // (4 * n * max(m, resamples)))
    for start in range(0, k, width):
        part = slice(start, start + width)
        # Whole numbers below 2^24 are exact in single precision, whatever order they are added in.
        flat = np.ascontiguousarray(d[part].reshape(-1, m), dtype=np.float32)
        means = []
        for i, drawn in enumerate(_counts(m, resamples, _CHUNK, "bootstrap-examples")):
            sums = (flat @ drawn.T).reshape(-1, n, len(drawn)).astype(np.float64)
            means.append(np.einsum("kns,sn->sk", sums, seeds[i * _CHUNK : i * _CHUNK + len(drawn)]) / (n * m))
        centre = d[part].mean(axis=(1, 2))
        low[part], high[part] = _calibrated(np.vstack(means), centre, *two_way_variance(d[part]), alpha)
    return low, high


def two_way_variance(d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the variance of a mean over crossed seeds and examples, and its degrees of freedom, each shape (k,).

    With mean squares of a two-way layout with random effects and one value a cell, :math:`(MS_{seed} +
    MS_{example} - MS_{both})/(nm)`, at least what either factor alone gives; the degrees of freedom by
    Satterthwaite's formula.

    Parameters
    ----------
    d : array, shape (k, n, m)
    """
    _, n, m = d.shape
    rows, columns, mean = d.mean(axis=2), d.mean(axis=1), d.mean(axis=(1, 2))
    by_seed, by_example = rows.var(axis=1, ddof=1) / n, columns.var(axis=1, ddof=1) / m
    left = (d.astype(np.float32) - rows[:, :, None] - columns[:, None, :] + mean[:, None, None]) ** 2
    both = left.sum(axis=(1, 2), dtype=np.float64) / ((n - 1) * (m - 1) * n * m)
    variance = np.maximum.reduce([by_seed + by_example - both, by_seed, by_example])
    spread = by_seed**2 / (n - 1) + by_example**2 / (m - 1) + both**2 / ((n - 1) * (m - 1))
    freedom = np.divide(variance**2, spread, out=np.full(len(d), n - 1.0), where=spread > 0)
    return variance, np.clip(freedom, n - 1.0, None)


def _calibrated(
    values: np.ndarray, centre: np.ndarray, variance: np.ndarray, freedom: np.ndarray, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return percentiles of `values`, shape (resamples, k), scaled about `centre` to a variance, as wide as t's."""
    from scipy import stats

    spread = values.var(axis=0)
    scale = np.sqrt(np.divide(variance, spread, out=np.ones_like(spread), where=spread > 0))
    tail = stats.norm.cdf(-stats.t.ppf(1 - alpha / 2, freedom))
    values = np.sort(values, axis=0)
    place = np.arange(values.shape[1])

    def at(share: np.ndarray) -> np.ndarray:
        where = share * (len(values) - 1)
        below = np.floor(where).astype(int)
        above = np.minimum(below + 1, len(values) - 1)
        return values[below, place] + (where - below) * (values[above, place] - values[below, place])

    return tuple(centre + scale * (at(share) - centre) for share in (tail, 1 - tail))


def _counts(n: int, resamples: int, chunk: int, purpose: str) -> Iterator[np.ndarray]:
    """Yield how often each of n things is drawn, shape (up to `chunk`, n), until there are `resamples` rows."""
    rng = generator(purpose, n, resamples)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = rng.integers(0, n, size=(rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float32)


def gap_intervals(
    trials: pd.DataFrame,
    n_comparisons: int,
    correct: Mapping[str, np.ndarray],
    alpha: float,
    resamples: int = RESAMPLES,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bootstrap the gap of every comparison, over examples too where they are known for each of its trials.

    Parameters
    ----------
    trials : DataFrame
        Paired trials sorted by comparison, with the columns `comparison`, `key`, `scratch_key`,
        `metric`, `scratch_score` and `test_score`.
    n_comparisons : int
    correct : mapping of key to bool array, shape (n_test,)
        As :func:`bench.load_correctness` gives it; trials that it lacks are resampled by seed alone.

    Returns
    -------
    low, high : arrays, shape (n_comparisons,)
    resampled : object array
        "seeds", "seeds and examples", or None for fewer than two seeds.

    Raises
    ------
    DataError
        When the examples of a trial do not have the accuracy that its row states.
    """
    low, high = np.full((2, n_comparisons), np.nan)
    resampled = np.full(n_comparisons, None, dtype=object)
    groups: dict[tuple[int, int], list[tuple[int, np.ndarray]]] = {}
    for which, part in trials.groupby("comparison", sort=True):
        if len(part) < 2:
            continue
        d = _examples(part, correct)
        place = (len(part), 0) if d is None else d.shape
        groups.setdefault(place, []).append((which, _seed_gaps(part) if d is None else d))
    for (_, m), members in groups.items():
        which = [comparison for comparison, _ in members]
        values = np.stack([d for _, d in members])
        resampled[which] = BOTH if m else SEEDS
        found = two_way_interval(values, alpha, resamples) if m else mean_interval(values.T, alpha, resamples)
        low[which], high[which] = found
    return low, high, resampled


def _seed_gaps(part: pd.DataFrame) -> np.ndarray:
    return np.round((part["scratch_score"] - part["test_score"]).to_numpy(dtype=float), 12)


def _examples(part: pd.DataFrame, correct: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return scratch right minus transfer right, shape (n, m); None where an example is not known, or no share right.

    Of the metrics, accuracy alone is a mean over examples that rows keep.
    """
    if (part["metric"] != ACCURACY).any():
        return None
    arms = []
    for key, accuracy in (("scratch_key", "scratch_score"), ("key", "test_score")):
        found = [correct.get(name) for name in part[key]]
        known = [one for one in found if one is not None]
        if len(known) < len(found) or len({len(one) for one in known}) > 1:
            return None
        arm = np.stack(known).astype(np.int8)
        stated = part[accuracy].to_numpy(dtype=float)
        wrong = np.nonzero(np.abs(arm.mean(axis=1) - stated) > 1e-6)[0]
        if len(wrong):
            raise DataError(
                f"trial {part[key].iloc[wrong[0]]} has {arm[wrong[0]].mean():.4f} of its test examples right, but its "
                f"row states an accuracy of {stated[wrong[0]]:.4f}: rows and examples are of different runs"
            )
        arms.append(arm)
    return arms[0] - arms[1] if arms[0].shape == arms[1].shape else None
