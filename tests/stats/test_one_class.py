"""Arms that predict one class for every test example are counted and called out."""

import pytest
from trial_rows import frame, scratch, transfer

from bench.report.findings import findings
from bench.report.table import format_table
from bench.stats.gap import negative_transfer

SKEW = {"majority_accuracy": 0.7, "n_test": 10}


def arm(rows, classes_predicted):
    """Say how many classes each trial predicts."""
    return [row | SKEW | {"classes_predicted": n} for row, n in zip(rows, classes_predicted, strict=True)]


@pytest.fixture(scope="module")
def comparisons():
    return negative_transfer(
        frame(
            arm(scratch([0.7, 0.9, 0.7, 0.8]), [1, 2, 1, 2]),
            arm(transfer([0.7, 0.7, 0.7, 0.9]), [1, 1, 1, 2]),
            # 0.7 and two classes: an accuracy may equal the majority's share by chance.
            arm(transfer([0.7, 0.8, 0.9, 0.9], source="b"), [2, 2, 2, 2]),
        )
    )


def test_seeds_are_counted_by_what_was_predicted(comparisons):
    table = comparisons.set_index("source")
    assert table["n_one_class"].to_dict() == {"a": 3, "b": 0}
    assert table["n_scratch_one_class"].to_dict() == {"a": 2, "b": 2}
    assert table["majority_accuracy"].to_numpy() == pytest.approx(0.7)


def test_only_paired_seeds_count():
    found = negative_transfer(frame(arm(scratch([0.7, 0.9]), [1, 2]), arm(transfer([0.7, 0.7, 0.7]), [1, 1, 1]))).iloc[
        0
    ]
    assert (found["n_seeds"], found["n_one_class"], found["n_scratch_one_class"]) == (2, 2, 1)


def test_tables_findings_and_warnings_say_so(comparisons):
    for fmt in ("text", "md", "latex"):
        words = " ".join(format_table(comparisons, fmt).split()).replace("\\%", "%")
        assert "always the majority class 70.0 %" in words
        assert "Predicts one class: scratch in 2 of 4 seeds, a by fine-tune in 3 of 4 seeds." in words
    assert "n_one_class" in format_table(comparisons, "csv").splitlines()[0]
    assert findings(comparisons)[-1] == (
        "In 1 of 2 comparisons the transfer predicts one class for every test example in some seeds: a -> t by "
        "fine-tune with 20 target examples in 3 of 4 seeds."
    )
    (said,) = [text for text in comparisons.attrs["warnings"] if "one class" in text]
    assert said.startswith(
        "Scratch predicts one class for every test example of t (cnn) in some seeds of size 20 (2 of 4):"
    )


def test_sizes_are_said_together_and_many_targets_summed_up():
    parts = [
        arm(rows, [1, 1])
        for place in [{"target": f"t{i}"} for i in range(7)] + [{"target": "t0", "target_size": 40}]
        for rows in (scratch([0.7, 0.7], **place), transfer([0.7, 0.7], **place))
    ]
    said = [text for text in negative_transfer(frame(*parts)).attrs["warnings"] if "scratch" in text.lower()]
    assert len(said) == 6
    assert "t0 (cnn) in some seeds of size 20 (2 of 2), size 40 (2 of 2):" in said[0]
    assert said[-1] == "The same holds for 2 more (column n_scratch_one_class)."


def test_rows_that_do_not_say_are_not_judged():
    table = negative_transfer(frame(scratch([0.7, 0.7]), transfer([0.7, 0.7])))
    assert table[["n_one_class", "n_scratch_one_class", "majority_accuracy"]].isna().all(axis=None)
    assert not [text for text in [*table.attrs["warnings"], *findings(table)] if "one class" in text]
    words = format_table(table)
    assert "majority" not in words
    assert "one class" not in words
