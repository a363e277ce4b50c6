import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trial_rows import frame, scratch, transfer

from bench.errors import BenchError, DataError, UnknownName
from bench.schema import COMPARISON, empty
from bench.stats.gap import negative_transfer, options_of

A = [0.80, 0.82, 0.78, 0.81, 0.79]
B = [0.70, 0.74, 0.69, 0.72, 0.68]


def only(table):
    assert len(table) == 1
    return table.iloc[0]


def test_one_comparison_by_hand():
    row = only(negative_transfer(frame(scratch(A), transfer(B, frechet_distance=3.0, source_accuracy=0.9))))
    d = np.array(A) - np.array(B)  # 0.10 0.08 0.09 0.09 0.11
    half = 2.776445105 * math.sqrt(sum((d - 0.094) ** 2) / 4) / math.sqrt(5)
    assert row["n_seeds"] == 5
    assert row["scratch_accuracy"] == pytest.approx(0.80)
    assert row["transfer_accuracy"] == pytest.approx(0.706)
    assert row["ntg"] == pytest.approx(0.094)
    assert row["ntg_low"] == pytest.approx(0.094 - half)
    assert row["ntg_high"] == pytest.approx(0.094 + half)
    assert row["p_holm"] == row["p_value"] < 0.001
    assert row["verdict"] == "negative"
    assert row["correction"] == "holm"
    assert row["frechet_distance"] == 3.0
    assert row["source_accuracy"] == pytest.approx(0.9)


def test_the_table_has_the_columns_and_types_of_its_schema():
    table = negative_transfer(frame(scratch(A), transfer(B)))
    expected = empty(COMPARISON)
    assert list(table.columns) == list(expected.columns)
    assert table.dtypes.equals(expected.dtypes)


def test_the_four_verdicts():
    near = [a + e for a, e in zip(A, (0.001, -0.001, 0.0005, -0.0005, 0.0), strict=True)]
    noisy = [a + e for a, e in zip(A, (0.2, -0.2, 0.1, -0.15, 0.02), strict=True)]
    arms = {"bad": B, "good": [a + (a - b) for a, b in zip(A, B, strict=True)], "same": near, "noisy": noisy}
    rows = frame(scratch(A), *(transfer(values, source=name) for name, values in arms.items()))
    table = negative_transfer(rows).set_index("source")
    expected = {"bad": "negative", "good": "positive", "same": "equivalent", "noisy": "inconclusive"}
    assert table["verdict"].to_dict() == expected


def test_equivalence_wins_over_a_certain_but_tiny_harm():
    tiny = [a - 0.003 - e for a, e in zip(A, (0.0001, -0.0001, 0, 0.0001, -0.0001), strict=True)]
    row = only(negative_transfer(frame(scratch(A), transfer(tiny))))
    assert row["p_holm"] < 0.05
    assert row["verdict"] == "equivalent"
    assert only(negative_transfer(frame(scratch(A), transfer(tiny)), margin=0.001))["verdict"] == "negative"


def test_a_larger_family_can_take_a_verdict_back():
    doubtful = [a - d for a, d in zip(A, (0.10, 0.01, 0.06, 0.02, 0.09), strict=True)]
    noise = [a + e for a, e in zip(A, (0.2, -0.2, 0.1, -0.15, 0.02), strict=True)]
    alone = negative_transfer(frame(scratch(A), transfer(doubtful)))
    assert only(alone)["verdict"] == "negative"
    others = [transfer(noise, source=f"n{i}") for i in range(9)]
    table = negative_transfer(frame(scratch(A), transfer(doubtful), *others)).set_index("source")
    assert table.loc["a", "p_value"] == only(alone)["p_value"]
    assert table.loc["a", "p_holm"] == pytest.approx(10 * table.loc["a", "p_value"])
    assert table.loc["a", "verdict"] == "inconclusive"


def test_families_are_one_target_and_size_unless_said():
    sizes = [[scratch(A, target_size=n), transfer(B, target_size=n)] for n in (20, 50)]
    rows = frame(*(part for pair in sizes for part in pair))
    apart = negative_transfer(rows)
    together = negative_transfer(rows, family=())
    assert (apart["p_holm"] == apart["p_value"]).all()
    assert together["p_holm"].tolist() == pytest.approx((2 * apart["p_value"]).tolist())
    assert options_of(together)["family"] == []


def test_one_seed_has_a_gap_but_no_interval_and_no_verdict():
    table = negative_transfer(frame(scratch([0.8]), transfer([0.5])))
    row = only(table)
    assert row["ntg"] == pytest.approx(0.3)
    assert np.isnan(row[["ntg_low", "ntg_high", "p_value", "p_holm", "p_equivalence"]].astype(float)).all()
    assert row["verdict"] == "inconclusive"
    assert table.attrs["warnings"] == ["1 comparison has fewer than two seeds: no interval and no verdict is possible."]


def test_arms_that_agree_in_every_seed_are_equivalent():
    seeds = [0.5 + s / 20 for s in range(6)]
    row = only(negative_transfer(frame(scratch(seeds), transfer(seeds))))
    assert row["ntg"] == 0.0
    assert row["p_value"] == 1.0
    assert row["p_equivalence"] == 1 / 2**6
    assert row["verdict"] == "equivalent"


