"""Rows by other metrics than accuracy: what is compared, in which unit, and what older rows mean."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ntbench_paper.regret import depth_regret
from trial_rows import frame, scratch, transfer

from bench.errors import DataError
from bench.ledger.results import load_results
from bench.report.findings import findings
from bench.report.table import format_table
from bench.schema import TRIAL, similarity_columns
from bench.scores import Scale, scale_of, with_scores
from bench.stats.advice import textbook
from bench.stats.difference import difference
from bench.stats.effective import effective_data
from bench.stats.gap import negative_transfer
from bench.stats.pairs import negative_share, pair_gaps, similarity_correlation
from bench.stats.select import select_depth

AUROC = {"metric": "auroc", "metric_unit": "points"}
MAE = {"metric": "mae", "metric_unit": ""}


def scored(rows: list[dict], scores: list[float], **said) -> list[dict]:
    """The rows with scores of their own beside accuracies that say something else."""
    return [row | {"test_score": s, "val_score": s, **said} for row, s in zip(rows, scores, strict=True)]


def by(said: dict, before: list[float], after: list[float], **changes) -> pd.DataFrame:
    half = [0.5] * len(before)
    return frame(scored(scratch(half), before, **said), scored(transfer(half, **changes), after, **said))


def test_the_gap_is_one_in_the_metric():
    rows = by(AUROC, [0.9, 0.92, 0.88], [0.8, 0.83, 0.79])
    (row,) = negative_transfer(rows).to_dict("records")
    assert row["ntg"] == pytest.approx(np.mean([0.1, 0.09, 0.09]))
    assert (row["scratch_score"], row["transfer_score"]) == pytest.approx((0.9, 0.8066666666))
    assert (row["metric"], row["metric_unit"]) == ("auroc", "points")
    assert row["scratch_accuracy"] == 0.5  # beside, where the rows have it
    assert row["verdict"] == "negative"


def test_older_rows_are_accuracies_and_their_scores_are_filled():
    rows = with_scores(frame(scratch([0.5, 0.6]), transfer([0.7, 0.8])))
    assert set(rows["metric"]) == {"accuracy"}
    assert rows["test_score"].tolist() == rows["test_accuracy"].tolist()
    table = negative_transfer(rows)
    assert table["scratch_score"].tolist() == table["scratch_accuracy"].tolist() == [0.55]
    assert set(table["metric"]) == {"accuracy"}


def test_older_files_are_filled_when_they_are_read(tmp_path):
    rows = frame(scratch([0.5, 0.6]), transfer([0.7, 0.8]))
    old = [c.name for c in TRIAL if c.name not in ("metric", "metric_unit", "test_score", "val_score")]
    rows[old].assign(val_accuracy=0.4).to_parquet(tmp_path / "results.parquet")
    found = load_results(tmp_path)
    assert set(found["metric"]) == {"accuracy"}
    assert set(found["metric_unit"]) == {"points"}
    assert found["test_score"].tolist() == found["test_accuracy"].tolist()
    assert set(found["val_score"]) == {0.4}


def test_scores_of_two_metrics_are_never_compared():
    accuracy = frame(scratch([0.5, 0.6]), transfer([0.7, 0.8]))
    area = by(AUROC, [0.9, 0.92], [0.8, 0.83])
    table = negative_transfer(pd.concat([accuracy, area], ignore_index=True))
    gaps = table.set_index("metric")["ntg"]
    assert gaps["accuracy"] == pytest.approx(-0.2)
    assert gaps["auroc"] == pytest.approx(0.095)
    alone = negative_transfer(pd.concat([accuracy, area[area["source"].notna()]], ignore_index=True))
    assert set(alone["metric"]) == {"accuracy"}
    assert any("No scratch trial" in warning for warning in alone.attrs["warnings"])
    with pytest.raises(DataError, match="several metrics cannot be compared: accuracy, auroc"):
        scale_of(table)
    for average in (negative_share, similarity_correlation):
        with pytest.raises(DataError, match="several metrics"):
            average(table)
    assert len(negative_share(table, ["metric"])) == 2
    with pytest.raises(DataError, match="several metrics"):
        pair_gaps(pd.concat([accuracy, area], ignore_index=True))
    assert [s for s in findings(table) if s.startswith("By AUROC: ")]
    assert "-20.0" in format_table(table, "md")
    assert "+9.5" in format_table(table, "md")


def test_an_unbounded_metric_has_no_margin_of_its_own():
    rows = by(MAE, [-3.0, -3.2, -2.9], [-2.0, -2.1, -1.8])
    with pytest.raises(DataError, match="the metric mae is not bounded: say a margin of equivalence, in units of the"):
        negative_transfer(rows)
    with pytest.raises(DataError, match="not bounded"):
        textbook(rows)
    (row,) = negative_transfer(rows, margin=0.2).to_dict("records")
    assert row["ntg"] == pytest.approx(-1.0667, abs=1e-3)


def test_an_accuracy_must_be_a_fraction_and_an_error_need_not():
    with pytest.raises(DataError, match="must be a fraction"):
        negative_transfer(frame(scratch([50.0]), transfer([0.6])))
    assert len(negative_transfer(by(MAE, [-300.0], [-200.0]), margin=1))


def test_rows_without_accuracies_compare_by_their_score():
    rows = by(MAE, [-3.0, -3.2], [-2.0, -2.1]).drop(columns="test_accuracy")
    assert negative_transfer(rows, margin=1)["ntg"].iloc[0] == pytest.approx(-1.05)


def test_what_is_said_names_metric_and_unit():
    rows = by(MAE, [-3.0, -3.2, -2.9], [-2.0, -2.1, -1.8])
    table = negative_transfer(rows, margin=0.2)
    said = " ".join(findings(table))
    assert "points" not in said
    assert "accuracy" not in said
    assert "-1.07 units of the target [-1.21, -0.92], positive" in said
    text = " ".join(format_table(table, "text").split())
    assert "Gap = MAE after transfer minus MAE from scratch, in units of the target" in text
    assert "Scratch MAE 3.03" in text
    assert "within 0.2 units of the target" in text


def test_by_a_bounded_metric_gaps_are_points():
    said = " ".join(findings(negative_transfer(by(AUROC, [0.9, 0.92, 0.88], [0.8, 0.83, 0.79]))))
    assert "at +9.3 points" in said
    text = " ".join(format_table(negative_transfer(by(AUROC, [0.9, 0.92], [0.8, 0.83])), "text").split())
    assert "Scratch AUROC 91.0 % (2 seeds)" in text
    assert "Gap = AUROC from scratch minus AUROC after transfer, in points" in text
    assert "accuracy" not in text


@pytest.mark.parametrize(
    ("metric", "told"), [("accuracy", True), ("balanced-accuracy", True), ("auroc", False)]
)  # fmt: skip
def test_one_class_alone_is_a_constant_by_predicted_labels_only(metric, told):
    said = {"metric": metric, "metric_unit": "points", "classes_predicted": 1, "majority_accuracy": 0.9}
    table = negative_transfer(by(said, [0.9, 0.9], [0.9, 0.91]))
    warned = any("compare a transfer with a constant" in warning for warning in table.attrs["warnings"])
    assert warned == told
    assert any("predicts one class" in sentence for sentence in findings(table)) == told
    text = " ".join(format_table(table, "text").split())
    assert ("Predicts one class" in text) == told
    assert ("majority class" in text) == (metric == "accuracy")


def test_depth_is_chosen_by_the_score_and_by_loss_where_there_is_none():
    half = [0.5, 0.5]
    rows = frame(
        scored(scratch(half), [0.7, 0.7], **AUROC),
        scored(transfer(half, transfer_depth=1), [0.8, 0.8], val_loss=0.3, val_accuracy=0.9, **AUROC),
        scored(transfer(half, transfer_depth=2), [0.9, 0.6], val_loss=0.2, val_accuracy=0.1, **AUROC),
    )
    chosen = select_depth(rows)
    chosen = chosen[chosen["source"].notna()].set_index("seed")["chosen_transfer_depth"]
    assert chosen.tolist() == [2, 1]
    undefined = select_depth(rows.assign(val_score=np.nan))
    undefined = undefined[undefined["source"].notna()].set_index("seed")["chosen_transfer_depth"]
    assert undefined.tolist() == [2, 2]


def test_tables_of_scores_are_called_scores_and_those_of_accuracies_as_ever():
    half = [0.5] * 3
    parts = [
        scored(scratch(half, target_size=size), [a - 0.1, a, a + 0.05], **AUROC) for size, a in ((20, 0.6), (80, 0.8))
    ]
    parts += [scored(transfer(half, transfer_depth=n), [0.7, 0.71, 0.72 + n / 100], **AUROC) for n in (1, 2)]
    rows = frame(*parts)
    assert {"metric", "transfer_score"} <= set(effective_data(rows))
    assert {"metric", "best_score", "chosen_score", "worst_score"} <= set(depth_regret(rows))
    plain = rows.assign(metric="accuracy", metric_unit="points", test_accuracy=rows["test_score"], val_accuracy=0.5)
    assert "transfer_accuracy" in effective_data(plain)
    assert not {"metric", "transfer_score"} & set(effective_data(plain))
    assert "best_accuracy" in depth_regret(plain)


def test_differences_are_judged_by_the_score():
    a, b = by(AUROC, [0.9, 0.92, 0.91], [0.8, 0.83, 0.81]), by(AUROC, [0.9, 0.92, 0.91], [0.6, 0.63, 0.62])
    found = difference(a, b, negative_transfer(a), negative_transfer(b))
    assert found.count("trials", "beyond noise") == 3
    beyond = found.trials[found.trials["state"] == "beyond noise"]
    assert beyond["score_b"].tolist() == [0.6, 0.63, 0.62]
    plain = frame(scratch([0.9, 0.8]), transfer([0.8, 0.7]))
    same = difference(plain, plain, negative_transfer(plain), negative_transfer(plain))
    assert "accuracy_a" in same.trials
    assert "metric" not in same.trials


def test_two_seeds_tell_nothing_of_noise_where_its_size_is_not_known():
    a, b = by(AUROC, [0.9, 0.92], [0.8, 0.83]), by(AUROC, [0.9, 0.92], [0.2, 0.3])
    found = difference(a, b, negative_transfer(a), negative_transfer(b))
    assert found.count("trials", "within noise") == 2
    assert "2 rows by auroc changed, of cells with fewer than 3 seeds: nothing tells that from noise." in found.notes


def test_rows_by_two_metrics_have_no_trial_in_common():
    a, b = frame(scratch([0.9]), transfer([0.8])), by(AUROC, [0.9], [0.8])
    found = difference(a, b, negative_transfer(a), negative_transfer(b))
    assert found.count("trials", "only in A") == found.count("trials", "only in B") == 2


def test_scores_on_the_test_set_are_no_measures_of_similarity():
    rows = frame(scratch([0.5], test_mine=0.3, closeness=2.0))
    assert similarity_columns(rows)[-1] == "closeness"


@pytest.mark.parametrize(
    ("scale", "gap", "score", "margin"),
    [
        (Scale(), "+12.3", "12.3 %", "1.5 points"),
        (Scale("auroc"), "+12.3", "12.3 %", "1.5 points"),
        (Scale("r2", "R2", 1.0), "+0.123", "0.123", "0.015 R2"),
        (Scale("mae", "", 10.0), "+0.12", "0.12", "0.015 units of the target"),
        (Scale("log-loss", "nats", 0.1), "+0.1235", "0.1235", "0.015 nats"),
    ],
)
def test_numbers_are_written_in_the_unit(scale, gap, score, margin):
    assert (scale.gap(0.12345), scale.score(0.12345), scale.margin(0.015)) == (gap, score, margin)


def test_a_plug_in_s_metric_that_is_not_loaded_is_called_by_its_name():
    scale = scale_of(pd.DataFrame({"metric": ["profit"], "metric_unit": ["euros"], "ntg": [130.0]}))
    assert (scale.label, scale.units, scale.bounded, scale.step) == ("profit", "euros", False, 1000.0)
    assert scale.gap(130.0) == "+130"


def test_errors_are_called_by_their_name_and_shown_as_they_are():
    scale = Scale("mae", "", 10.0)
    assert scale.named(-3.2) == "MAE 3.20"
    assert scale.gap_axis == "gap in MAE, units of the target: above 0, transfer harms"
    assert scale.axis == "minus test MAE, units of the target"
    assert Scale("auroc").named(0.9) == "AUROC 90.0 %"
    assert Scale("auroc").gap_axis == "gap in AUROC, points: above 0, transfer harms"
    assert Scale("auroc").axis == "test AUROC, %"
    assert Scale("r2", "R2").gap_axis == "gap in R2: above 0, transfer harms"
    assert Scale().gap_axis == "gap in points: above 0, transfer harms"
    assert Scale().axis == "test accuracy, %"
    assert Scale().named(0.9) == "90.0 %"
