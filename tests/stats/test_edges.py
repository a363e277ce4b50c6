"""A best learning rate at the edge of the grid is said: the gap may then be the grid's."""

from __future__ import annotations

import pandas as pd

from bench.stats.edges import grid_edges


def rows(strategy, rates, size=20, **more):
    return [
        {"target": "t", "backbone": "b", "strategy": strategy, "target_size": size, "status": "ok", "learning_rate": r}
        | more
        for r in rates
    ]


TRIED = {"learning_rates": "0.001, 0.01, 0.1"}


def test_a_strategy_at_the_edge_is_named_with_its_share():
    table = pd.DataFrame(rows("probe", [0.1] * 9 + [0.03]) + rows("scratch", [0.01, 0.03] * 5))
    (sentence,) = grid_edges(table)
    assert sentence.startswith("The largest learning rate chosen for t (b), 0.1,")
    assert "probe at size 20 (90%)" in sentence
    assert "scratch" not in sentence


def test_both_edges_are_said():
    table = pd.DataFrame(rows("probe", [0.1] * 10) + rows("scratch", [0.01] * 10))
    largest, smallest = grid_edges(table)
    assert "probe" in largest
    assert "scratch" in smallest
    assert "smaller rate" in smallest


def test_few_trials_failed_ones_and_a_grid_of_one_rate_say_nothing():
    mixed = rows("probe", [0.1] * 8 + [0.03]) + rows("scratch", [0.01, 0.03] * 5)
    assert grid_edges(pd.DataFrame(mixed)) == []
    assert grid_edges(pd.DataFrame(rows("probe", [0.1] * 2) + rows("scratch", [0.01, 0.03] * 5))) == []
    assert grid_edges(pd.DataFrame(rows("probe", [0.1] * 20))) == []
    assert grid_edges(pd.DataFrame(rows("probe", [0.1] * 20, learning_rates="0.1"))) == []
    failed = pd.DataFrame(rows("probe", [0.1] * 20) + rows("scratch", [0.01, 0.03] * 5))
    failed.loc[failed.strategy == "probe", "status"] = "failed"
    assert grid_edges(failed) == []


def test_an_edge_that_every_arm_leans_on_is_seen_from_what_was_tried():
    table = pd.DataFrame(rows("probe", [0.1] * 10, **TRIED) + rows("scratch", [0.1] * 10, **TRIED))
    (sentence,) = grid_edges(table)
    assert sentence.startswith("The largest learning rate tried for t (b), 0.1, was the choice of most trials of every")
    assert "a larger rate may suit them better" in sentence
    assert sentence.endswith("Add 1 to learning_rates to know.")


def test_the_least_rate_that_was_chosen_is_no_edge_where_a_lower_one_was_tried():
    inside = rows("probe", [0.01] * 10, **TRIED) + rows("scratch", [0.01, 0.1] * 5, **TRIED)
    assert grid_edges(pd.DataFrame(inside)) == []


def test_few_trials_tell_where_every_one_of_them_chose_the_edge():
    table = pd.DataFrame(rows("probe", [0.001] * 3, **TRIED) + rows("scratch", [0.01] * 3, **TRIED))
    (sentence,) = grid_edges(table)
    assert "probe at size 20 (100%)" in sentence
    assert sentence.endswith("Add 0.0001 to learning_rates to know.")


def heads(strengths, tried="1, 0.01, 0.0001"):
    said = {"head_strengths": tried, "learning_rates": None}
    return [row | {"head_strength": s} for s in strengths for row in rows("heads", [None], **said)]


def test_a_strength_at_the_edge_is_said_as_a_rate_is():
    table = pd.DataFrame(rows("scratch", [0.01] * 10, **TRIED) + heads([0.0001] * 9 + [1.0]))
    (sentence,) = grid_edges(table)
    assert sentence == (
        "The smallest strength of a solved head's penalty tried for t (b), 0.0001, was the choice of most trials of "
        "heads at size 20 (90%): a smaller strength may suit them better, so part of their gap may be the grid's. "
        "Add 1e-06 to head_strengths to know."
    )
    assert grid_edges(pd.DataFrame(heads([0.01] * 10))) == []


def test_of_two_strengths_one_is_always_chosen_and_that_of_a_probe_is_given():
    assert grid_edges(pd.DataFrame(heads([0.1] * 10, tried="0.1, 0.001"))) == []
    assert grid_edges(pd.DataFrame(heads([0.01] * 10, tried=None))) == []
