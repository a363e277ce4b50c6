"""The time left of a running stage: by cost and not by count, and steady."""

from __future__ import annotations

import pytest

from bench.cli.progress import Lines, Live, Outlook, TimeLeft
from bench.ledger.records import SourceRecord
from bench.ledger.stored import Stored
from bench.suite import Plan, load_suite
from bench.suite.count import count
from bench.suite.estimate import Forecast
from bench.trial import Card

SUITE = {
    "backbones": [{"backbone": "cnn", "channels": [4, 4], "name": "net"}],
    "strategies": ["scratch-long", "fine-tune"],
    "target_sizes": [20],
    "seeds": 10,
    "lanes": 1,
    "pairs": [{"target": "digits", "sources": ["printed-digits", "patches"]}],
}
CARD = {"version": 1, "shape": (1, 8, 8), "n_train": 500, "n_test": 90, "class_counts": (50,) * 10}
SECONDS = {"scratch": 1.0, "scratch-long": 4.0, "fine-tune": 1.0}


def plan(cards=True, **changes):
    bare = Plan(suite := load_suite({**SUITE, **changes}))
    known = {s.digest: Card(n, f"print of {n}", classes=s.classes(), **CARD) for n, s in bare.tasks.items()}
    return Plan(suite, known) if cards else bare


def seconds_of(one, trial):
    return SECONDS[one.strategy(trial).name] * (0.5 if one.strategy(trial).frozen else 1)


def record(one, trial, status="ok"):
    strategy = one.strategy(trial)
    row = {
        "target": trial.target, "backbone": "net", "strategy": strategy.name, "transfer_depth": strategy.transfer,
        "frozen_depth": strategy.frozen, "target_size": trial.target_size, "status": status,
        "seconds": seconds_of(one, trial),
    }  # fmt: skip
    return {"kind": "trial", "key": trial.key, "row": row}


def forecast(one, measured):
    """A forecast of the whole plan; with all shapes `measured`, from one seed that is done besides."""
    model = Forecast(one, count(one))
    for trial in one.trials() if measured else ():
        if trial.seed == 0:
            model._model.add(model._shape(record(one, trial)), seconds_of(one, trial))
    return model


def long_first(one):
    return sorted(one.trials(), key=lambda t: -seconds_of(one, t))


def test_long_trials_first_and_the_time_left_is_right_all_along():
    one = plan()
    trials = long_first(one)
    left = TimeLeft(forecast(one, measured=True), "trial", len(trials), workers=1)
    whole = sum(seconds_of(one, t) for t in trials)
    assert left.at(0.0) == pytest.approx(whole)
    clock = 0.0
    for trial in trials:
        clock += seconds_of(one, trial)
        left.add(record(one, trial), clock)
        # What is said is of the unit before this one; by the mere count of units it would be four times as much.
        assert whole - clock <= left.at(clock) <= whole - clock + seconds_of(one, trial) / 2 + 1e-9


def test_with_nothing_stored_it_is_said_once_something_is_known():
    one = plan()
    trials = long_first(one)
    left = TimeLeft(forecast(one, measured=False), "trial", len(trials), workers=1)
    assert left.at(0.0) is None
    whole, clock = sum(seconds_of(one, t) for t in trials), 0.0
    for done, trial in enumerate(trials, 1):
        clock += seconds_of(one, trial)
        left.add(record(one, trial), clock)
        # How much less than long ones short ones take is a guess until one is done.
        if done > 1:
            assert left.at(clock) == pytest.approx(whole - clock, abs=whole / 8)


