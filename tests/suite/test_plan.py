"""What a suite expands to: which trials, each once, under which keys, and without holding them."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest

from bench.registry import WEIGHTINGS
from bench.suite import Plan, Selection, load_suite
from bench.trial import Card, SourceModel, Trial, unit_from_json, unit_to_json

SUITE = {
    "backbones": [{"backbone": "cnn", "channels": [4, 4, 4], "name": "cnn"}],
    "strategies": ["feature-extraction"],
    "target_sizes": [20, 50],
    "seeds": 3,
    "tasks": {"noisy": {"task": "printed-digits", "label_noise": 0.4}},
    "pairs": [{"target": "digits", "sources": ["printed-digits", "noisy", "patches"]}],
}
CARD = Card("task", "print", 1, tuple("0123456789"), (1, 8, 8), 500, 100, (50,) * 10)


def plan(*, cards=None, **changes):
    """The plan of the suite with changes; `cards` replaces values on the cards of its tasks."""
    suite = load_suite({**SUITE, **changes})
    bare = Plan(suite)
    known = {}
    for name, spec in bare.tasks.items():
        said = {"name": name, "fingerprint": f"print of {name}", "classes": spec.classes()}
        known[spec.digest] = replace(CARD, **said | (cards or {}).get(name, {}))
    return Plan(suite, known)


def keys(**changes):
    return [trial.key for trial in plan(**changes).trials()]


def points(one, source=None):
    """Names and (n, f) of the trials from one source, with how many there are."""
    found = {}
    for trial in one.trials():
        if (trial.model and trial.model.source) == source:
            strategy = one.strategy(trial)
            place = (strategy.name, strategy.transfer, strategy.frozen)
            found[place] = found.get(place, 0) + 1
    return found


@pytest.fixture
def second_weighting():
    WEIGHTINGS.register("every-other", lambda: None)
    yield "every-other"
    del WEIGHTINGS._entries["every-other"]


# Which trials


def test_counts_by_hand():
    one = plan(strategies=["feature-extraction", "fine-tune", "layer-transfer-tuned", "linear-probe-fine-tune"])
    assert points(one) == {("scratch", 0, 0): 2 * 3}
    each = 2 * 3
    assert points(one, "noisy") == {
        ("feature-extraction", 3, 3): each,
        ("fine-tune", 3, 0): each, ("fine-tune", 3, 1): each, ("fine-tune", 3, 2): each,
        # (3, 0) is fine-tune's already.
        ("layer-transfer-tuned", 1, 0): each, ("layer-transfer-tuned", 2, 0): each,
        ("linear-probe-fine-tune", 3, 0): each,
    }  # fmt: skip
    assert sum(1 for _ in one.trials()) == each + 3 * 7 * each
    assert sum(1 for _ in one.source_models()) == 3 * 3


def test_scratch_is_there_unasked_and_once_whatever_the_sources_and_weightings(second_weighting):
    pairs = [{"target": end, "sources": ["noisy", "patches"]} for end in ("digits", "printed-digits")]
    one = plan(pairs=pairs, weighting=["uniform", second_weighting], strategies=["fine-tune", "scratch-long"])
    scratch = [t for t in one.trials() if t.model is None]
    assert len(scratch) == 2 * 2 * 2 * 3  # targets, scratch and the longer arm, sizes, seeds
    assert len({(t.target, t.strategy, t.target_size, t.seed) for t in scratch}) == len(scratch)
    transfer = [t for t in one.trials() if t.model]
    assert len(transfer) == 2 * 2 * 2 * 3 * 2 * 3  # targets, sources, weightings, points, sizes, seeds
    assert {t.model.weighting for t in transfer} == {"uniform", second_weighting}


def test_scratch_is_once_where_the_suite_asks_for_it_too():
    assert points(plan(strategies=["scratch", "feature-extraction", "scratch"])) == points(plan())


def test_zero_shot_has_no_size_and_needs_the_targets_classes():
    one = plan(strategies=["zero-shot"], tasks={**SUITE["tasks"], "half": {"task": "digits", "classes": [1, 2]}},
               pairs=[*SUITE["pairs"], {"target": "half", "source": "noisy"}])  # fmt: skip
    zero = [t for t in one.trials() if one.strategy(t).name == "zero-shot"]
    assert {(t.model.source, t.target) for t in zero} == {
        ("printed-digits", "digits"), ("noisy", "digits"), ("noisy", "half"),
    }  # fmt: skip
    assert all(t.target_size == 0 for t in zero)
    assert len(zero) == 3 * 3  # pairs, seeds


def test_zero_shot_counts_as_possible_while_only_the_data_can_tell(tmp_path):
    suite = load_suite(
        {**SUITE, "strategies": ["zero-shot"], "tasks": {"mine": {"npz": "mine.npz"}}, "folder": str(tmp_path),
         "pairs": [{"target": "digits", "source": "mine"}]}
    )  # fmt: skip
    before = Plan(suite)
    assert ("zero-shot", 3, 3) in points(before, "mine")
    known = {spec.digest: replace(CARD, name=name) for name, spec in before.tasks.items()}
    known[before.tasks["mine"].digest] = replace(CARD, name="mine", classes=("a", "b"))
    assert points(Plan(suite, known), "mine") == {}


def test_one_point_under_two_names_is_one_trial_under_the_first():
    by_both = plan(strategies=["layer-transfer", "feature-extraction"])
    assert ("layer-transfer", 3, 3) in points(by_both, "noisy")
    assert ("feature-extraction", 3, 3) not in points(by_both, "noisy")
    own = [{"name": "mine", "transfer": "all", "freeze": "all"}, "feature-extraction"]
    assert set(points(plan(strategies=own), "noisy")) == {("mine", 3, 3)}


def test_strategies_stand_at_each_backbones_own_depths():
    one = plan(backbones=[*SUITE["backbones"], {"backbone": "mlp", "widths": [8]}], strategies=["fine-tune"])
    depths = {(t.backbone, one.strategy(t).transfer, one.strategy(t).frozen) for t in one.trials() if t.model}
    assert depths == {(0, 3, 0), (0, 3, 1), (0, 3, 2), (1, 1, 0)}


def test_a_model_that_is_handed_in_has_one_weighting_and_is_one(tmp_path, second_weighting):
    (tmp_path / "w.pt").write_bytes(b"weights")
    one = plan(
        models={"mine": {"state_dict": "w.pt"}}, pairs=[{"target": "digits", "sources": ["mine", "noisy"]}],
        weighting=["uniform", second_weighting], folder=str(tmp_path),
    )  # fmt: skip
    mine = [t for t in one.trials() if t.model and t.model.source == "mine"]
    assert len(mine) == 2 * 3
    assert len({t.model for t in mine}) == 1
    assert mine[0].model.weighting == "uniform"


def test_trials_and_models_survive_the_way_to_a_worker():
    units = [*plan().trials(), *plan().source_models()]
    assert [unit_from_json(unit_to_json(unit)) for unit in units] == units
    assert {type(unit) for unit in units} == {Trial, SourceModel}


# Keys


def test_every_key_of_a_suite_is_its_own(second_weighting):
    found = keys(
        backbones=["cnn", {"backbone": "cnn", "norm": "batch", "name": "normed"}, "mlp"],
        strategies=["zero-shot", "triangle", "linear-probe-fine-tune", "gradual-unfreezing", "scratch-long"],
        weighting=["uniform", second_weighting],
        pairs=[{"target": end, "sources": ["printed-digits", "noisy", "digits"]} for end in ("digits", "noisy")],
    )
    assert len(found) > 1000
    assert len(set(found)) == len(found)
    assert all(found)


def test_keys_are_empty_while_the_data_are_unread():
    assert {trial.key for trial in Plan(load_suite(SUITE)).trials()} == {""}


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "another"},
        {"description": "something else"},
        {"data_root": "elsewhere"},
        {"folder": "elsewhere"},
        {"measures": []},
        {"statistics": {"margin": 0.02}},
        {"strategies": [{"strategy": "feature-extraction", "name": "features"}]},
        {"strategies": [{"name": "mine", "transfer": 3, "freeze": 3}]},
        {"strategies": [{"name": "mine", "transfer": 3, "path": [{"freeze": 3, "lr": 1}]}]},
        {"backbones": [{"backbone": "cnn", "channels": [4, 4, 4], "name": "another"}]},
        {"tasks": {"noisy": {"task": "printed-digits", "label_noise": {"rate": 0.4}}}},
        {"seeds": [0, 1, 2], "source_models": 3},
        {"source_recipe": {}},
        {"recipe": {"warmup": 0.0}, "source_recipe": {"warmup": 0}},
    ],
    ids=str,
)
def test_keys_do_not_change_with_what_does_not_decide_a_result(changes):
    assert keys(**changes) == keys()


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": [2, 0, 1]},
        {"target_sizes": [50, 20]},
        {"target_sizes": ["2 per class", "5/class"]},
        {"pairs": [{"target": "digits", "sources": ["patches", "noisy", "printed-digits"]}]},
        {"pairs": [{"target": "digits", "source": s} for s in ("noisy", "noisy", "printed-digits", "patches")]},
        {"strategies": ["scratch", "feature-extraction"]},
    ],
    ids=str,
)
def test_keys_do_not_depend_on_order_or_form(changes):
    assert sorted(keys(**changes)) == sorted(keys())


def test_keys_do_not_depend_on_where_handed_in_weights_lie(tmp_path):
    pairs = [{"target": "digits", "source": "mine"}]

    def found(name, content=b"weights", **more):
        (tmp_path / name).write_bytes(content)
        return keys(models={"mine": {"state_dict": str(tmp_path / name), **more}}, pairs=pairs)

    assert found("a.pt") == found("b.pt")
    plan_of_models = plan(models={"mine": {"state_dict": str(tmp_path / "a.pt")}}, pairs=pairs)
    scratch = {trial.key for trial in plan_of_models.trials() if trial.model is None}
    assert not set(found("a.pt", b"other weights")) & set(found("b.pt")) - scratch
    assert not set(found("a.pt", classes=["x", "y"])) & set(found("b.pt")) - scratch


@pytest.mark.parametrize(
    "changes",
    [
        {"cards": {"digits": {"fingerprint": "other data"}}},
        {"cards": {"digits": {"version": 2}}},
        {"cards": {"digits": {"shape": (1, 9, 9)}}},
        {"image_size": 16},
        {"backbones": [{"backbone": "cnn", "channels": [4, 4, 5], "name": "cnn"}]},
        {"backbones": [{"backbone": "cnn", "channels": [4, 4, 4], "norm": "batch", "name": "cnn"}]},
        {"seeds": [3, 4, 5]},
        {"target_sizes": [30, 60]},
        {"recipe": {"steps": 99}},
        {"recipe": {"optimizer": "adam"}},
        {"recipe": {"learning_rates": [0.01, 0.03]}},
        {"recipe": {"validation": "extra", "validation_size": 20}},
        {"recipe": {"copied_lr": 0.2}},
        {"recipe": {"warmup": 0.1}},
        {"recipe": {"clip_norm": 1.0}},
    ],
    ids=str,
)
def test_every_key_changes_with_what_decides_all_results(changes):
    assert not set(keys(**changes)) & set(keys())


def test_recipe_keys_that_came_later_leave_the_keys_of_rows_that_are_stored():
    """The digests of these recipes before there was a warm-up or clipping: rows of old suites must be found again."""
    one = plan(recipe={"optimizer": "adam", "steps": 75, "learning_rates": [0.01, 0.05], "early_stopping": False})
    assert one._recipe_digests == ("b5de915c1040da2a9c76", "7e4459faa6cf63972a35")


@pytest.mark.parametrize(
    ("changes", "sources"),
    [
        ({"source_recipe": {"steps": 399}}, {"printed-digits", "noisy", "patches"}),
        ({"source_models": 1}, {"printed-digits", "noisy", "patches"}),
        ({"cards": {"patches": {"fingerprint": "other data"}}}, {"patches"}),
        ({"cards": {"patches": {"version": 2}}}, {"patches"}),
        ({"strategies": [{"strategy": "fine-tune", "depths": [2]}]}, {"printed-digits", "noisy", "patches"}),
    ],
    ids=["recipe", "one source model", "data", "version", "strategies"],
)
def test_scratch_and_other_sources_keep_their_keys(changes, sources):
    changed, before = plan(**changes), plan()
    for old, new in zip(before.trials(), changed.trials(), strict=True):
        assert (old.model and old.model.source) == (new.model and new.model.source)
        # One source model for all seeds is still that of seed 0.
        same = old.model is None or old.model.source not in sources or ("source_models" in changes and old.seed == 0)
        assert (old.key == new.key) == same


def test_a_weighting_changes_the_source_models_and_what_starts_from_them(second_weighting):
    uniform, both = plan(), plan(weighting=[second_weighting])
    old = {trial.key for trial in uniform.trials()}
    new = [trial for trial in both.trials() if trial.key not in old]
    assert old < {trial.key for trial in both.trials()}  # uniform is there unasked: others are compared with it
    assert {trial.model.weighting for trial in new} == {second_weighting}
    assert len(new) == sum(trial.model is not None for trial in uniform.trials())


def test_source_models_belong_to_data_shape_backbone_recipe_and_seed_and_to_no_target():
    def models(**changes):
        return {model.key for model in plan(**changes).source_models()}

    to_others = [*SUITE["pairs"], {"target": "printed-digits", "sources": ["noisy", "patches"]}]
    assert models(pairs=to_others) == models()
    assert models(recipe={"steps": 50}) == models()
    assert not models(source_recipe={"steps": 50}) & models()
    assert not models(image_size=16) & models()
    assert not models(backbones=["mlp"]) & models()


# Size


def test_keys_tell_inputs_that_are_cropped_to_the_targets_aspect_and_no_others():
    def keys(shape, size):
        values = {
            "target_sizes": [20],
            "seeds": 1,
            "image_size": size,
            "pairs": [{"target": "digits", "source": "noise"}],
        }
        bare = Plan(load_suite(values))
        cards = {spec.digest: replace(CARD, shape=shape) for spec in bare.tasks.values()}
        return {trial.key for trial in Plan(load_suite(values), cards).trials()}

    # What a network sees has one shape, and comes from one fingerprint, in all of these.
    assert keys((1, 16, 16), 8) == keys((1, 28, 28), 8) == keys((1, 8, 8), 8)
    assert not keys((1, 16, 12), 8) & keys((1, 8, 8), 8)


def test_a_large_plan_is_expanded_without_holding_it():
    """What a plan of 10^5 trials holds must not grow with them: a million then take ten times as long, no more."""
    tasks = {f"noisy-{i}": {"task": "printed-digits", "label_noise": i / 100} for i in range(20)}
    changes = {"tasks": tasks, "pairs": [{"target": "digits", "sources": list(tasks)}], "strategies": ["triangle"]}
    large = plan(**changes, seeds=140, target_sizes=[20, 30, 40, 50])
    next(large.trials())
    tracemalloc.start()
    n = sum(1 for _ in large.trials())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n == 140 * 4 * (1 + 20 * 9)
    assert peak < 300_000


def test_a_million_trials_are_selected_from_by_block():
    large = plan(seeds=300_000, target_sizes=[20, 30])
    one = list(large.trials(Selection.parse(["seed=299999", "size=30", "source=noisy"], large)))
    assert [(t.seed, t.target_size, t.model and t.model.source) for t in one] == [
        (299999, 30, None), (299999, 30, "noisy"),
    ]  # fmt: skip
