import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import isotonic_regression
from trial_rows import frame, scratch, transfer

from bench.stats.effective import effective_data, equal_size, monotone

SIZES = (10, 100, 1000)


def curve(size):
    """Accuracy of scratch, exactly linear in the logarithm of the size: 0.3, 0.5, 0.7."""
    return 0.3 + 0.2 * math.log10(size / 10)


def rows(*transfers, seeds=(0.0, 0.01, -0.01)):
    base = [scratch([curve(n) + e for e in seeds], target_size=n) for n in SIZES]
    arms = [
        transfer([accuracy + e for e in seeds], source=name, target_size=size) for name, size, accuracy in transfers
    ]
    return frame(*base, *arms)


def test_the_effective_data_of_a_curve_that_is_known():
    # 0.6 is what scratch has with 10^1.5 * 10 examples.
    row = effective_data(rows(("a", 10, 0.6))).iloc[0]
    assert row["effective_size"] == pytest.approx(10**2.5)
    assert row["multiple"] == pytest.approx(10**1.5)
    assert row["transferred"] == pytest.approx(10**2.5 - 10)
    # All seeds move together here, so every resample gives the same size.
    assert (row["multiple_low"], row["multiple_high"]) == pytest.approx((10**1.5, 10**1.5))
    assert row["censored"] is None
    assert row["n_seeds"] == 3


def test_negative_transfer_wastes_data():
    row = effective_data(rows(("a", 1000, 0.5))).iloc[0]
    assert row["multiple"] == pytest.approx(0.1)
    assert row["transferred"] == pytest.approx(-900)


def test_beyond_what_scratch_was_trained_with_it_is_censored_and_said():
    found = effective_data(rows(("better", 100, 0.9), ("worse", 100, 0.2))).set_index("source")
    assert found.loc["better", "censored"] == "at least"
    assert found.loc["better", "multiple"] == pytest.approx(10)
    assert found.loc["worse", "censored"] == "at most"
    assert found.loc["worse", "multiple"] == pytest.approx(0.1)
    assert found["high_censored"].to_dict() == {"better": "at least", "worse": "at most"}


def test_the_interval_is_as_wide_as_the_seeds_differ():
    values = [0.55, 0.6, 0.65]
    part = frame(*(scratch([curve(n)] * 3, target_size=n) for n in SIZES), transfer(values, target_size=10))
    row = effective_data(part).iloc[0]
    # Each resampled mean lies between the seeds' own effective sizes.
    ends = [10 ** (1 + (v - 0.3) / 0.2) / 10 for v in (0.55, 0.65)]
    assert ends[0] - 1e-9 <= row["multiple_low"] < row["multiple"] < row["multiple_high"] <= ends[1] + 1e-9


def test_the_interval_is_that_of_a_plain_loop():
    rng, n = np.random.default_rng(3), 10
    levels = np.array([[curve(size) for size in SIZES]] * n) + rng.normal(0, 0.01, (n, len(SIZES)))
    reached = 0.45 + rng.normal(0, 0.02, n)
    base = [scratch(levels[:, j], target_size=size) for j, size in enumerate(SIZES)]
    row = effective_data(frame(*base, transfer(reached, target_size=10)), resamples=4000).iloc[0]
    worth = []
    for _ in range(4000):
        seeds = rng.integers(0, n, n)
        worth.append(np.interp(reached[seeds].mean(), levels[seeds].mean(axis=0), np.log(SIZES)) - np.log(10))
    tail = stats.norm.cdf(-math.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))
    expected = np.quantile(worth, [tail, 1 - tail])
    assert np.log([row["multiple_low"], row["multiple_high"]]) == pytest.approx(expected, abs=0.1 * np.ptp(expected))
    assert np.log(row["multiple"]) == pytest.approx(
        np.interp(reached.mean(), levels.mean(axis=0), np.log(SIZES)) - np.log(10)
    )


def test_one_size_is_no_curve_and_it_says_so():
    table = effective_data(frame(scratch([0.5] * 3), transfer([0.6] * 3)))
    assert len(table) == 0
    assert {"multiple", "multiple_low", "high_censored"} <= set(table.columns)
    assert table.attrs["warnings"] == ["Scratch has one size only for t, cnn: no effective data there."]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.floats(-0.2, 1.2))
def test_equal_size_inverts_the_curve(accuracies, reached):
    made = monotone(np.array(accuracies))
    assert made == pytest.approx(isotonic_regression(accuracies).x)
    log_sizes = np.arange(len(made), dtype=float)
    at, censored = equal_size(log_sizes, made, reached)
    if censored is None:
        assert np.interp(at, log_sizes, made) == pytest.approx(reached, abs=1e-9)
        # The first place: just before, the curve is lower.
        assert at == 0 or np.interp(at - 1e-6, log_sizes, made) <= reached
    else:
        assert (reached > made[-1]) == (censored == "at least")
        assert (reached < made[0]) == (censored == "at most")
