import numpy as np
import pytest
from ntbench_paper.regret import depth_regret
from scipy import stats
from trial_rows import frame, scratch, transfer

TEST = np.array([[0.9, 0.8, 0.85, 0.7], [0.7, 0.9, 0.8, 0.75], [0.6, 0.5, 0.9, 0.6]])  # depth x seed
VAL = np.array([[0.5, 0.9, 0.9, 0.9], [0.9, 0.5, 0.5, 0.5], [0.1, 0.1, 0.1, 0.1]])


def rows():
    parts = [scratch([0.5] * 4)]
    for f in range(3):
        arm = transfer(TEST[f], frozen_depth=f)
        parts.append([row | {"val_accuracy": v, "val_loss": 0.5} for row, v in zip(arm, VAL[f], strict=True)])
    return frame(*parts, transfer([0.1] * 4, strategy="feature-extraction", frozen_depth=4))


def test_regret_is_the_best_depth_minus_the_chosen_one():
    table = depth_regret(rows())
    row = table.iloc[0]
    assert len(table) == 1  # a strategy of one depth has no choice to regret
    assert (row["best_frozen_depth"], row["n_depths"], row["n_seeds"]) == (0, 3, 4)
    picked = np.array([TEST[1, 0], TEST[0, 1], TEST[0, 2], TEST[0, 3]])
    assert row["best_accuracy"] == pytest.approx(TEST[0].mean())
    assert row["chosen_accuracy"] == pytest.approx(picked.mean())
    assert row["regret"] == pytest.approx(np.mean(TEST[0] - picked))
    assert (row["regret_low"], row["regret_high"]) == pytest.approx(
        tuple(stats.ttest_rel(TEST[0], picked).confidence_interval())
    )
    assert row["share_best"] == 0.75
    assert row["worst_accuracy"] == pytest.approx(TEST[2].mean())


def test_left_out_each_seed_takes_the_depth_that_is_best_on_the_others():
    picked = np.array([TEST[1, 0], TEST[0, 1], TEST[0, 2], TEST[0, 3]])
    best = [max(range(3), key=lambda f, i=i: sum(TEST[f]) - TEST[f, i]) for i in range(4)]
    expected = np.mean([TEST[f, i] for i, f in enumerate(best)] - picked)
    assert depth_regret(rows())["regret_left_out"].iloc[0] == pytest.approx(expected)


def test_no_depths_no_table():
    assert len(depth_regret(frame(scratch([0.5] * 2), transfer([0.4] * 2)))) == 0
