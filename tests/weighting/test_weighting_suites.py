"""Weightings in suites: which trials there are, what rows say, resuming, and what bad input gets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import bench
from bench.errors import SuiteError
from bench.ledger.example_weights import load_weights
from bench.suite import Plan, load_suite
from bench.tasks.build import build_task, card_of
from bench.training.protocol import Pool, split_pool

SUITE = {
    "name": "weighed",
    "backbones": [{"backbone": "cnn", "channels": [4, 6], "norm": "batch", "name": "cnn"}],
    "strategies": ["zero-shot", "fine-tune", "joint"],
    "weighting": ["random", "oracle", "l2rw", {"weighting": "per-example", "unrolled": 2, "name": "unrolled"}],
    "target_sizes": [30, 60],
    "seeds": 2,
    "image_size": 8,
    "measures": ["leep"],
    "tasks": {
        "small": {"task": "printed-digits", "n": 200},
        "noisy": {"task": "small", "label_noise": 0.4},
        "mixed": {"task": "small", "mix": {"task": "noisy", "share": 0.3, "labels": "wrap"}},
    },
    "pairs": [{"target": "digits", "sources": ["small", "noisy"]}],
    "recipe": {"steps": 6, "learning_rates": [0.03], "checkpoints": 2},
    "source_recipe": {"steps": 12, "learning_rates": [0.05]},
}


def planned(**changes):
    suite = load_suite({**SUITE, **changes})
    cards = {spec.digest: card_of(build_task(spec, suite.root())) for spec in Plan(suite).tasks.values()}
    return Plan(suite, cards)


def run(out, **changes):
    return bench.run({**SUITE, **changes}, out, jobs=0)


def same(a, b):
    timings = ["seconds", "source_seconds"]
    return a.drop(columns=timings).equals(b.drop(columns=timings))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("weighed") / "out"
    return out, run(out)


# Which trials


def weightings_of(plan, source):
    return list(dict.fromkeys(t.model.weighting for t in plan.trials() if t.model and t.model.source == source))


def test_weightings_that_cannot_differ_from_uniform_are_not_run():
    pairs = [{"target": "digits", "sources": ["small", "noisy", "mixed"]}]
    one = planned(pairs=pairs, weighting=["oracle", "per-domain", "l2rw"])
    assert weightings_of(one, "small") == ["uniform", "l2rw"]
    assert weightings_of(one, "noisy") == ["uniform", "oracle", "l2rw"]
    assert weightings_of(one, "mixed") == ["uniform", "oracle", "per-domain", "l2rw"]


def test_what_learns_from_the_target_has_a_source_model_for_every_trial_and_size():
    one = planned(pairs=[{"target": "digits", "source": "noisy"}])
    models = [model for model in one.source_models() if model.trained]
    number = {name: sum(model.weighting == name for model in models) for name in one.weightings}
    assert number == {"uniform": 2, "random": 2, "oracle": 2, "l2rw": 4, "unrolled": 4}
    assert len({model.key for model in models}) == len(models)
    zero_shot = [t for t in one.trials() if one.strategy(t).name == "zero-shot"]
    assert {t.target_size for t in zero_shot if t.model.weighting == "random"} == {0}
    assert {t.target_size for t in zero_shot if t.model.weighting == "l2rw"} == {30, 60}


def test_adding_a_weighting_leaves_the_keys_that_were_there():
    before = {t.key for t in planned(weighting=["uniform"]).trials()}
    assert before < {t.key for t in planned().trials()}


def test_arguments_of_a_weighting_are_part_of_its_keys_and_its_label_is_not():
    def keys(**entry):
        one = planned(weighting=[{"weighting": "l2rw", **entry}])
        return {t.key for t in one.trials() if t.model and t.model.weighting != "uniform"}

    assert keys() == keys(name="mine")
    assert not keys() & keys(head="shared")


# What a weighting sees


def test_the_meta_set_is_the_trials_training_examples_and_no_others():
    from bench.sources import _Lanes
    from bench.tasks.fit import fit
    from bench.training.lanes import Layout

    one = planned(pairs=[{"target": "digits", "source": "noisy"}])
    tasks = {name: build_task(spec, one.suite.root()) for name, spec in one.tasks.items()}
    maker = _Lanes(one, lambda name, shape, by: fit(tasks[name], shape), torch.device("cpu"), Layout())
    digits, card = tasks["digits"], one.card("digits")
    seen = 0
    for model in one.source_models():
        lane = maker.lane(model)
        if model.meta is None:
            continue
        split = split_pool(
            Pool.of(digits), card.fingerprint, model.meta.size, model.meta.seed, one.suite.recipe, digits.classes
        )
        companion = lane.weigh.meta
        assert set(companion.examples) == set(split.train)
        assert not set(companion.examples) & set(split.validation)
        assert np.array_equal(companion.y, digits.y[companion.examples])
        seen += 1
    assert seen == 8


# Rows


def test_rows_say_how_weights_found_the_planted_harm(finished):
    _, rows = finished
    assert (rows.status == "ok").all()
    noisy = rows[(rows.source == "noisy") & (rows.weighting != "uniform")]
    assert noisy.weight_auroc.between(0, 1).all()
    assert (noisy[noisy.weighting == "oracle"].weight_auroc == 1).all()
    assert (noisy[noisy.weighting == "oracle"].weight_average_precision == 1).all()
    assert rows[rows.source == "small"].weight_auroc.isna().all()
    transferred = rows[rows.source.notna() & (rows.strategy != "joint")]
    assert (transferred.source_seconds > 0).all()
    assert transferred[transferred.weighting == "uniform"].effective_sample_size.isna().all()
    oracle = noisy[(noisy.weighting == "oracle") & (noisy.strategy == "fine-tune")]
    assert oracle.effective_sample_size.to_numpy() == pytest.approx(
        200 * 0.8 * 0.6, abs=6
    )  # 40 % wrong, a fifth held out
    assert (noisy.weight_fallbacks >= 0).all()


def test_every_comparison_has_its_scratch_arm(finished):
    _, rows = finished
    table = bench.negative_transfer(rows)
    assert not table.attrs["warnings"] or "seeds" in " ".join(table.attrs["warnings"])
    zero = table[(table.strategy == "zero-shot") & (table.weighting == "l2rw")]
    assert set(zero.target_size) == {30, 60}
    joint = table[table.strategy == "joint"]
    assert (joint.transfer_depth == 0).all()
    assert set(joint.weighting) == {"uniform", "random", "oracle", "l2rw", "unrolled"}


def test_similarity_is_the_pairs_and_stands_in_every_row(finished):
    _, rows = finished
    transferred = rows[rows.source.notna()]
    assert transferred.leep.notna().all()
    assert (transferred.groupby(["source", "source_seed"]).leep.nunique() == 1).all()


def test_weights_are_kept_and_read_back(finished):
    out, rows = finished
    weights = load_weights(out)
    learned = weights[(weights.source == "noisy") & (weights.weighting == "l2rw") & ~weights.joint.astype(bool)]
    place = ["target_size", "seed"]
    assert learned.groupby(place).size().eq(160).all()
    assert learned.harmful.mean() == pytest.approx(0.4, abs=0.1)
    from sklearn.metrics import roc_auc_score

    for (size, seed), part in learned.groupby(place):
        row = rows[
            (rows.source == "noisy") & (rows.weighting == "l2rw") & (rows.strategy == "zero-shot")
            & (rows.target_size == size) & (rows.seed == seed)
        ]  # fmt: skip
        seen = part[part.weight.notna()]
        assert roc_auc_score(seen.harmful.astype(bool), -seen.weight) == pytest.approx(row.weight_auroc.item())
    history = load_weights(out, history=True)
    assert set(history.interval) == set(range(10))


# Resuming


@pytest.mark.parametrize("lanes", [1, 4])
def test_interrupted_runs_resume_to_the_same_bits(tmp_path, lanes):
    changes = {"lanes": lanes, "target_sizes": [30], "pairs": [{"target": "digits", "source": "noisy"}]}
    whole = run(tmp_path / "whole", **changes)
    for part in ({"seeds": [1]}, {"strategies": ["joint"]}, {"weighting": ["l2rw"]}):
        run(tmp_path / "parts", **{**changes, **part})
    for path in sorted((tmp_path / "parts" / "sources").iterdir())[::3]:
        path.unlink()
    assert same(run(tmp_path / "parts", **changes), whole)


# Bad input


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("l2rv", 'did you mean "l2rw"?'),
        ({"name": "mine"}, 'say which: weighting = "..."'),
        ({"weighting": "l2rw", "engin": "higher"}, 'no argument "engin"; did you mean "engine"?'),
        ({"weighting": "l2rw", "engine": "highr"}, 'did you mean "higher"?'),
        ({"weighting": "l2rw", "head": "both"}, 'is not "own" or "shared"'),
        ({"weighting": "l2rw", "meta_share": 0}, "meta_share = 0 is not a number above 0"),
        ({"weighting": "per-example", "inner": "adamw"}, 'inner = \'adamw\' is not "sgd" or "adam"'),
        ({"weighting": "per-example", "unrolled": 2, "engine": "forward"}, "one plain gradient step ahead"),
        ({"weighting": "mw-net", "unrolled": 2}, 'no argument "unrolled"'),
        ({"weighting": "loss", "keep": 1.5}, "keep = 1.5 is not a number above 0 and up to 1"),
        ({"weighting": "density-ratio", "components": "all"}, "components = 'all' is not a whole number"),
        ({"weighting": "uniform", "name": "plain"}, '"plain" is the same as "uniform"'),
    ],
)
def test_mistakes_in_an_entry_name_the_value_and_what_is_allowed(entry, message):
    with pytest.raises(SuiteError) as raised:
        load_suite({**SUITE, "weighting": [entry]})
    assert "weighting[0]" in str(raised.value)
    assert message in str(raised.value)


def test_two_entries_of_one_label_are_refused():
    with pytest.raises(SuiteError, match='two weightings are called "l2rw"'):
        load_suite({**SUITE, "weighting": ["l2rw", {"weighting": "l2rw", "head": "shared"}]})


def test_too_few_target_labels_for_a_meta_set_are_said_before_anything_is_trained(tmp_path):
    with pytest.raises(SuiteError, match="is left 4 target examples to learn from, fewer than the 10 classes"):
        run(tmp_path, weighting=[{"weighting": "l2rw", "meta_share": 0.2}])
    assert not list((tmp_path / "sources").iterdir()) if (tmp_path / "sources").exists() else True


def test_a_shared_head_needs_the_targets_classes(tmp_path):
    with pytest.raises(SuiteError, match="needs the target's classes among the source's"):
        run(
            tmp_path, weighting=[{"weighting": "l2rw", "head": "shared"}], strategies=["fine-tune"],
            pairs=[{"target": "digits", "source": "patches"}],
        )  # fmt: skip
