import math

import numpy as np
import pytest
from scipy import stats
from trial_rows import frame, scratch, transfer

from bench.errors import DataError
from bench.stats.won_back import fieller, won_back

RNG = np.random.default_rng(1)
UNIFORM = 0.6 + RNG.normal(0, 0.01, 8)
ORACLE = UNIFORM + 0.2 + RNG.normal(0, 0.01, 8)
LEARNED = UNIFORM + 0.15 + RNG.normal(0, 0.02, 8)


def rows(**arms):
    return frame(scratch([0.7] * 8), *(transfer(values, weighting=name) for name, values in arms.items()))


def test_the_share_is_the_ratio_of_the_mean_gains():
    row = won_back(rows(uniform=UNIFORM, oracle=ORACLE, learned=LEARNED)).iloc[0]
    assert row["weighting"] == "learned"
    assert row["won"] == pytest.approx(np.mean(LEARNED - UNIFORM))
    low, high = stats.ttest_rel(LEARNED, UNIFORM).confidence_interval()
    assert (row["won_low"], row["won_high"]) == pytest.approx((low, high))
    assert row["winnable"] == pytest.approx(np.mean(ORACLE - UNIFORM))
    assert row["share"] == pytest.approx(np.mean(LEARNED - UNIFORM) / np.mean(ORACLE - UNIFORM))
    assert row["share_low"] < row["share"] < row["share_high"]
    assert row["note"] is None


def test_fiellers_ends_are_where_the_paired_test_just_rejects():
    x, y = LEARNED - UNIFORM, ORACLE - UNIFORM
    share, low, high = fieller(x, y, 0.05)
    for end in (low, high):
        assert stats.ttest_1samp(x - end * y, 0).pvalue == pytest.approx(0.05)
    assert stats.ttest_1samp(x - share * y, 0).pvalue == pytest.approx(1)


def test_fieller_covers_the_true_ratio():
    rng = np.random.default_rng(7)
    inside = 0
    for _ in range(300):
        common = rng.normal(0, 0.02, 8)
        x, y = 0.1 + common + rng.normal(0, 0.03, 8), 0.2 + common + rng.normal(0, 0.03, 8)
        _, low, high = fieller(x, y, 0.05)
        inside += low <= 0.5 <= high
    assert 0.92 <= inside / 300 <= 0.98


def test_where_the_oracle_wins_nothing_there_is_no_share_and_it_says_so():
    same = UNIFORM + RNG.normal(0, 0.02, 8)
    row = won_back(rows(uniform=UNIFORM, oracle=same, learned=LEARNED)).iloc[0]
    assert math.isnan(row["share"])
    assert math.isnan(row["share_low"])
    assert row["note"] == "oracle and uniform do not differ"
    assert row["won"] == pytest.approx(np.mean(LEARNED - UNIFORM))
    equal = won_back(rows(uniform=UNIFORM, oracle=UNIFORM, learned=LEARNED)).iloc[0]
    assert equal["note"] == "oracle and uniform do not differ"


def test_where_the_oracle_loses_there_is_nothing_to_win():
    row = won_back(rows(uniform=UNIFORM, oracle=UNIFORM - 0.1 + RNG.normal(0, 0.01, 8), learned=LEARNED)).iloc[0]
    assert math.isnan(row["share"])
    assert row["note"] == "the oracle is worse than uniform"


def test_without_an_oracle_the_gain_is_all_there_is():
    row = won_back(rows(uniform=UNIFORM, learned=LEARNED)).iloc[0]
    assert row["note"] == 'no trial has the weighting "oracle"'
    assert row["won"] > 0
    assert math.isnan(row["share"])


def test_only_seeds_that_all_arms_have_count():
    table = frame(
        transfer(UNIFORM, weighting="uniform"), transfer(ORACLE[:5], weighting="oracle"),
        transfer(LEARNED[2:], seeds=range(2, 8), weighting="learned"),
    )  # fmt: skip
    row = won_back(table).iloc[0]
    assert row["n_seeds"] == 3
    assert row["won"] == pytest.approx(np.mean((LEARNED - UNIFORM)[2:5]))


def test_a_missing_uniform_arm_is_named():
    with pytest.raises(DataError, match='no transfer has the weighting "unifrom"; did you mean "uniform"'):
        won_back(rows(uniform=UNIFORM), uniform="unifrom")


def test_zero_shot_without_target_labels_is_compared_at_every_size():
    zero = {"strategy": "zero-shot", "target_size": 0, "validation": None}
    table = frame(
        *(scratch([0.7] * 8, target_size=size) for size in (20, 60)),
        transfer(UNIFORM, weighting="uniform", **zero), transfer(ORACLE, weighting="oracle", **zero),
        *(transfer(LEARNED, weighting="learned", strategy="zero-shot", target_size=size) for size in (20, 60)),
    )  # fmt: skip
    found = won_back(table)
    assert found["target_size"].tolist() == [20, 60]
    assert found["share"].to_numpy() == pytest.approx(np.mean(LEARNED - UNIFORM) / np.mean(ORACLE - UNIFORM))


def test_the_gap_before_and_after_the_cost_and_what_is_known_of_the_weights():
    learned = {"weighting": "learned", "weight_auroc": 0.9, "effective_sample_size": 50.0, "weight_fallbacks": 2}
    table = frame(
        scratch([0.7] * 8), transfer(UNIFORM, weighting="uniform", seconds=1.0, source_seconds=3.0),
        transfer(ORACLE, weighting="oracle"), transfer(LEARNED, seconds=1.0, source_seconds=9.0, **learned),
    )  # fmt: skip
    row = won_back(table).iloc[0]
    assert row["uniform_ntg"] == pytest.approx(np.mean(0.7 - UNIFORM))
    assert row["ntg"] == pytest.approx(np.mean(0.7 - LEARNED))
    assert row["relative_cost"] == pytest.approx(10 / 4)
    assert (row["weight_auroc"], row["effective_sample_size"], row["weight_fallbacks"]) == (0.9, 50, 2)
    assert math.isnan(row["weight_average_precision"])
    alone = won_back(frame(transfer(UNIFORM, weighting="uniform"), transfer(LEARNED, **learned))).iloc[0]
    assert math.isnan(alone["ntg"])
