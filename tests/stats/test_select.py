import pandas as pd
import pytest
from trial_rows import frame, scratch, transfer

from bench.stats.gap import negative_transfer
from bench.stats.select import select_depth


def depth(f, test, val, loss=0.5, **changes):
    rows = transfer(test, frozen_depth=f, **changes)
    return [row | {"val_accuracy": v, "val_loss": loss} for row, v in zip(rows, val, strict=True)]


def chosen(rows):
    return rows[rows["strategy"] == "fine-tune (depth by validation)"].set_index("seed")


def test_the_depth_is_chosen_on_validation_and_never_on_test():
    rows = frame(scratch([0.8, 0.8]), depth(0, [0.9, 0.1], [0.3, 0.6]), depth(1, [0.2, 0.7], [0.5, 0.4]))
    picked = chosen(select_depth(rows))
    assert picked["chosen_frozen_depth"].to_dict() == {0: 1, 1: 0}
    assert picked["test_accuracy"].to_dict() == {0: 0.2, 1: 0.1}
    # Whatever the test accuracies were, the choice would have been the same.
    turned = rows.assign(test_accuracy=1 - rows["test_accuracy"])
    assert chosen(select_depth(turned))["chosen_frozen_depth"].to_dict() == {0: 1, 1: 0}


def test_ties_go_to_the_lower_loss_and_then_to_the_shallower_point():
    rows = frame(depth(1, [0.1], [0.5], loss=0.4), depth(0, [0.2], [0.5], loss=0.5), depth(2, [0.3], [0.5], loss=0.4))
    assert chosen(select_depth(rows))["chosen_frozen_depth"].to_dict() == {0: 1}


def test_the_result_is_one_comparison_and_keeps_scratch():
    rows = frame(scratch([0.8, 0.8]), depth(0, [0.9, 0.1], [0.3, 0.6]), depth(1, [0.2, 0.7], [0.5, 0.4]))
    table = negative_transfer(select_depth(rows))
    assert table["strategy"].tolist() == ["fine-tune (depth by validation)"]
    assert table["n_seeds"].tolist() == [2]
    assert table["ntg"].iloc[0] == pytest.approx(0.8 - 0.15)
    assert table[["transfer_depth", "frozen_depth"]].isna().all(axis=None)


def test_it_can_stand_beside_the_single_depths():
    rows = frame(scratch([0.8, 0.8]), depth(0, [0.9, 0.1], [0.3, 0.6]), depth(1, [0.2, 0.7], [0.5, 0.4]))
    table = negative_transfer(pd.concat([rows, select_depth(rows)]))
    assert table["strategy"].tolist() == ["fine-tune", "fine-tune", "fine-tune (depth by validation)"]


def test_a_strategy_of_one_depth_passes_through():
    rows = frame(scratch([0.8]), transfer([0.5], strategy="feature-extraction", frozen_depth=4))
    table = select_depth(rows)
    assert sorted(table["strategy"]) == ["feature-extraction", "scratch"]
    assert sorted(table["frozen_depth"]) == [0, 4]


def test_settings_are_chosen_for_apart_even_without_a_suite_name():
    rows = frame(depth(0, [0.1], [0.9]), depth(1, [0.2], [0.5]))
    other = frame(depth(0, [0.1], [0.5]), depth(1, [0.2], [0.9])).assign(target_size=50)
    both = pd.concat([rows, other]).assign(suite=None)
    picked = chosen(select_depth(both)).set_index("target_size")
    assert picked["chosen_frozen_depth"].to_dict() == {20: 0, 50: 1}


def test_a_failed_depth_is_not_chosen_and_a_seed_of_failures_stays_failed():
    lost = {"status": "failed", "test_accuracy": None, "val_accuracy": None}
    rows = [*depth(0, [0.5, 0.5], [0.9, 0.9]), *depth(1, [0.4, 0.4], [0.5, 0.5])]
    rows[0] |= lost
    rows[1] |= lost
    rows[3] |= lost
    picked = chosen(select_depth(frame(rows)))
    assert picked["chosen_frozen_depth"].dropna().to_dict() == {0: 1}
    assert picked["status"].to_dict() == {0: "ok", 1: "failed"}


def test_without_validation_there_is_no_choice_and_it_says_so():
    rows = frame(scratch([0.8]), depth(0, [0.9], [None]), depth(1, [0.2], [None]))
    table = select_depth(rows)
    assert chosen(table)["status"].tolist() == ["failed"]
    assert table.attrs["warnings"] == ["No validation accuracy to choose a depth by in 1 cases."]
    assert negative_transfer(table)["n_failed"].tolist() == [1]
