import numpy as np
import pandas as pd
import pytest
from scipy import stats
from trial_rows import frame, scratch, transfer

from bench.errors import DataError, UnknownName
from bench.stats import bootstrap, paired
from bench.stats.gap import negative_transfer

N, M = 6, 40


def answers(seed=0, gap=0.15, n=N, m=M):
    """Right and wrong answers of both arms, shape (n, m): examples and seeds differ in how hard they are."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(0, 1, m) + rng.normal(0, 0.2, (n, 1))
    return tuple(rng.normal(0, 1, (n, m)) + hard + shift > 0 for shift in (0.5, 0.5 - 3 * gap))


def differences(seed=0, **changes):
    a, b = answers(seed, **changes)
    return a.astype(int) - b.astype(int)


def anova(d):
    """Variance of the mean by the two-way layout's mean squares, written out."""
    n, m = d.shape
    mean = d.mean()
    seed = m * sum((d[i].mean() - mean) ** 2 for i in range(n)) / (n - 1)
    example = n * sum((d[:, j].mean() - mean) ** 2 for j in range(m)) / (m - 1)
    both = sum((d[i, j] - d[i].mean() - d[:, j].mean() + mean) ** 2 for i in range(n) for j in range(m))
    both /= (n - 1) * (m - 1)
    parts = np.array([seed, example, -both]) / (n * m)
    variance = max(parts.sum(), parts[0], parts[1])
    freedom = variance**2 / (parts**2 / np.array([n - 1, m - 1, (n - 1) * (m - 1)])).sum()
    return variance, max(freedom, n - 1)


def test_the_variance_is_that_of_the_two_way_layout():
    every = np.stack([differences(seed) for seed in range(5)])
    variance, freedom = bootstrap.two_way_variance(every)
    for j, d in enumerate(every):
        assert (variance[j], freedom[j]) == pytest.approx(anova(d), rel=1e-5)


def test_the_two_way_interval_is_that_of_a_plain_loop():
    d = differences()
    rng = np.random.default_rng(1)
    means = []
    for _ in range(4000):
        seeds, examples = rng.integers(0, N, N), rng.integers(0, M, M)
        means.append(d[np.ix_(seeds, examples)].mean())
    variance, freedom = anova(d)
    tail = stats.norm.cdf(stats.t.ppf(0.025, freedom))
    scaled = d.mean() + (np.array(means) - d.mean()) * np.sqrt(variance / np.var(means))
    expected = np.quantile(scaled, [tail, 1 - tail])
    got = np.ravel(bootstrap.two_way_interval(d[None], 0.05))
    assert got == pytest.approx(expected, abs=0.1 * np.ptp(expected))
    assert np.ptp(got) > np.ptp(bootstrap.mean_interval(d.mean(axis=1)[:, None], 0.05))


def test_many_comparisons_give_what_each_gives_alone_every_time():
    every = np.stack([differences(seed) for seed in range(7)])
    low, high = bootstrap.two_way_interval(every, 0.05, 2000)
    for j in range(7):
        assert bootstrap.two_way_interval(every[[j]], 0.05, 2000) == (low[j], high[j])
    again = bootstrap.two_way_interval(every, 0.05, 2000)
    assert (again[0] == low).all()
    assert (again[1] == high).all()


def test_examples_that_all_agree_leave_the_variation_of_seeds():
    by_seed = np.array([1, 0, 1, 1, 0, 1, 1, 1])
    d = np.repeat(by_seed[None, :, None], 30, axis=2)
    both = np.ravel(bootstrap.two_way_interval(d, 0.05))
    assert both == pytest.approx(np.ravel(bootstrap.mean_interval(by_seed[:, None].astype(float), 0.05)), abs=1e-9)


def test_over_seeds_alone_it_is_as_wide_as_students_t():
    d = np.random.default_rng(3).normal(0.02, 0.03, (10, 40))
    width = np.subtract(*bootstrap.mean_interval(d, 0.05)[::-1])
    assert (width / np.subtract(*paired.interval(d, 0.05)[::-1])).mean() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("n", [3, 10, 40])
def test_the_expanded_level_makes_a_normal_bootstrap_as_wide_as_students_t(n):
    # The bootstrap's standard error divides by n where Student's divides by n - 1.
    level = bootstrap.expanded_level(n, 0.05)
    assert -stats.norm.ppf(level / 2) * np.sqrt((n - 1) / n) == pytest.approx(stats.t.ppf(0.975, n - 1))


def test_one_seed_has_no_interval_and_no_difference_has_none_either_side():
    assert np.isnan(bootstrap.mean_interval(np.array([[0.3]]), 0.05)).all()
    assert np.isnan(bootstrap.two_way_interval(np.ones((1, 1, 9), int), 0.05)).all()
    assert np.ravel(bootstrap.two_way_interval(np.zeros((1, 4, 9), int), 0.05)).tolist() == [0, 0]


def test_it_covers_the_truth_about_as_often_as_it_says():
    # 200 samples of 8 seeds and 60 examples; the truth from the model that drew them.
    every = np.stack([differences(seed, n=8, m=60) for seed in range(200)])
    wide = differences(999, n=1000, m=6000).mean()
    low, high = bootstrap.two_way_interval(every, 0.05, 1000)
    assert 0.91 <= ((low <= wide) & (wide <= high)).mean() <= 0.99


def run(**changes):
    a, b = answers()
    keys = {arm: [f"{arm}{i}" for i in range(N)] for arm in "st"}
    rows = frame(scratch(a.mean(axis=1)), transfer(b.mean(axis=1))).assign(key=[*keys["s"], *keys["t"]])
    correct = dict(zip([*keys["s"], *keys["t"]], [*a, *b], strict=True))
    return rows, correct | changes


def test_the_gap_has_the_interval_over_seeds_and_examples_where_they_are_known():
    rows, correct = run()
    row = negative_transfer(rows, correct=correct).iloc[0]
    expected = bootstrap.two_way_interval(differences()[None], 0.05)
    assert (row["ntg_boot_low"], row["ntg_boot_high"]) == pytest.approx((expected[0][0], expected[1][0]))
    assert row["resampled"] == "seeds and examples"
    plain = negative_transfer(rows).iloc[0]
    assert plain[["ntg_low", "ntg_high", "p_value"]].tolist() == row[["ntg_low", "ntg_high", "p_value"]].tolist()
    assert np.isnan(plain["ntg_boot_low"])
    assert pd.isna(plain["resampled"])


def test_without_examples_the_bootstrap_is_over_seeds_and_says_so():
    rows, correct = run()
    del correct["t3"]
    for table in (negative_transfer(rows, interval="bootstrap"), negative_transfer(rows, correct=correct)):
        assert table["resampled"].tolist() == ["seeds"]
        assert table["ntg_boot_low"].iloc[0] < table["ntg"].iloc[0] < table["ntg_boot_high"].iloc[0]
        said = "1 comparison has no record of which test examples were right: the bootstrap resamples their seeds only."
        assert said in table.attrs["warnings"]


def test_examples_of_another_run_are_refused():
    rows, correct = run()
    with pytest.raises(DataError, match=r"trial t2 has .* rows and examples are of different runs"):
        negative_transfer(rows, correct=correct | {"t2": ~correct["t2"]})


def test_an_unknown_interval_is_named():
    with pytest.raises(UnknownName, match='did you mean "bootstrap"'):
        negative_transfer(run()[0], interval="bootstrp")
