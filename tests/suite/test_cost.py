"""What a trial costs by its shape: measured, predicted or guessed, and how far that can be relied on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.ledger.results import load_results
from bench.ledger.stored import Stored
from bench.suite import Plan, load_suite
from bench.suite.cost import FORWARD, SOLVED_STEPS, STEP_SECONDS, UNIT_SECONDS, VALUE_SECONDS, CostModel, Shape
from bench.suite.count import Tally, count
from bench.suite.estimate import Forecast, estimate
from bench.trial import Card

SUITE = {
    "backbones": [{"backbone": "cnn", "channels": [4, 4], "name": "net"}],
    "strategies": ["scratch-long", "zero-shot", "feature-extraction", "fine-tune", "linear-probe-fine-tune"],
    "target_sizes": [20, 100],
    "seeds": 3,
    "lanes": 1,
    "pairs": [{"target": "digits", "sources": ["printed-digits", "patches"]}],
    "recipe": {"steps": 50, "batch_size": 32, "learning_rates": [0.1, 0.2]},
    "source_recipe": {"steps": 70, "batch_size": 64, "learning_rates": [0.1]},
}
REFERENCE = Path(__file__).resolve().parents[2]
CARD = {"version": 1, "shape": (1, 8, 8), "n_train": 500, "n_test": 90, "class_counts": (50,) * 10}


def plan(**changes):
    bare = Plan(suite := load_suite({**SUITE, **changes}))
    cards = {s.digest: Card(n, f"print of {n}", classes=s.classes(), **CARD) for n, s in bare.tasks.items()}
    return Plan(suite, cards)


def record(one, trial, seconds, status="ok"):
    """What the ledger would keep of a trial, as far as costs go."""
    strategy = one.strategy(trial)
    row = {
        "target": trial.target, "backbone": "net", "strategy": strategy.name, "transfer_depth": strategy.transfer,
        "frozen_depth": strategy.frozen, "target_size": trial.target_size, "status": status, "seconds": seconds,
    }  # fmt: skip
    return {"kind": "trial", "key": trial.key, "row": row}


def of_size(found, steps, kind="trial"):
    return {s.batch: s for s in found if s.kind == kind and s.steps == steps and s.path == ((0, 1.0),) and not s.solved}


# Shapes


def test_shapes_by_hand():
    found = count(plan()).shapes
    # Scratch and fine-tuning of everything do the same work: one shape, 3 seeds of 1 and of 2 trials.
    short = of_size(found, steps=100)  # 50 steps at each of two rates
    assert short == {
        16: Shape("trial", "net", 1, 64, ((0, 1.0),), 100, 16, 90 + 2 * 20),  # a fifth is for validation
        32: Shape("trial", "net", 1, 64, ((0, 1.0),), 100, 32, 90 + 2 * 100),
    }
    assert found[short[16]] == Tally(missing=3 + 2 * 3)
    assert set(of_size(found, steps=400)) == {16, 32}  # scratch-long
    assert found[Shape("trial", "net", 1, 64, passed=90)] == Tally(missing=3)  # zero-shot: patches cannot
    assert found[Shape("source", "net", 1, 64, ((0, 1.0),), 70, 64, 90 + 500)] == Tally(missing=6)
    # Feature extraction is solved at two strengths, the probe before fine-tuning at one.
    assert {s for s in found if s.solved == 2} == {
        Shape("trial", "net", 1, 64, (), 0, batch, 90 + 2 * size, solved=2) for batch, size in ((16, 20), (32, 100))
    }
    assert {(s.path, s.steps) for s in found if s.solved == 1} == {(((0, 1.0),), 100)}
    probe = [s for s in count(plan(recipe=SUITE["recipe"] | {"head": "stepped"})).shapes if len(s.path) == 2]
    assert len(probe) == 2
    assert probe[0].path == ((2, 0.5), (0, 0.5))
    assert probe[0].amounts(2) == (1.0, 100, 64 * 16 * 100 * 0.5, 64 * 130)


def test_a_solved_head_costs_as_much_as_some_steps():
    heads = next(s for s in count(plan()).shapes if s.solved == 2)
    assert heads.amounts(2) == (1.0, 2 * SOLVED_STEPS, 0, 64 * 130)
    refit = SUITE["recipe"] | {"refit": True}
    assert {s.solved for s in count(plan(recipe=refit)).shapes} == {0, 2, 3}


def test_looking_ahead_and_examples_beside_cost_extra():
    found = count(plan(weighting=["l2rw", "random"], strategies=["fine-tune", "joint"])).shapes
    sources = {(s.weighting, s.beside): s for s in found if s.kind == "source"}
    assert set(sources) == {("", 0), ("l2rw", 20), ("l2rw", 32)}  # at sizes 20 and 100, a recipe's batch at most
    plain, learned = sources["", 0].amounts(2), sources["l2rw", 20].amounts(2)
    assert learned[:2] == plain[:2]
    assert learned[2] / plain[2] == pytest.approx((64 * 7 / 3 + 20) / 64)
    assert {s.beside for s in found if s.kind == "trial"} == {0, 32}  # joint training sees a batch of the source


def test_a_refit_and_extra_validation_count():
    recipe = {**SUITE["recipe"], "refit": True, "validation": "extra", "validation_size": 50}
    assert of_size(count(plan(recipe=recipe)).shapes, steps=150)[20].passed == 90 + 3 * 20


def test_shapes_are_counted_whatever_is_stored():
    one = plan()
    trials = list(one.trials())
    stored = Stored(done={t.key: 2.0 for t in trials[:7]}, failed={t.key: 9.0 for t in trials[7:9]})
    bare, found = count(one).shapes, count(one, stored).shapes
    assert {s: t.missing for s, t in bare.items()} == {s: t.total for s, t in found.items()}
    tallies = [tally for shape, tally in found.items() if shape.kind == "trial"]
    assert (sum(t.done for t in tallies), sum(t.failed for t in tallies)) == (7, 2)
    assert sum(t.seconds for t in tallies) == 14.0


# Costs


def seconds_of(shape, factors=(1, 1, 1, 1)):
    """The relation, written out."""
    values = VALUE_SECONDS["cnn"]
    trained = sum(share * (2 - frozen) for frozen, share in shape.path) / 2
    parts = (
        UNIT_SECONDS,
        STEP_SECONDS * (shape.steps + SOLVED_STEPS * shape.solved),
        values * shape.values * shape.batch * shape.steps * trained,
        values * FORWARD * shape.values * shape.passed,
    )
    return sum(f * p for f, p in zip(factors, parts, strict=True))


def test_with_nothing_stored_it_is_a_guess():
    one = plan()
    counts = count(one)
    found = estimate(one, counts)
    assert (found.measured, found.predicted, found.guessed) == (0, 0, 1)
    assert found.seconds == pytest.approx(sum(t.missing * seconds_of(s) for s, t in counts.shapes.items()))


def test_one_stored_trial_scales_the_guess():
    one = plan()
    trial = next(one.trials())  # scratch, size 20
    counts = count(one, Stored(done={trial.key: 1.5}))
    measured = of_size(counts.shapes, steps=100)[16]
    ratio = 1.5 / seconds_of(measured)
    found = estimate(one, counts)
    expected = {s: t.missing * seconds_of(s) * ratio for s, t in counts.shapes.items()}
    assert found.seconds == pytest.approx(sum(expected.values()))
    assert expected[measured] == pytest.approx(8 * 1.5)
    assert found.measured == pytest.approx(expected[measured] / found.seconds)
    assert (found.measured + found.predicted, found.guessed) == (pytest.approx(1), pytest.approx(0, abs=1e-12))


def test_many_stored_trials_overrule_the_guess():
    """Seconds made by the relation with factors of its own are predicted for a shape that was never seen."""
    one, factors = plan(), (5.0, 0.5, 30.0, 0.0)
    tallies = {s: Tally(done=10**6, seconds=10**6 * seconds_of(s, factors)) for s in count(one).shapes}
    unseen = of_size(tallies, steps=400)[32]
    tallies[unseen] = Tally(missing=1)
    model = CostModel(one, tallies)
    place = model.index[unseen]
    assert model.predicted[place]
    assert model.lane_seconds()[place] == pytest.approx(seconds_of(unseen, factors), rel=1e-3)


def test_another_backbones_times_predict_nothing():
    one = plan(backbones=[*SUITE["backbones"], "mlp"])
    stored = Stored(done={t.key: 2.0 for t in one.trials() if t.backbone == 0})
    found = estimate(one, count(one, stored))
    # What is left of the network whose trials are done is its source models.
    assert found.measured == 0
    assert 0 < found.predicted < 1
    assert found.guessed > 0


def test_failed_trials_teach_nothing_and_are_not_missing():
    one = plan()
    trials = list(one.trials())
    done = {t.key: 3.0 for t in trials[::2]}
    failed = {t.key: 0.001 for t in trials[1::2]}
    with_failures, without = count(one, Stored(done=done, failed=failed)), count(one, Stored(done=done))
    costs = [CostModel(one, counts.shapes).lane_seconds().tolist() for counts in (with_failures, without)]
    assert costs[0] == costs[1]
    missing = {s: t.missing for s, t in with_failures.shapes.items() if t.missing}
    assert {shape.kind for shape in missing} == {"source"}


def test_a_short_stack_takes_as_long_as_a_full_one():
    """One trial of a stack of four lanes took all of its 8 s; twelve more will be in three stacks."""
    one = plan()
    shape = Shape("trial", "net", 4, 64, ((0, 1.0),), 100, 16, 130)
    assert CostModel(one, {shape: Tally(done=1, seconds=8.0)}).total(np.array([12.0])) == [24.0]
    assert CostModel(one, {shape: Tally(done=8, seconds=16.0)}).total(np.array([5.0])) == [16.0]


tallies_of_shapes = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(1, 500), st.integers(1, 64), st.integers(0, 5000),
        st.integers(1, 50), st.floats(0.001, 100.0),
    ),
    min_size=1, max_size=8,
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(tallies_of_shapes, *[st.tuples(st.integers(0, 400), st.integers(0, 400)) for _ in range(3)])
def test_more_steps_or_examples_are_never_predicted_to_be_cheaper(seen, steps, batch, passed):
    tallies = {}
    for frozen, n_steps, size, through, done, each in seen:
        tallies[Shape("trial", "net", 1, 64, ((frozen, 1.0),), n_steps, size, through)] = Tally(done, 0, 0, done * each)
    less, more = (
        Shape("trial", "net", 1, 64, ((0, 1.0),), 1000 + f(steps), 100 + f(batch), 9000 + f(passed)) for f in (min, max)
    )
    model = CostModel(plan(), {**tallies, less: Tally(missing=1), more: Tally(missing=1)})
    costs = model.lane_seconds()
    assert costs[model.index[less]] <= costs[model.index[more]] * (1 + 1e-9)
    assert (costs >= 0).all()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(15, 450), min_size=2, max_size=6, unique=True))
def test_a_larger_size_is_never_less_work(sizes):
    found = count(plan(target_sizes=sizes)).shapes
    trials = [s for s in found if s.kind == "trial" and s.path == ((0, 1.0),) and s.steps == 100 and not s.solved]
    every = sorted((s.passed, s.batch) for s in trials)
    assert len(every) == len(sizes)
    assert [batch for _, batch in every] == sorted(batch for _, batch in every)


# Against the reference rows, whose times were taken on a shared machine


def reference(name="default"):
    """The suite's plan with stand-ins for its data's cards, and its reference rows."""
    rows = load_results(REFERENCE / "results" / name)
    bare = Plan(suite := load_suite(REFERENCE / "experiments" / f"{name}.toml"))
    values = {**CARD, "n_train": 1437, "n_test": int(rows.n_test.iloc[0])}
    return Plan(suite, {s.digest: Card(n, n, classes=s.classes(), **values) for n, s in bare.tasks.items()}), rows


def learn(one, rows):
    forecast = Forecast(one, count(one))
    for row in rows.to_dict("records"):
        forecast.add({"kind": "trial", "row": row})
    return forecast


def test_one_seed_foresees_the_rest_of_the_default_suite():
    one, rows = reference()
    forecast = learn(one, rows[rows.seed == 0])
    rest = rows[rows.seed != 0]
    assert forecast.missing("trial") == len(rest)
    assert forecast.seconds("trial")[1] == pytest.approx(rest.seconds.sum(), rel=0.3)


def test_frozen_depths_that_were_never_run_are_foreseen():
    one, rows = reference()
    known = rows.frozen_depth.isin([0, 3, 4])  # with all four frozen heads are solved, which tells nothing of steps
    assert learn(one, rows[known]).seconds("trial")[1] == pytest.approx(rows[~known].seconds.sum(), rel=0.3)


# While a run goes on


def test_a_forecast_learns_from_each_record():
    one = plan()
    trials = list(one.trials())
    forecast = Forecast(one, count(one))
    assert not forecast.grounded
    assert forecast.missing("trial") == len(trials)
    for trial in trials[:-1]:
        forecast.add(record(one, trial, 2.0))
    forecast.add(record(one, trials[-1], 0.0, "failed"))
    assert forecast.missing("trial") == 0
    assert forecast.seconds("trial") == (pytest.approx(2.0 * (len(trials) - 1)), 0.0)
    assert forecast.missing("source") == 6
    models = list(one.source_models())
    forecast.add({"kind": "source", "key": models[0].key, "status": "ok", "seconds": 4.0})
    assert forecast.seconds("source") == (4.0, pytest.approx(20.0))
    assert forecast.grounded


def test_a_forecast_takes_what_is_retried_for_missing():
    one = plan()
    trials = list(one.trials())
    stored = Stored(done={t.key: 2.0 for t in trials[4:]}, failed={t.key: 1.0 for t in trials[:4]})
    assert Forecast(one, count(one, stored)).missing("trial") == 0
    assert Forecast(one, count(one, stored), retry_failed=True).missing("trial") == 4


def test_a_forecast_passes_over_what_the_plan_does_not_know():
    one = plan()
    forecast = Forecast(one, count(one))
    odd = record(one, next(one.trials()), 1.0)
    odd["row"]["strategy"] = "another"
    forecast.add(odd)
    forecast.add({"kind": "source", "key": "another", "status": "ok", "seconds": 1.0})
    assert forecast.seconds("trial")[0] == 0
    assert not Forecast(Plan(one.suite), count(Plan(one.suite))).informed
