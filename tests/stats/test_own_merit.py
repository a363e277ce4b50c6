"""Scratch by a method: what no comparison shows is said."""

from __future__ import annotations

import pandas as pd

from bench.schema import TRIAL, conform
from bench.stats.own_merit import own_merits


def rows(method=None, status="ok"):
    def row(strategy, seed, score, method=None, source=None, status="ok"):
        return {
            "suite": "s", "target": "t", "backbone": "cnn", "target_size": 20, "status": status, "metric": "accuracy",
            "metric_unit": "points", "strategy": strategy, "seed": seed, "test_score": score, "method": method,
            "source": source, "test_accuracy": score,
        }  # fmt: skip

    made = [row("scratch", 0, 0.6), row("scratch", 1, 0.7), row("scratch-long", 0, 0.9)]
    made += [row("scratch+mixup", seed, score, method, status=status) for seed, score in ((0, 0.7), (1, 0.8), (2, 0.1))]
    made.append(row("fine-tune+mixup", 0, 0.9, method, "a"))
    return conform(pd.DataFrame(made), TRIAL)


def test_scratch_by_a_method_is_told_over_its_common_seeds():
    (said,) = own_merits(rows("mixup"))
    assert said.startswith("scratch+mixup for t (cnn, size 20) reaches 75.0 % without a source, a gap of -10.0 points")


def test_nothing_is_said_without_one():
    assert own_merits(rows()) == []
    assert own_merits(rows("mixup", status="failed")) == []