def test_stacks_that_finish_at_once_do_not_make_it_jump():
    """Two workers, stacks of ten of 1 s each: nothing for 10 s, then twenty records within a millisecond."""
    one = plan(strategies=["fine-tune"], seeds=40)
    trials = [t for t in one.trials() if not one.strategy(t).frozen]
    whole = len(trials) + 2 * 40 * 0.5
    left = TimeLeft(forecast(one, measured=True), "trial", len(list(one.trials())), workers=2)
    for stack in range(len(trials) // 20):
        clock = 10.0 * (stack + 1)
        for n, trial in enumerate(trials[20 * stack : 20 * stack + 20]):
            left.add(record(one, trial), clock + n * 1e-5)
            assert abs(left.at(clock) - (whole / 2 - clock)) <= 10.0


def test_between_records_it_runs_down_but_never_out():
    one = plan()
    left = TimeLeft(forecast(one, measured=True), "trial", len(list(one.trials())), workers=1)
    whole = left.at(0.0)
    assert left.at(5.0) == whole - 5.0
    assert left.at(1e9) == whole / 2


def test_a_machine_of_another_speed_is_noticed():
    one = plan()
    trials = list(one.trials())
    left = TimeLeft(forecast(one, measured=True), "trial", len(trials), workers=1)
    whole, clock = left.at(0.0), 0.0
    for trial in trials[: len(trials) // 2]:
        clock += 3 * seconds_of(one, trial)
        slow = record(one, trial)
        slow["row"]["seconds"] *= 3
        left.add(slow, clock)
    assert left.at(clock) == pytest.approx(3 * whole - clock, rel=0.15)


def test_failures_are_no_longer_missing():
    one = plan()
    trials = long_first(one)
    left = TimeLeft(forecast(one, measured=True), "trial", len(trials), workers=1)
    clock = 0.0
    for trial in trials:
        failed = one.strategy(trial).name == "scratch-long"
        clock += 0.0 if failed else seconds_of(one, trial)
        left.add(record(one, trial, "failed" if failed else "ok"), clock)
    # Half a second is what the last trial takes, which is done by now, too.
    assert left.at(clock) == pytest.approx(0.25, abs=0.1)


def test_a_run_whose_data_had_not_been_read_looks_again():
    one, looked = plan(), []

    def again():
        looked.append(1)
        return forecast(one, measured=True)

    bare = plan(cards=False)
    outlook = Outlook(Forecast(bare, count(bare)), again, workers=2)
    assert outlook.of("reading data", 3) is None
    assert outlook.of("similarity", 20) is None
    assert not looked
    n = len(list(one.trials()))
    assert outlook.of("source models", 20) is not None
    assert outlook.of("trials", n).at(0.0) == pytest.approx(sum(seconds_of(one, t) for t in one.trials()) / 2)
    assert looked == [1]
    # More is missing than was counted: looked at again, and what is unknown costs what the rest does.
    twice = outlook.of("trials", 2 * n).at(0.0)
    assert twice == pytest.approx(sum(seconds_of(one, t) for t in one.trials()))
    assert looked == [1, 1]


def test_a_stage_with_nothing_known_to_be_missing_goes_by_count():
    one = plan()
    stored = Stored(models={m.key: SourceRecord.model_construct(status="ok", seconds=1.0) for m in one.source_models()})
    known = Forecast(one, count(one, stored))
    assert Outlook(known, lambda: known, workers=1).of("source models", 1) is None


def test_lines_and_the_live_display_say_it(monkeypatch, capfd):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    one = plan()
    trials = long_first(one)
    whole = sum(seconds_of(one, t) for t in trials)
    known = forecast(one, measured=True)
    with Lines(Outlook(known, lambda: known, 1)) as lines:
        lines.stage("trials", len(trials))
        for trial in trials[:10]:  # 40 s
            clock[0] += seconds_of(one, trial)
            lines.advance(record(one, trial))
    said = [line for line in capfd.readouterr().err.splitlines() if " left" in line]
    assert whole == 40 + 10 + 20 + 10
    assert said == ["trials: 6 of 60 (10%), 15/min, 56 s left"]
    live = Live(Outlook(forecast(one, measured=True), lambda: None, 1))
    live.stage("trials", len(trials))
    assert live._stage.left == "1 min 20 s left"
