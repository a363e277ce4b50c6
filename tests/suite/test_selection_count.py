"""Conditions on trials, and counting a plan against what is stored, lazily."""

from __future__ import annotations

import tracemalloc

import pytest

from bench.errors import BenchError
from bench.ledger.records import SourceRecord
from bench.ledger.stored import Stored
from bench.suite import Plan, Selection, Suite, load_suite
from bench.suite.count import count
from bench.suite.estimate import estimate
from bench.suite.ruled_out import ruled_out
from bench.trial import Card

SUITE = {
    "backbones": [{"backbone": "cnn", "channels": [4, 4], "name": "cnn"}],
    "strategies": ["zero-shot", "feature-extraction", "fine-tune"],
    "target_sizes": [20, 50],
    "seeds": 3,
    "tasks": {"noisy": {"task": "printed-digits", "label_noise": 0.4}},
    "pairs": [
        {"target": "digits", "sources": ["printed-digits", "noisy"]},
        {"target": "printed-digits", "sources": ["noisy", "patches"]},
    ],
}


def source(status, seconds):
    return SourceRecord.model_construct(status=status, seconds=seconds)


def plan(cards=False, **changes):
    suite = load_suite({**SUITE, **changes})
    bare = Plan(suite)
    if not cards:
        return bare
    known = {
        spec.digest: Card(name, "print-" + name, 1, spec.classes(), (1, 8, 8), 500, 100, (50,) * 10)
        for name, spec in bare.tasks.items()
    }
    return Plan(suite, known)


def pairs(plan, *conditions):
    trials = plan.trials(Selection.parse(conditions, plan))
    return {(t.model.source if t.model else None, t.target) for t in trials}


def test_a_pair_is_a_pair_and_no_product_of_its_ends():
    chosen = pairs(plan(), "pair=printed-digits->digits,patches->printed-digits")
    assert chosen == {
        (None, "digits"), ("printed-digits", "digits"), (None, "printed-digits"), ("patches", "printed-digits"),
    }  # fmt: skip


def test_a_source_alone_means_all_its_pairs():
    assert pairs(plan(), "pair=noisy") == {
        (None, "digits"), ("noisy", "digits"), (None, "printed-digits"), ("noisy", "printed-digits"),
    }  # fmt: skip


def test_depths_choose_points_of_a_strategy_and_leave_scratch_in():
    found = plan(strategies=["feature-extraction", "fine-tune"])
    chosen = [found.strategy(t) for t in found.trials(Selection.parse(["n=2", "f=1", "strategy=fine-tune"], found))]
    assert {(s.name, s.transfer, s.frozen) for s in chosen} == {("scratch", 0, 0), ("fine-tune", 2, 1)}
    with pytest.raises(BenchError, match='the suite has no n "7"; the suite has: 0, 2'):
        Selection.parse(["n=7"], found)


def test_conditions_of_one_key_add_up_and_of_two_must_both_hold():
    one = plan()
    chosen = Selection.parse(["strategy=zero-shot", "strategy=fine-tune", "seed=0,2", "target=digits"], one)
    trials = list(one.trials(chosen))
    assert {one.strategy(t).name for t in trials} == {"scratch", "zero-shot", "fine-tune"}
    assert {t.seed for t in trials} == {0, 2}
    assert {t.target for t in trials} == {"digits"}


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("strategy=fine-tunes", 'did you mean "fine-tune"'),
        ("strategie=fine-tune", 'did you mean "strategy"'),
        ("pair=noisi->digits", 'did you mean "noisy"'),
        ("pair=patches->digits", 'no pair patches->digits; "patches" goes to: printed-digits'),
        ("pair=noisy-", "quote"),
        ("seed=x", "neither a seed nor a range"),
        ("strategy", "key=value"),
        ("size=30", "the suite has: 20, 50"),
    ],
)
def test_a_wrong_condition_says_what_is_allowed(condition, said):
    with pytest.raises(BenchError, match=said.replace(">", ".")):
        Selection.parse([condition], plan())


def test_counts_agree_with_the_trials_and_models_themselves():
    one = plan()
    found = count(one)
    assert found.all_trials.missing == found.all_trials.total == sum(1 for _ in one.trials())
    assert found.all_models.missing == sum(1 for _ in one.source_models())
    # Class names are known without data: patches cannot label digits, so it has no zero-shot trial.
    assert "zero-shot" not in {g.strategy for g in found.trials if g.source == "patches"}
    assert found.by("pair")["noisy -> digits"].total == 3 + 3 * 2 * (1 + 2)


def test_counts_against_what_is_stored():
    one = plan(cards=True)
    trials = list(one.trials())
    stored = Stored(done={t.key: 2.0 for t in trials[:10]}, failed={t.key: 1.0 for t in trials[10:13]})
    models = list(one.source_models())
    stored.models = {models[0].key: source("ok", 4.0), models[1].key: source("failed", 1.0)}
    found = count(one, stored)
    total = found.all_trials
    assert (total.done, total.failed, total.missing) == (10, 3, len(trials) - 13)
    assert total.seconds == 20.0
    assert (found.all_models.done, found.all_models.failed) == (1, 1)


def test_an_estimate_rests_on_stored_trials_where_there_are_any():
    one = plan(cards=True, lanes=1)
    guess = estimate(one, count(one))
    assert guess.measured == 0
    assert guess.seconds > 0
    trials = list(one.trials())
    stored = Stored(done={t.key: 7.0 for t in trials[::2]})
    stored.models = {m.key: source("ok", 5.0) for m in one.source_models()}
    found = estimate(one, count(one, stored))
    assert found.measured == 1
    assert found.seconds == pytest.approx(7.0 * (len(trials) - len(trials[::2])))


@pytest.mark.parametrize("stored", [None, Stored(done={"another": 1.0})])
def test_a_large_plan_is_counted_without_holding_it(stored):
    large = plan(cards=True, seeds=600, target_sizes=[20, 30, 40, 50, 60, 70, 80, 90])
    list(large.source_models())  # what is cached once is not what is measured
    tracemalloc.start()
    found = count(large, stored)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    n = found.all_trials.total
    assert n > 5 * 10**4
    # A held trial takes some 150 bytes with its key; models (one a source and seed) are held.
    assert peak < n * 30


def test_two_names_for_one_size_are_a_mistake():
    one = plan(cards=True, target_sizes=[20, "2 per class"])
    assert any("is the same as size 20" in str(problem) for problem in ruled_out(one))


def test_a_suite_survives_a_run_folder(tmp_path):
    suite = load_suite({**SUITE, "folder": str(tmp_path / "suites"), "plugins": []})
    kept = suite.to_run(tmp_path / "runs" / "a")
    assert not any(str(tmp_path) in str(value) for value in kept.values())
    again = Suite.from_run(kept, tmp_path / "runs" / "a")
    assert again.resolve("x").resolve() == suite.resolve("x").resolve()
    assert [t.key for t in Plan(again).trials()] == [t.key for t in Plan(suite).trials()]
