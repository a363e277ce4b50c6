"""A best learning rate at the edge of the grid is said: the gap may then be the grid's."""

from __future__ import annotations

import pandas as pd

from bench.stats.edges import grid_edges


def rows(strategy, rates, size=20):
    return [
        {"target": "t", "backbone": "b", "strategy": strategy, "target_size": size, "status": "ok", "learning_rate": r}
        for r in rates
    ]


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
    assert grid_edges(pd.DataFrame(rows("probe", [0.1] * 9) + rows("scratch", [0.01, 0.03] * 5))) == []
    assert grid_edges(pd.DataFrame(rows("probe", [0.1] * 20))) == []
    failed = pd.DataFrame(rows("probe", [0.1] * 20) + rows("scratch", [0.01, 0.03] * 5))
    failed.loc[failed.strategy == "probe", "status"] = "failed"
    assert grid_edges(failed) == []
