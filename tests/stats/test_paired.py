import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.stats import paired
from bench.stats.verdict import correct, verdicts

EXAMPLE = np.array([0.05, 0.02, -0.01, 0.07, 0.03])
SEEDS = st.lists(st.integers(-300, 300), min_size=2, max_size=9)


def column(values):
    return np.asarray(values, dtype=float)[:, None]


def brute_force(d, side):
    """Sign-flip p value by enumeration in exact arithmetic (differences in thousandths)."""
    observed = side(sum(d))
    flips = [
        side(sum(s * v for s, v in zip(signs, d, strict=True))) for signs in itertools.product((1, -1), repeat=len(d))
    ]
    return sum(f >= observed for f in flips) / len(flips)


def test_interval_by_the_textbook_formula():
    # mean 0.032, s = 0.0303, t(0.975, 4) = 2.776445 from a printed table
    mean = sum(EXAMPLE) / 5
    s = math.sqrt(sum((v - mean) ** 2 for v in EXAMPLE) / 4)
    half = 2.776445105 * s / math.sqrt(5)
    low, high = paired.interval(column(EXAMPLE), 0.05)
    assert low[0] == pytest.approx(mean - half, abs=1e-9)
    assert high[0] == pytest.approx(mean + half, abs=1e-9)


def test_t_test_agrees_with_the_integral_of_the_density():
    t = EXAMPLE.mean() / (EXAMPLE.std(ddof=1) / math.sqrt(5))
    x = np.linspace(0, abs(t), 200_001)
    density = math.gamma(2.5) / (math.sqrt(4 * math.pi) * math.gamma(2)) * (1 + x**2 / 4) ** -2.5
    assert paired.t_test(column(EXAMPLE))[0] == pytest.approx(1 - 2 * np.trapezoid(density, x), abs=1e-8)


@pytest.mark.parametrize("margin", [0.01, 0.05, 0.1])
def test_tost_is_two_one_sided_t_tests(margin):
    lower = stats.ttest_1samp(EXAMPLE, -margin, alternative="greater").pvalue
    upper = stats.ttest_1samp(EXAMPLE, margin, alternative="less").pvalue
    assert paired.t_equivalence(column(EXAMPLE), margin)[0] == pytest.approx(max(lower, upper), rel=1e-12)


@settings(deadline=None, max_examples=60)
@given(SEEDS)
def test_sign_flip_is_the_enumeration(d):
    got = paired.sign_flip_test(column(d) / 1000)[0]
    assert got == pytest.approx(brute_force(d, abs), abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.sampled_from([1, 10, 50]))
def test_sign_flip_equivalence_is_the_enumeration(d, margin):
    expected = max(brute_force([v + margin for v in d], int), brute_force([margin - v for v in d], int))
    got = paired.sign_flip_equivalence(column(d) / 1000, margin / 1000)[0]
    assert got == pytest.approx(expected, abs=1e-12)


def test_sign_flip_agrees_with_scipy_and_many_columns_with_one():
    rng = np.random.default_rng(0)
    d = rng.normal(0.01, 0.03, (7, 5))
    every = paired.sign_flip_test(d)
    for j in range(5):
        exact = stats.permutation_test(
            (d[:, j],), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
        )
        assert every[j] == pytest.approx(exact.pvalue, abs=1e-12)
        assert paired.sign_flip_test(d[:, [j]])[0] == every[j]


def test_many_seeds_are_sampled_the_same_way_every_time():
    d = column(np.linspace(-0.01, 0.03, 20))
    first = paired.sign_flip_test(d)[0]
    assert first == paired.sign_flip_test(d)[0]
    assert first == pytest.approx(paired.t_test(d)[0], rel=0.5)
    assert 0 < first < 0.05


@pytest.mark.parametrize("n", [2, 5, 10])
def test_resolution_is_what_the_clearest_result_reaches(n):
    assert paired.sign_flip_test(column(np.linspace(0.1, 0.2, n)))[0] == paired.resolution(n) == 2 / 2**n


def test_resolution_of_one_seed_is_nothing():
    assert paired.resolution(1) == 1.0
    with pytest.raises(ValueError, match="at least 1"):
        paired.resolution(0)


def test_one_seed_says_nothing():
    d = column([0.3])
    for p in (paired.t_test(d), paired.sign_flip_test(d), paired.t_equivalence(d, 0.01)):
        assert np.isnan(p).all()
    assert np.isnan(paired.interval(d, 0.05)).all()


def test_seeds_that_agree_exactly_are_judged_by_sign_flips():
    d = np.array([[0.02, 0.0]] * 5)
    assert paired.t_test(d).tolist() == [2 / 32, 1.0]
    assert paired.t_equivalence(d, 0.01).tolist() == [1.0, 1 / 32]
    low, high = paired.interval(d, 0.05)
    assert low == pytest.approx([0.02, 0.0])
    assert high == pytest.approx([0.02, 0.0])


def test_float_noise_is_no_spread():
    d = column([0.9 - 0.8, 0.8 - 0.7, 0.4 - 0.3])
    assert np.ptp(d) > 0
    assert paired.t_test(d)[0] == 2 / 8


@settings(deadline=None, max_examples=50)
@given(SEEDS)
def test_tests_do_not_care_for_sign_or_order(d):
    d = column(d) / 1000
    for test in (paired.t_test, paired.sign_flip_test):
        assert test(-d)[0] == pytest.approx(test(d)[0], abs=1e-9)
        assert test(d[::-1])[0] == pytest.approx(test(d)[0], abs=1e-9)
    low, high = paired.interval(d, 0.05)
    flipped_low, flipped_high = paired.interval(-d, 0.05)
    assert flipped_low[0] == pytest.approx(-high[0], abs=1e-12)
    assert flipped_high[0] == pytest.approx(-low[0], abs=1e-12)


def holm_by_hand(p):
    order = sorted(range(len(p)), key=p.__getitem__)
    corrected, running = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = running
    return corrected


def benjamini_hochberg_by_hand(p):
    order = sorted(range(len(p)), key=p.__getitem__)
    corrected, running = [0.0] * len(p), 1.0
    for rank in range(len(p), 0, -1):
        i = order[rank - 1]
        running = min(running, p[i] * len(p) / rank)
        corrected[i] = running
    return corrected


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_correction_within_families(a, b):
    import pandas as pd

    p = pd.Series([*a, np.nan, *b])
    family = pd.Series([0] * len(a) + [0] + [1] * len(b))
    for method, by_hand in (("holm", holm_by_hand), ("fdr_bh", benjamini_hochberg_by_hand)):
        got = correct(p, family, method)
        assert got[: len(a)] == pytest.approx(by_hand(a), abs=1e-12)
        assert np.isnan(got[len(a)])
        assert got[len(a) + 1 :] == pytest.approx(by_hand(b), abs=1e-12)


def test_correction_leaves_garbage_collection_as_it_was():
    import gc

    import pandas as pd

    before = gc.get_freeze_count()
    correct(pd.Series([0.1, 0.2]), pd.Series([0, 0]), "holm")
    assert gc.get_freeze_count() == before


def test_verdicts_in_their_order():
    ntg = [0.2, -0.2, 0.005, 0.2, 0.0, 0.3]
    p = [0.01, 0.01, 0.01, 0.2, 1.0, np.nan]
    equivalent = [1.0, 1.0, 0.01, 0.9, 0.05, np.nan]
    expected = ["negative", "positive", "equivalent", "inconclusive", "equivalent", "inconclusive"]
    assert verdicts(ntg, p, equivalent, 0.05).tolist() == expected
