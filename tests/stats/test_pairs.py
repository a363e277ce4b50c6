import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from trial_rows import frame, scratch, transfer

from bench.errors import DataError, UnknownName
from bench.stats.gap import negative_transfer
from bench.stats.pairs import negative_share, rank_correlation, similarity_correlation

A = np.array([0.80, 0.82, 0.78, 0.81, 0.79])
NOISE = np.array([0.004, -0.002, 0.001, -0.003, 0.0])
GAPS = {"a": -0.05, "b": 0.0, "c": 0.06, "d": 0.1, "e": 0.12}


def table(measure="frechet_distance", sign=1.0):
    parts = [scratch(A)]
    for i, (source, gap) in enumerate(GAPS.items()):
        for f, extra in ((0, 0.0), (1, 0.01)):
            values = A - gap - extra - np.roll(NOISE, i)
            value = sign * (i + 1.0)
            near = {measure: value, f"{measure}_low": value - 0.4, f"{measure}_high": value + 0.4}
            parts.append(transfer(values, source=source, frozen_depth=f, **near))
    return negative_transfer(frame(*parts))


def wilson(k, n, z=1.959963984540054):
    centre = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    return centre - half, centre + half


def test_the_share_of_negative_pairs_with_wilsons_interval_and_the_worst_pair():
    found = negative_share(table())
    assert found["n_comparisons"].tolist() == [5, 5]
    row = found[found["frozen_depth"] == 0].iloc[0]
    assert (row["n_negative"], row["share_negative"]) == (3, 0.6)
    assert (row["share_low"], row["share_high"]) == pytest.approx(wilson(3, 5))
    assert (row["worst_source"], row["worst_verdict"]) == ("e", "negative")
    assert row["worst_ntg"] == pytest.approx(0.12, abs=1e-9)
    assert row["worst_low"] < 0.12 < row["worst_high"]
    assert row["mean_ntg"] == pytest.approx(np.mean(list(GAPS.values())))


def test_everything_can_be_counted_together():
    every = negative_share(table(), by=())
    assert every["n_comparisons"].tolist() == [10]
    assert every["worst_ntg"].tolist() == pytest.approx([0.13])
    with pytest.raises(UnknownName, match='did you mean "source"'):
        negative_share(table(), by=["sourc"])


def test_spearmans_coefficient_and_its_permutation_p_value():
    x, y = np.array([1.0, 2, 3, 4, 5, 6]), np.array([2.0, 1, 4, 3, 6, 5])
    rho, low, high, p = rank_correlation(x, y)
    assert rho == pytest.approx(1 - 6 * 6 / (6 * 35))  # the sum of squared differences of ranks is 6
    every = [np.corrcoef(x, np.array(order))[0, 1] for order in itertools.permutations(y)]
    one_sided = [np.mean(np.array(every) >= rho - 1e-9), np.mean(np.array(every) <= rho + 1e-9)]
    assert p == pytest.approx(2 * min(one_sided))
    assert -1 <= low < rho < high <= 1


def test_its_interval_is_that_of_a_plain_loop():
    rng = np.random.default_rng(5)
    x = rng.normal(size=12)
    y = x + rng.normal(size=12)
    found = []
    for _ in range(3000):
        which = rng.integers(0, 12, 12)
        found.append(stats.spearmanr(x[which], y[which]).statistic)
    _, low, high, _ = rank_correlation(x, y)
    assert (low, high) == pytest.approx(tuple(np.quantile(found, [0.025, 0.975])), abs=0.04)


@pytest.mark.parametrize(("measure", "sign"), [("frechet_distance", 1.0), ("leep", -1.0)])
def test_above_zero_the_farther_source_harms_more_whichever_way_the_measure_runs(measure, sign):
    found = similarity_correlation(table(measure, sign))
    row = found.set_index("measure").loc[measure]
    assert found["measure"].tolist() == [measure]
    assert (row["n_pairs"], row["rho"]) == (5, pytest.approx(1.0))
    assert row["p_value"] == pytest.approx(2 / math.factorial(5))


def test_similarity_without_intervals_is_related_to_nothing():
    bare = table().drop(columns=["frechet_distance_low", "frechet_distance_high"])
    assert similarity_correlation(bare)["rho"].isna().all()
    wide = table().assign(frechet_distance_high=9.0)
    assert similarity_correlation(wide)["rho"].isna().all()


def test_too_few_pairs_and_no_variation_give_no_number():
    assert all(math.isnan(v) for v in rank_correlation(np.arange(3.0), np.arange(3.0)))
    assert all(math.isnan(v) for v in rank_correlation(np.arange(5.0), np.ones(5)))
    # In perfect order every resample is, however few pairs there are: no interval can be had.
    rho, low, high, p = rank_correlation(np.arange(4.0), -(np.arange(4.0) ** 3))
    assert (rho, p) == (pytest.approx(-1), pytest.approx(2 / 24))
    assert math.isnan(low)
    assert math.isnan(high)
    with pytest.raises(DataError, match="4 and 3 values"):
        rank_correlation(np.arange(4.0), np.arange(3.0))
    with pytest.raises(UnknownName, match='did you mean "leep"'):
        similarity_correlation(table(), measures=["lep"])


def test_pairs_are_compared_over_the_points_they_share():
    comparisons = table()
    extra = comparisons[comparisons["source"] == "a"].assign(strategy="zero-shot", ntg=0.9)
    both = similarity_correlation(pd.concat([comparisons, extra], ignore_index=True))
    assert both["rho"].tolist() == pytest.approx([1.0])
