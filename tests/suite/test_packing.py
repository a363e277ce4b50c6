"""What is trained together: same shapes, each place of a stack once, every trial exactly once."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.suite import Plan, load_suite
from bench.suite.packing import HELD, pack_models, pack_trials, place_of
from bench.trial import Card
from bench.triangle import JOINT, Adapt, Phase, Strategy

SUITE = {
    "backbones": ["cnn", {"backbone": "mlp", "widths": [8], "name": "mlp"}],
    "strategies": ["zero-shot", "feature-extraction", "fine-tune", "layer-transfer-tuned", "gradual-unfreezing"],
    "target_sizes": [20, 40],
    "seeds": 10,
    "image_size": 8,
    "pairs": [{"target": "digits", "sources": ["printed-digits", "patches", "noise"]}],
}


def plan_of(**changes):
    bare = Plan(load_suite({**SUITE, **changes}))
    cards = {
        spec.digest: Card(name, name, 1, spec.classes() or ("a", "b"), (1, 8, 8), 500, 100, (50,) * 10)
        for name, spec in bare.tasks.items()
    }
    return Plan(bare.suite, cards)


@settings(deadline=None, max_examples=20)
@given(lanes=st.sampled_from([1, 2, 4, 7, 64]), seeds=st.integers(1, 12), drop=st.integers(0, 5))
def test_every_trial_is_in_one_group_of_like_trials_with_places_of_their_own(lanes, seeds, drop):
    plan = plan_of(lanes=lanes, seeds=seeds)
    trials = [trial for number, trial in enumerate(plan.trials()) if not drop or number % (drop + 1)]
    groups = list(pack_trials(plan, trials))
    assert Counter(t.key for group in groups for t in group.members) == Counter(t.key for t in trials)
    for group in groups:
        assert len({(t.target, t.backbone, t.target_size, plan.strategy(t).path) for t in group.members}) == 1
        places = [place_of(plan, t) % lanes for t in group.members]
        assert len(set(places)) == len(places) <= lanes


@dataclass(frozen=True)
class Extended(Strategy):
    """A strategy with one more field, as somebody may add it."""

    extra: str = "none"

    def identity(self):
        return super().identity() | {"extra": self.extra}


BASE = Extended("base", 2, (Phase(0),))
ALONE = Extended("alone", 0, (Phase(0),))
# Field -> (a strategy, another that differs in that field, whether trials of both may be trained together).
FIELDS = {
    "name": (BASE, replace(BASE, name="other"), True),
    "transfer": (BASE, replace(BASE, transfer=1), True),
    "keep_head": (BASE, replace(BASE, keep_head=True), True),
    "copied_lr": (BASE, replace(BASE, copied_lr=1.0), True),
    "path": (BASE, replace(BASE, path=(Phase(1),)), False),
    "steps": (BASE, replace(BASE, steps=2.0), False),
    "how": (ALONE, replace(ALONE, how=JOINT), False),
    "adapt": (BASE, replace(BASE, adapt=Adapt("bias")), False),
    "extra": (BASE, replace(BASE, extra="some"), False),
}


def plan_with(*strategies):
    """A plan of one backbone with just these strategies, eight lanes wide."""
    plan = plan_of(lanes=8, backbones=["cnn"], seeds=4, target_sizes=[20], strategies=["scratch"])
    plan.strategies = [list(strategies)]
    plan._strategy_digests = [[strategy.name + str(strategy.identity()) for strategy in strategies]]
    return plan


@pytest.mark.parametrize("name", FIELDS)
def test_trials_whose_strategies_differ_in_a_field_are_trained_together_only_where_it_is_per_lane(name):
    one, other, together = FIELDS[name]
    assert [f.name for f in fields(one) if getattr(one, f.name) != getattr(other, f.name)] == [name]
    plan = plan_with(one, other)
    # Seeds of their own, and so places of their own.
    trials = [trial for trial in plan.trials() if trial.seed // 2 == trial.strategy]
    groups = [{plan.strategy(trial) for trial in group.members} for group in pack_trials(plan, trials)]
    assert set().union(*groups) == {one, other}
    assert any(len(group) == 2 for group in groups) is together


def test_every_field_of_a_strategy_is_among_those():
    assert set(FIELDS) == {f.name for f in fields(Extended)}


def test_what_trains_nothing_is_tested_together_at_one_transfer_depth_alone():
    plan = plan_with(Strategy("zero-shot", 2, keep_head=True), Strategy("shallow", 1, keep_head=True))
    for group in pack_trials(plan, plan.trials()):
        assert len({plan.strategy(trial) for trial in group.members}) == 1


@pytest.mark.parametrize("name", [name for name, (_, _, together) in FIELDS.items() if not together])
def test_trials_that_must_not_be_trained_together_are_refused(name):
    import torch

    from bench.runner import Runner

    plan = plan_with(*FIELDS[name][:2])
    by_strategy = {trial.strategy: trial for trial in plan.trials()}
    with pytest.raises(AssertionError, match="differ in more than their lanes"):
        Runner(plan, Path(), Path(), torch.device("cpu")).run_trials(list(by_strategy.values()))


def test_fields_per_lane_are_read_from_each_trial(small_suite, tmp_path):
    import bench
    from bench.launch.alone import run_alone
    from bench.ledger.stored import read_stored

    tuned = {"transfer": 2, "freeze": 0}
    strategies = ["layer-transfer-tuned", {"name": "equal", "copied_lr": 1.0, **tuned}]
    strategies += [{"name": "kept", "keep_head": True, **tuned}]
    suite = load_suite({**small_suite, "strategies": strategies, "target_sizes": [20], "seeds": 1, "lanes": 8})
    rows = bench.run(suite, tmp_path, jobs=0).set_index("key")
    stored = read_stored(tmp_path)
    plan = Plan.of(suite, stored)
    (group, *_) = sorted(pack_trials(plan, plan.trials()), key=lambda group: -len(group.members))
    assert len({plan.strategy(trial) for trial in group.members}) > 2
    for trial in group.members:
        row = run_alone(plan, trial, stored, tmp_path, "cpu")["row"]
        del row["seconds"], row["key"]
        assert row == rows.loc[trial.key, list(row)].where(rows.loc[trial.key, list(row)].notna(), None).to_dict()


@pytest.mark.parametrize("lanes", [1, 4])
def test_few_starting_points_are_in_use_at_a_time(lanes):
    plan = plan_of(lanes=lanes)
    groups = list(pack_trials(plan, plan.trials()))
    starts = [start for start, _ in itertools.groupby(groups, key=lambda group: group.start)]
    assert len(starts) == len(set(starts))  # those with one start follow one another
    for _, together in itertools.groupby(groups, key=lambda group: group.start):
        assert len({(t.model, t.seed) for group in together for t in group.members}) <= HELD * lanes


def test_stacks_of_the_usual_ten_seeds_are_full():
    plan = plan_of(lanes=4, strategies=["fine-tune"], backbones=["cnn"])
    groups = list(pack_trials(plan, (t for t in plan.trials() if t.model)))
    number = sum(len(group.members) for group in groups)
    assert number / (4 * len(groups)) > 0.75


def test_a_place_follows_from_the_trial_alone():
    plan, longer = plan_of(), plan_of(seeds=12, pairs=[{"target": "digits", "sources": ["noise", "patches"]}])
    places = {trial.key: place_of(plan, trial) for trial in plan.trials()}
    again = {trial.key: place_of(longer, trial) for trial in longer.trials()}
    shared = set(places) & set(again)
    assert len(shared) > 100
    assert all(places[key] == again[key] for key in shared)


def test_source_models_are_stacked_with_those_of_as_many_classes():
    plan = plan_of(lanes=4)
    models = list(plan.source_models())
    groups = list(pack_models(plan, models))
    assert Counter(m.key for group in groups for m in group.members) == Counter(m.key for m in models)
    for group in groups:
        assert len({(m.backbone, len(plan.classes(m.source))) for m in group.members}) == 1
        assert len({place_of(plan, m) % 4 for m in group.members}) == len(group.members)
    sizes = [len(group.members) for group in groups]
    assert sizes == sorted(sizes, reverse=True)  # the short ones are left for the end
    assert len(set(sizes)) > 1


def test_the_numerics_are_part_of_every_key():
    def keys(**changes):
        plan = plan_of(**changes)
        return {t.key for t in plan.trials()} | {m.key for m in plan.source_models()}

    base = keys(lanes=4)
    assert not base & keys(lanes=2)
    assert not base & keys(lanes=4, precision="bf16")
    assert base == keys(lanes=4)


def test_lanes_follow_from_backbone_shape_and_machine():
    plan = plan_of()
    assert plan.lanes(0, (1, 8, 8)) == 4
    assert plan.lanes(0, (3, 64, 64)) == 1
    on_gpu = Plan(plan.suite, plan.cards, "cuda")
    assert on_gpu.lanes(0, (3, 64, 64)) > 1
    assert not {t.key for t in plan.trials()} & {t.key for t in on_gpu.trials()}
    resnet = Plan(load_suite({**SUITE, "backbones": ["resnet18"], "lanes": 8}))
    assert resnet.lanes(0, (3, 64, 64)) == 1  # made of layers that have no form for lanes
