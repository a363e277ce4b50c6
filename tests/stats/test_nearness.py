"""What intervals of similarity say of the order of sources, and what they leave open."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.schema import interval_columns, near_is_low, similarity_columns
from bench.stats.nearness import halves, kendall, ranks, similarity_means, surely_nearer


def pairs(*ends, measure="frechet_distance"):
    """Pairs with these intervals, the value in the middle."""
    low, high = np.array(ends, float).T
    return pd.DataFrame({measure: (low + high) / 2, f"{measure}_low": low, f"{measure}_high": high})


def test_only_intervals_that_do_not_overlap_say_which_is_nearer():
    nearer = surely_nearer(pairs((0, 1), (0.5, 2), (1.5, 3)), "frechet_distance")
    assert nearer.tolist() == [[False, False, True], [False, False, False], [False, False, False]]
    scores = surely_nearer(pairs((-3, -2), (-1, -0.5), measure="leep"), "leep")
    assert scores.tolist() == [[False, False], [True, False]]
    assert not surely_nearer(pd.DataFrame({"frechet_distance": [0.0, 9.0]}), "frechet_distance").any()


def test_ranks_share_the_places_that_intervals_leave_open():
    apart = surely_nearer(pairs((4, 5), (0, 1), (2, 3)), "frechet_distance")
    assert ranks(apart).tolist() == [3, 1, 2]
    assert ranks(surely_nearer(pairs((0, 9), (1, 8), (2, 7)), "frechet_distance")).tolist() == [2, 2, 2]
    assert ranks(surely_nearer(pairs((0, 1), (2, 4), (3, 5), (6, 7)), "frechet_distance")).tolist() == [1, 2.5, 2.5, 4]


def test_halves_hold_what_surely_belongs_there():
    assert halves(pairs((0, 1), (2, 3), (4, 5), (6, 7)), "frechet_distance") == ([0, 1], [2, 3])
    assert halves(pairs((0, 1), (2, 4.5), (4, 5), (6, 7)), "frechet_distance") == ([0], [3])
    assert halves(pairs((0, 1), (0, 1)), "frechet_distance") == ([], [])
    assert halves(pairs((0, 1)), "frechet_distance") == ([], [])
    assert halves(pairs((-9, -8), (-2, -1), measure="leep"), "leep") == ([1], [0])


def test_kendalls_tau_without_ties_is_the_usual_one_and_ties_where_intervals_overlap():
    gaps = np.array([0.1, 0.3, 0.2, 0.6, 0.5])
    apart = surely_nearer(pairs(*((i, i + 0.5) for i in range(5))), "frechet_distance")
    tau, p = kendall(apart, gaps, 1000)
    usual = stats.kendalltau(range(5), gaps)
    assert tau == pytest.approx(usual.statistic)
    assert p == pytest.approx(usual.pvalue)
    # The second and third cannot be told apart: as tau-b has it where they are equal.
    tied = surely_nearer(pairs((0, 0.5), (1, 2.5), (2, 3), (4, 5), (6, 7)), "frechet_distance")
    assert kendall(tied, gaps, 1000)[0] == pytest.approx(stats.kendalltau([0, 1, 1, 3, 4], gaps).statistic)
    every = [kendall_by_hand(tied, np.array(order)) for order in itertools.permutations(gaps)]
    tau, p = kendall(tied, gaps, 1000)
    assert p == pytest.approx(min(1.0, 2 * np.mean(np.array(every) >= tau - 1e-12)))
    assert all(math.isnan(v) for v in kendall(np.zeros((5, 5), bool), gaps, 1000))


def kendall_by_hand(nearer, gaps):
    total = both = 0
    for i, j in itertools.combinations(range(len(gaps)), 2):
        order = int(nearer[i, j]) - int(nearer[j, i])
        total += order * np.sign(gaps[j] - gaps[i])
        both += abs(order)
    n = len(gaps)
    return total / math.sqrt(both * n * (n - 1) / 2)


def test_a_mean_over_source_models_has_both_parts_of_its_interval():
    rows = pd.DataFrame({
        "source": "a", "source_seed": [0, 0, 1, 2], "frechet_distance": [1.0, 1.0, 2.0, 3.0],
        "frechet_distance_low": [0.5, 0.5, 1.5, 2.5], "frechet_distance_high": [1.5, 1.5, 2.5, 3.5],
    })  # fmt: skip
    row = similarity_means(rows, ["source"], ["frechet_distance"]).loc["a"]
    between = stats.t.ppf(0.975, 2) * 1.0 / math.sqrt(3)  # of the three models, each counted once
    assert row["frechet_distance"] == pytest.approx(7 / 4)
    assert row["frechet_distance_high"] == pytest.approx(7 / 4 + math.hypot(0.5, between))
    assert row["frechet_distance_low"] == 0  # a distance has no room below
    one = similarity_means(rows[rows["source_seed"] == 0], ["source"], ["frechet_distance"]).loc["a"]
    assert (one["frechet_distance_low"], one["frechet_distance_high"]) == pytest.approx((0.5, 1.5))
    rows.loc[3, "frechet_distance_low"] = np.nan
    assert math.isnan(similarity_means(rows, ["source"], ["frechet_distance"]).loc["a", "frechet_distance_low"])


def test_ends_of_intervals_are_no_measures():
    frame = pairs((0, 1)).assign(mine=1.0, mine_low=0.5, mine_high=2.0, half_low=3.0)
    assert similarity_columns(frame) == ["frechet_distance", "mine", "half_low"]
    assert interval_columns(frame) == ["frechet_distance_low", "frechet_distance_high", "mine_low", "mine_high"]
    assert near_is_low("mine")