def test_the_same_gap_in_two_seeds_is_not_certainty():
    row = only(negative_transfer(frame(scratch([0.8, 0.9]), transfer([0.7, 0.8]))))
    assert row["p_value"] == 0.5
    assert row["verdict"] == "inconclusive"


def test_comparisons_without_scratch_are_left_out_and_said():
    rows = frame(scratch(A), transfer(B), transfer(B, target="u"), transfer(B, target="u", source="b"))
    table = negative_transfer(rows)
    assert table["target"].tolist() == ["t"]
    assert table.attrs["warnings"] == ["No scratch trial for u, cnn, 20 target examples: 2 comparisons are left out."]


def test_many_settings_without_scratch_are_summed_up():
    table = negative_transfer(frame(*(transfer(B, target=f"u{i}") for i in range(8))))
    assert len(table) == 0
    assert len(table.attrs["warnings"]) == 6
    assert "3 more settings: 3 comparisons" in table.attrs["warnings"][-1]


def test_failed_trials_are_left_out_and_counted():
    lost = {"status": "failed", "test_accuracy": None, "error": "diverged", "validation": None}
    rows = frame(
        [*scratch(A[:4]), *scratch(A[4:], seeds=[4], **lost)],
        [*transfer(B[:1], **lost), *transfer(B[1:], [1, 2, 3, 4])],
    )
    table = negative_transfer(rows)
    row = only(table)
    assert row["n_seeds"] == 3
    assert row["n_failed"] == 2
    assert row["ntg"] == pytest.approx(np.mean([0.08, 0.09, 0.09]))
    assert "2 pairs of trials are left out because one of them failed." in table.attrs["warnings"]


def test_a_comparison_that_failed_altogether_stays_as_a_row():
    row = only(negative_transfer(frame(scratch(A), transfer([None] * 5, status="failed"))))
    assert (row["n_seeds"], row["n_failed"], row["verdict"]) == (0, 5, "inconclusive")
    assert np.isnan(row["ntg"])


def test_a_retried_trial_counts_once():
    failed = transfer([None], status="failed", seeds=[2])
    row = only(negative_transfer(frame(scratch(A), failed, transfer(B))))
    assert (row["n_seeds"], row["n_failed"]) == (5, 0)


def test_seeds_are_paired_on_the_intersection():
    table = negative_transfer(frame(scratch(A, seeds=[0, 1, 2, 3, 4]), transfer(B, seeds=[3, 4, 5, 6, 7])))
    row = only(table)
    assert row["n_seeds"] == 2
    assert row["ntg"] == pytest.approx(np.mean([0.81 - 0.70, 0.79 - 0.74]))
    assert row["scratch_accuracy"] == pytest.approx(0.80)
    assert "3 transfer trials have no scratch trial with that seed." in table.attrs["warnings"]


def test_zero_shot_is_compared_at_every_size():
    zero = transfer([0.75] * 5, strategy="zero-shot", target_size=0, frozen_depth=4, validation="none")
    larger = [a + 0.1 for a in A]
    rows = frame(scratch(A), scratch(larger, target_size=100), zero, transfer(B))
    table = negative_transfer(rows)
    found = table[table["strategy"] == "zero-shot"].set_index("target_size")["ntg"]
    assert found.to_dict() == pytest.approx({20: 0.05, 100: 0.15})
    assert table[table["strategy"] == "fine-tune"]["target_size"].tolist() == [20]
    assert table["validation"].unique().tolist() == ["cut 0.2"]


def test_suites_and_ways_of_validation_are_not_mixed():
    parts = []
    for shift, changes in ((0.0, {}), (0.1, {"suite": "other"}), (0.2, {"validation": "extra 100"})):
        parts += [scratch(A, **changes), transfer([b - shift for b in B], **changes)]
    table = negative_transfer(frame(*parts))
    assert sorted(table["ntg"].round(3)) == [0.094, 0.194, 0.294]
    assert (table["p_holm"] == table["p_value"]).all()


def test_two_results_for_one_place_are_refused():
    rows = frame(scratch(A), transfer(B), transfer([0.1], key="other"))
    with pytest.raises(DataError, match=r"two different results for a -> t, cnn, fine-tune .* seed 0 .*`suite`"):
        negative_transfer(rows)


def test_rows_given_twice_count_once():
    rows = frame(scratch(A), transfer(B))
    pd.testing.assert_frame_equal(negative_transfer(pd.concat([rows, rows])), negative_transfer(rows))


