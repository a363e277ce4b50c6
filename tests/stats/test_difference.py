"""Two tables of trials compared: what counts as the same, as noise and as a change."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.errors import BenchError
from bench.schema import conform
from bench.stats.difference import BEYOND, ONLY_A, ONLY_B, SAME, STATES, WITHIN, difference
from bench.stats.gap import negative_transfer

WAYS = [("scratch", None, 0, 0), ("fine-tune", "near", 2, 0), ("fine-tune", "far", 2, 0), ("zero-shot", "near", 2, 2)]


def table(seeds=8, n_test=500, spread=0.02, rng=0, sizes=(20, 40)):
    """Trials of a scratch arm and three transfers, at two sizes."""
    chance = np.random.default_rng(rng)
    rows = [
        {
            "suite": "s", "source": source, "target": "t", "backbone": "cnn", "strategy": strategy,
            "transfer_depth": n, "frozen_depth": f, "weighting": "uniform" if source else None,
            "target_size": 0 if strategy == "zero-shot" else size, "seed": seed, "status": "ok", "n_test": n_test,
            "test_accuracy": round(n_test * (0.7 + chance.normal(0, spread))) / n_test, "test_loss": chance.random(),
            "validation": "none" if strategy == "zero-shot" else "cut 0.2", "key": f"{source}{strategy}{size}{seed}",
        }
        for size in sizes for strategy, source, n, f in WAYS for seed in range(seeds)
        if strategy != "zero-shot" or size == sizes[0]
    ]  # fmt: skip
    return conform(rows)


def compare(a, b, **options):
    return difference(a, b, negative_transfer(a), negative_transfer(b), **options)


def counts(found, name="trials"):
    return {state: found.count(name, state) for state in STATES if found.count(name, state)}


def moved(rows, by, **where):
    """Rows with another accuracy in some places."""
    hit = np.logical_and.reduce([rows[name].eq(value).fillna(False) for name, value in where.items()])
    return rows.assign(test_accuracy=rows["test_accuracy"] + by * hit)


def test_the_same_rows_in_any_order_are_the_same_to_the_bit():
    a = table()
    found = compare(a, a.sample(frac=1, random_state=0).assign(seconds=3.0))
    assert counts(found) == {SAME: 56}
    assert counts(found, "comparisons") == {SAME: 6}
    assert found.verdicts_changed.empty
    assert found.notes == []


def test_the_last_bit_of_a_loss_is_a_change_within_noise():
    a = table()
    b = a.copy()
    b.loc[5, "test_loss"] = np.nextafter(b.loc[5, "test_loss"], 2)
    found = compare(a, b)
    assert counts(found) == {SAME: 55, WITHIN: 1}
    assert counts(found, "comparisons") == {SAME: 6}


def test_one_wild_row_is_beyond_noise_though_its_cells_mean_is_not():
    a = table()
    found = compare(a, moved(a, -0.3, strategy="fine-tune", source="far", target_size=40, seed=3))
    beyond = found.trials[found.trials["state"] == BEYOND]
    assert list(beyond["seed"]) == [3]
    assert beyond["p_cell"].item() > 0.1
    assert counts(found) == {SAME: 55, BEYOND: 1}


def test_a_small_shift_of_every_seed_is_beyond_noise_though_no_row_is():
    a = table()
    shift = {i: 0.004 + 0.001 * (i % 3) for i in range(len(a))}
    hit = (a["strategy"] == "fine-tune") & (a["source"] == "near") & (a["target_size"] == 20)
    b = a.assign(test_accuracy=a["test_accuracy"] + pd.Series(shift) * hit.fillna(False).astype(float))
    found = compare(a, b)
    beyond = found.trials[found.trials["state"] == BEYOND]
    assert len(beyond) == 8
    assert (beyond["p_row"] > 0.5).all()
    changed = found.comparisons[found.comparisons["state"] == BEYOND]
    assert changed[["source", "strategy", "target_size"]].to_numpy().tolist() == [["near", "fine-tune", 20]]


def test_p_values_are_those_of_scipy_corrected_by_hand():
    a, b = table(rng=1), table(rng=2)
    for seed, by in ((1, 0.1), (3, -0.12), (5, 0.13)):
        b = moved(b, by, strategy="fine-tune", source="far", target_size=40, seed=seed)
    found = compare(a, b).trials
    cells = ["source", "strategy", "target_size"]
    raw = {}
    for name, part in found.groupby(cells, dropna=False):
        raw[name] = stats.ttest_rel(part["accuracy_b"], part["accuracy_a"]).pvalue
    running, corrected = 0.0, {}
    for k, (name, p) in enumerate(sorted(raw.items(), key=lambda item: item[1])):
        running = max(running, min(1.0, (len(raw) - k) * p))
        corrected[name] = running
    for name, part in found.groupby(cells, dropna=False):
        assert part["p_cell"].to_numpy() == pytest.approx([corrected[name]] * len(part))
    raw_rows = {}
    for _, part in found.groupby(cells, dropna=False):
        share = (part["accuracy_a"].mean() * 500 + 1) / 502
        spread = max(part["accuracy_a"].std(), np.sqrt(share * (1 - share) / 500))
        for index, change in part["change"].items():
            raw_rows[index] = 2 * stats.t.sf(abs(change) / (spread * np.sqrt(2)), 7) if abs(change) > 1e-9 else 1.0
    running = 0.0
    for k, (index, p) in enumerate(sorted(raw_rows.items(), key=lambda item: item[1])):
        running = max(running, min(1.0, (len(raw_rows) - k) * p))
        assert found.loc[index, "p_row"] == pytest.approx(running)
    assert ((found["p_row"] > 0) & (found["p_row"] < 0.9)).sum() > 1  # else there were nothing to tell apart


def test_noise_is_called_a_change_about_as_often_as_was_said():
    """Two draws of the same distribution: at level 0.2, at most about a fifth of the pairs may raise an alarm."""
    alarms = 0
    for i in range(30):
        a, b = table(rng=2 * i, sizes=(20,)), table(rng=2 * i + 1, sizes=(20,))
        found = difference(a, b, negative_transfer(a), negative_transfer(b), alpha=0.2)
        alarms += found.count("trials", BEYOND) > 0
    assert alarms <= stats.binom.ppf(0.999, 30, 0.2)


def test_what_one_side_lacks_or_failed():
    a = table()
    b = a.drop(index=[3]).reset_index(drop=True)
    b.loc[b["key"] == "farfine-tune200", "status"] = "failed"
    found = compare(a, b)
    assert counts(found) == {SAME: 54, ONLY_A: 2}
    assert set(found.trials.loc[found.trials["state"] == ONLY_A, "why"]) == {"the other failed", "the other has no row"}
    assert counts(compare(b, a)) == {SAME: 54, ONLY_B: 2}
    both = compare(b, b)
    assert counts(both) == {SAME: 55}


def test_verdicts_that_change_are_found():
    a = table(spread=0.005)
    found = compare(a, moved(a, -0.2, source="far", target_size=40))
    changed = found.verdicts_changed
    assert changed[["source", "target_size", "verdict_b"]].to_numpy().tolist() == [["far", 40, "negative"]]
    assert changed["state"].item() == BEYOND


def test_few_seeds_are_judged_by_the_test_sets_sampling_error():
    a = table(seeds=1, sizes=(20,))
    error = np.sqrt(0.7 * 0.3 / 500) * np.sqrt(2)
    assert counts(compare(a, moved(a, 1.5 * error, source="far"))) == {SAME: 3, WITHIN: 1}
    found = compare(a, moved(a, 6 * error, source="far"))
    assert counts(found) == {SAME: 3, BEYOND: 1}
    assert counts(found, "comparisons") == {SAME: 2, BEYOND: 1}


def test_other_keys_and_repeated_rows_are_said():
    a = table()
    b = pd.concat([a, a.head(2)]).assign(key="other")
    assert compare(a, a.assign(key="other")).notes[0].startswith("56 trials have another key")
    assert "B has 2 places more than once" in difference(a, b, negative_transfer(a), negative_transfer(a)).notes[0]


def test_an_alpha_that_is_none():
    a = table(seeds=2)
    with pytest.raises(BenchError, match="alpha must lie between 0 and 1"):
        compare(a, a, alpha=1.5)