def test_the_tuned_gap_takes_the_best_validated_scratch_of_each_seed():
    val = {"val_loss": 0.5}
    plain = [
        *scratch([0.80], [0], val_accuracy=0.9, **val),
        *scratch([0.80], [1], val_accuracy=0.5, **val),
        *scratch([0.80], [2], val_accuracy=0.7, **val),
        *scratch([0.80], [3], val_accuracy=0.7, **val),
    ]
    longer = [
        *scratch([0.99], [0], val_accuracy=0.8, strategy="scratch-long", **val),  # worse on validation
        *scratch([0.90], [1], val_accuracy=0.6, strategy="scratch-long", **val),  # better
        *scratch([0.70], [2], val_accuracy=0.7, strategy="scratch-long", val_loss=0.1),  # equal, lower loss
        *scratch([0.99], [3], val_accuracy=0.7, strategy="scratch-long", **val),  # equal: plain scratch
    ]
    row = only(negative_transfer(frame(plain, longer, transfer([0.6] * 4))))
    assert row["ntg"] == pytest.approx(0.2)
    assert row["ntg_tuned"] == pytest.approx(np.mean([0.80, 0.90, 0.70, 0.80]) - 0.6)


def test_without_a_longer_arm_the_tuned_gap_is_the_gap():
    row = only(negative_transfer(frame(scratch(A), transfer(B))))
    assert row["ntg_tuned"] == pytest.approx(row["ntg"])


def test_sign_flips_are_exact_and_say_what_they_cannot_decide():
    rows = frame(scratch(A), transfer(B), transfer(B, source="b"))
    table = negative_transfer(rows, test="sign-flip")
    assert table["p_value"].tolist() == [2 / 32] * 2
    assert (table["verdict"] == "inconclusive").all()
    assert "cannot go below p = 0.062" in table.attrs["warnings"][0]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"test": "sign-flop"}, UnknownName, 'did you mean "sign-flip"'),
        ({"correction": "holms"}, UnknownName, 'did you mean "holm"'),
        ({"family": ("traget",)}, UnknownName, 'did you mean "target"'),
        ({"family": "target"}, BenchError, "sequence of column names"),
        ({"margin": 0.0}, BenchError, "margin must be above 0"),
        ({"alpha": 5}, BenchError, "alpha must lie between 0 and 1"),
    ],
)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        negative_transfer(frame(scratch(A), transfer(B)), **options)


def test_bad_rows_are_named():
    rows = frame(scratch(A), transfer(B))
    with pytest.raises(DataError, match="lack the column seed"):
        negative_transfer(rows.drop(columns="seed"))
    with pytest.raises(DataError, match="fraction between 0 and 1, row 0 has 80"):
        negative_transfer(rows.assign(test_accuracy=rows["test_accuracy"] * 100))


def test_no_rows_give_no_comparisons():
    table = negative_transfer(empty())
    assert len(table) == 0
    assert table.dtypes.equals(empty(COMPARISON).dtypes)


ACCURACY = st.integers(0, 500).map(lambda v: v / 1000)
RUNS = st.lists(st.tuples(ACCURACY, ACCURACY), min_size=2, max_size=8)


@settings(deadline=None, max_examples=25)
@given(RUNS, st.randoms(use_true_random=False))
def test_order_of_rows_decides_nothing(runs, random):
    a, b = zip(*runs, strict=True)
    rows = frame(scratch(a), transfer(b), transfer(b[::-1], source="b"))
    order = list(range(len(rows)))
    random.shuffle(order)
    pd.testing.assert_frame_equal(negative_transfer(rows.iloc[order]), negative_transfer(rows), check_exact=True)


@settings(deadline=None, max_examples=25)
@given(RUNS)
def test_swapping_the_arms_turns_the_gap_round(runs):
    a, b = zip(*runs, strict=True)
    one = only(negative_transfer(frame(scratch(a), transfer(b))))
    other = only(negative_transfer(frame(scratch(b), transfer(a))))
    assert other["ntg"] == pytest.approx(-one["ntg"], abs=1e-12)
    assert other["ntg_low"] == pytest.approx(-one["ntg_high"], abs=1e-12)
    assert other["p_value"] == pytest.approx(one["p_value"], abs=1e-9)
    turned = {"negative": "positive", "positive": "negative"}
    assert other["verdict"] == turned.get(one["verdict"], one["verdict"])


@settings(deadline=None, max_examples=25)
@given(RUNS, st.integers(1, 500))
def test_what_all_trials_share_does_not_matter(runs, shift):
    a, b = zip(*runs, strict=True)
    one = only(negative_transfer(frame(scratch(a), transfer(b))))
    moved = [[v + shift / 1000 for v in arm] for arm in (a, b)]
    other = only(negative_transfer(frame(scratch(moved[0]), transfer(moved[1]))))
    for name in ("ntg", "ntg_low", "ntg_high", "p_value", "p_equivalence"):
        assert other[name] == pytest.approx(one[name], abs=1e-9)
    assert other["verdict"] == one["verdict"]


@settings(deadline=None, max_examples=25)
@given(RUNS)
def test_verdict_follows_from_the_columns(runs):
    a, b = zip(*runs, strict=True)
    row = only(negative_transfer(frame(scratch(a), transfer(b))))
    if row["p_equivalence_holm"] <= 0.05:
        assert row["verdict"] == "equivalent"
        assert abs(row["ntg"]) < 0.01
    elif row["p_holm"] <= 0.05:
        assert row["verdict"] == ("negative" if row["ntg"] > 0 else "positive")
    else:
        assert row["verdict"] == "inconclusive"
    assert row["ntg_low"] <= row["ntg"] <= row["ntg_high"]
