"""Weighted training: lanes, engines, statistics, and what each weighting does to a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bench.backbones.base import build
from bench.errors import TrialError
from bench.heads.base import head_of
from bench.suite.model import Recipe
from bench.suite.weightings import read_weighting
from bench.training.data import Data
from bench.training.fit import fit
from bench.training.inputs import Held
from bench.training.lanes import Lane, Layout, Stream, source_head, stream_of
from bench.training.protocol import Split
from bench.training.weighted import TARGET_HEAD, SourceFacts, Weigh, add_head, meta_set
from bench.triangle import JOINT, PLAIN, Phase
from bench.weighting.base import ByRule, Facts
from bench.weighting.declare import weighting

CLASSES, POOL, META = 3, 60, 24
ADAM = Recipe(optimizer="adam", steps=6, batch_size=16, learning_rates=(0.01,), checkpoints=1, early_stopping=False)
SGD = ADAM.model_copy(update={"optimizer": "sgd", "learning_rates": (0.05,)})
KINDS = {
    "cnn": ("cnn", (1, 6, 6), {"channels": [4, 5], "norm": "batch"}),
    "mlp": ("mlp", (5,), {"widths": [8, 6]}),
}
WIDE = ("mlp", (5,), {"widths": [64]})
EVERY = {
    "random": {}, "loss": {"keep": 0.5}, "oracle": {}, "density-ratio": {"components": 3},
    "l2rw": {}, "l2rw shared": {"head": "shared"}, "l2rw higher": {"engine": "higher", "meta_batch": 9},
    "mw-net": {"hidden": 7, "rate": 0.1}, "mw-net shared": {"head": "shared", "meta_share": 0.5},
    "per-example": {}, "per-example 3": {"unrolled": 3, "momentum": 0.9}, "per-class adam": {"inner": "adam"},
    "per-domain": {},
}  # fmt: skip


def spec_of(kind, arguments=None):
    name = kind.split()[0]
    return (
        read_weighting({"weighting": name, **(EVERY[kind] if arguments is None else arguments)}, "", problems := [])
        or problems
    )


def data_of(shape, seed, number=POOL):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, number + 10)
    centres = 2.0 * np.random.default_rng(7).normal(size=(CLASSES, *shape))
    x = rng.normal(0, 0.6, (len(y), *shape)) + centres[y]
    x, y = torch.tensor(x), torch.tensor(y)
    return Data(Held(x[:number]), y[:number], Held(x[number:]), y[number:], f"data {seed}", ("data", seed))


def lanes_of(number, spec, kind="cnn", joint=False, wrong=0.4):
    """Source models on examples of which a share has wrong labels, with a target that is clean."""
    name, shape, options = KINDS.get(kind, WIDE)
    found = []
    for i in range(number):
        source, target = data_of(shape, i), data_of(shape, 100 + i, META)
        harmful = np.arange(POOL) < wrong * POOL
        source.y[torch.tensor(harmful)] = (source.y[torch.tensor(harmful)] + 1) % CLASSES
        facts = SourceFacts(CLASSES, harmful, np.arange(POOL) % 2)
        order = np.random.default_rng(i).permutation(POOL)
        split = Split(order[:50], order[50:])
        network = build(name, shape, CLASSES, i, i + 50, **options).double()
        labelled, own = np.arange(META), Split(np.arange(16), np.arange(16, META))
        if joint:
            add_head(network, source_head(0), source.head, range(CLASSES), i)
            network.beside.double()
            weigh = Weigh(spec, facts, None, True, (target, own.train))
            stream = stream_of(source, split.train, 16, ("source", i))
            found.append(Lane(network, target, own, META, i, place=i, how=JOINT, sources=(stream,), weigh=weigh))
            continue
        companion, unlabelled = None, (target, labelled)
        if spec.learns_from == "labels":
            names = ("a", "b", "c")
            companion = meta_set(spec, target, labelled, names, names, 16, ("target", i))
            if spec.own_head:
                add_head(network, TARGET_HEAD, target.head, range(CLASSES), 200 + i)
                network.beside.double()
        found.append(
            Lane(network, source, split, 50, i, place=i, weigh=Weigh(spec, facts, companion, unlabelled=unlabelled))
        )
    return found


def values(lane):
    return torch.cat([t.double().flatten() for t in lane.network.state_dict().values()])


# Lanes and engines


@pytest.mark.parametrize(
    "recipe", [SGD, ADAM.model_copy(update={"learning_rates": (0.003, 0.01)})], ids=["sgd", "adam"]
)
@pytest.mark.parametrize("kind", EVERY)
def test_lanes_equal_one_training_after_the_other(kind, recipe):
    spec = spec_of(kind)
    alone, together = lanes_of(3, spec), lanes_of(3, spec)
    expected = fit(alone, (Phase(0),), recipe)
    found = fit(together, (Phase(0),), recipe, Layout(4))
    for a, b, x, y in zip(alone, together, expected, found, strict=True):
        torch.testing.assert_close(values(a), values(b), rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(x.weights.mean, y.weights.mean, rtol=1e-5, atol=1e-7)
        assert x.learning_rate == y.learning_rate


@pytest.mark.parametrize("network", KINDS)
@pytest.mark.parametrize("head", ["own", "shared"])
@pytest.mark.parametrize("name", ["l2rw", "mw-net", "per-example", "per-class"])
def test_both_engines_give_the_same_weights_and_model(name, head, network):
    results = []
    for engine in ("forward", "higher"):
        lanes = lanes_of(2, spec_of(name, {"engine": engine, "head": head}), network)
        found = fit(lanes, (Phase(0),), SGD, Layout(2))
        results.append((torch.stack([values(lane) for lane in lanes]), np.stack([f.weights.mean for f in found])))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("lanes", [1, 3])
def test_joint_training_in_lanes(lanes):
    spec = spec_of("l2rw", {})
    alone, together = lanes_of(3, spec, joint=True), lanes_of(3, spec, joint=True)
    fit(alone, (Phase(0),), ADAM)
    fit(together, (Phase(0),), ADAM, Layout(lanes))
    for a, b in zip(alone, together, strict=True):
        torch.testing.assert_close(values(a), values(b), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("joint", [False, True])
def test_gradients_are_clipped_lane_by_lane(joint):
    spec, recipe = spec_of("l2rw"), SGD.model_copy(update={"clip_norm": 0.3})
    alone, together, whole = (lanes_of(3, spec, joint=joint) for _ in range(3))
    fit(alone, (Phase(0),), recipe)
    fit(together, (Phase(0),), recipe, Layout(4))
    fit(whole, (Phase(0),), SGD)
    for a, b, c in zip(alone, together, whole, strict=True):
        torch.testing.assert_close(values(a), values(b), rtol=1e-6, atol=1e-8)
        assert not torch.allclose(values(a), values(c), rtol=1e-3)


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_steep_second_head_does_not_clip_the_source_models_steps(lanes):
    """Random weights do not look at the target, so that what its head learns must leave the source model as it is."""
    flat, steep = lanes_of(1, spec_of("random")), lanes_of(1, spec_of("random"))
    for lane, scale in ((flat[0], 1), (steep[0], 1000)):
        add_head(lane.network, TARGET_HEAD, lane.data.head, range(CLASSES), 0)
        lane.network.beside[TARGET_HEAD].double().weight.data.mul_(scale)
        target = data_of(KINDS["cnn"][1], 100, META)
        beside = Stream(target, np.arange(META), target.y, 16, ("target", 0))
        lane.weigh = Weigh(lane.weigh.spec, lane.weigh.source, beside)
        fit([lane], (Phase(0),), SGD.model_copy(update={"clip_norm": 0.3}), Layout(lanes))
    names = [name for name in flat[0].network.state_dict() if not name.startswith("beside.")]
    for name in names:
        torch.testing.assert_close(flat[0].network.state_dict()[name], steep[0].network.state_dict()[name], msg=name)


# What a step does


def test_equal_weights_train_as_without_weights():
    plain, weighted = lanes_of(1, spec_of("random")), lanes_of(1, spec_of("uniform", {}))
    plain[0].weigh = None
    for lanes in (plain, weighted):
        fit(lanes, (Phase(0),), ADAM)
    torch.testing.assert_close(values(plain[0]), values(weighted[0]), rtol=1e-9, atol=1e-12)


def test_the_oracle_trains_on_what_is_not_planted():
    """One step on a batch is a step on its clean examples alone (without batch norm, which sees all)."""
    one = SGD.model_copy(update={"steps": 1, "batch_size": 64})
    (lane,) = lanes_of(1, spec_of("oracle"), "mlp")
    (clean,) = lanes_of(1, spec_of("oracle"), "mlp")
    clean.weigh, train = None, clean.split.train
    clean.split = Split(train[~lane.weigh.source.harmful[train]], clean.split.validation)
    for each in (lane, clean):
        fit([each], (Phase(0),), one)
    torch.testing.assert_close(values(lane), values(clean), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["l2rw", "l2rw higher", "mw-net", "per-example 3"])
def test_running_statistics_come_from_the_sources_own_pass_alone(kind):
    one = SGD.model_copy(update={"steps": 1})
    (weighted,), (plain,) = lanes_of(1, spec_of(kind)), lanes_of(1, spec_of("random"))
    plain.weigh = None
    for lane in (weighted, plain):
        fit([lane], (Phase(0),), one)
    moved = [dict(lane.network.named_buffers()) for lane in (weighted, plain)]
    assert moved[0].keys() == moved[1].keys()
    for name, buffer in moved[0].items():
        torch.testing.assert_close(buffer, moved[1][name], rtol=1e-12, atol=0)


def test_joint_training_keeps_the_targets_statistics():
    one = SGD.model_copy(update={"steps": 1})
    (joint,), (scratch,) = lanes_of(1, spec_of("uniform", {}), joint=True), lanes_of(1, spec_of("random"), joint=True)
    scratch.weigh, scratch.how = None, PLAIN
    for lane in (joint, scratch):
        fit([lane], (Phase(0),), one)
    for (name, a), (_, b) in zip(joint.network.named_buffers(), scratch.network.named_buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0, msg=name)
    assert not torch.equal(values(joint), values(scratch))


def test_the_targets_own_head_learns_from_the_target_and_moves_nothing_else():
    """A meta set with other labels changes that head; with weights that ignore it, nothing else."""
    spec = spec_of("per-example", {"rate": 1e-12})
    lanes = lanes_of(2, spec)
    lanes[1] = lanes_of(1, spec)[0]
    companion = lanes[1].weigh.meta
    companion.y.copy_((companion.y + 1) % CLASSES)
    before = lanes[0].network.beside[TARGET_HEAD].weight.clone()
    for lane in lanes:
        fit([lane], (Phase(0),), SGD)
    blocks = [torch.cat([p.flatten() for p in lane.network.blocks.parameters()]) for lane in (lanes[0], lanes[1])]
    torch.testing.assert_close(*blocks, rtol=0, atol=1e-9)
    assert not torch.allclose(lanes[0].network.beside[TARGET_HEAD].weight, lanes[1].network.beside[TARGET_HEAD].weight)
    assert not torch.allclose(lanes[0].network.beside[TARGET_HEAD].weight, before)


def test_weights_that_are_all_zero_fall_back_to_uniform_ones_and_are_counted():
    @weighting("nothing-at-all")
    def nothing(facts: Facts):
        class Zero(ByRule):
            def raw(self, step, losses):
                return torch.zeros_like(losses) if step.number % 2 else torch.ones_like(losses)

        return Zero(facts)

    spec = spec_of("nothing-at-all", {})
    lanes, plain = lanes_of(2, spec), lanes_of(2, spec)
    for lane in plain:
        lane.weigh = None
    found = fit(lanes, (Phase(0),), SGD, Layout(2))
    fit(plain, (Phase(0),), SGD, Layout(2))
    assert [f.weights.fallbacks for f in found] == [3, 3]
    for a, b in zip(lanes, plain, strict=True):
        torch.testing.assert_close(values(a), values(b), rtol=1e-9, atol=1e-12)


def test_small_losses_are_kept():
    spec = spec_of("loss", {"keep": 0.5, "warm_up": 0.01})
    (lane,) = lanes_of(1, spec)
    (found,) = fit([lane], (Phase(0),), SGD)
    weights = found.weights.history[-1]
    assert set(np.round(weights[np.isfinite(weights)], 6)) == {0.0, 2.0}  # relative to uniform ones


@pytest.mark.parametrize("kind", ["l2rw", "per-example"])
def test_learned_weights_find_wrong_labels(kind):
    """Three well separated classes, a shared head: a mislabelled example pulls the wrong way."""
    lanes = lanes_of(4, spec_of(kind, {"head": "shared"}), "wide", wrong=0.3)
    found = fit(lanes, (Phase(0),), SGD.model_copy(update={"steps": 100, "learning_rates": (0.002,)}), Layout(4))
    assert np.mean([f.weights.summary()["weight_auroc"] for f in found]) > 0.75


# The meta set


@pytest.mark.parametrize(("y", "batch"), [([1] * 8, 8), ([0, 1] * 4, 1)])
def test_a_meta_set_or_batch_of_one_class_is_refused(y, batch):
    data = Data(None, torch.tensor(y), None, None, "target")
    with pytest.raises(TrialError, match="two classes at least"):
        meta_set(spec_of("l2rw", {}), data, np.arange(8), ("a", "b"), ("a", "b"), batch, ())


def test_labels_are_seen_as_the_sources_head_numbers_them():
    data = Data(None, torch.tensor([0, 1, 0, 1]), None, None, "target")
    found = meta_set(spec_of("l2rw shared"), data, np.arange(4), ("cat", "dog"), ("dog", "cow", "cat"), 4, ())
    assert found.y.tolist() == [2, 0, 2, 0]


def test_diverging_weighted_training_says_at_which_rate():
    wild = SGD.model_copy(update={"learning_rates": (1e30,)})
    (lane,) = lanes_of(1, spec_of("l2rw"), "mlp")
    (found,) = fit([lane], (Phase(0),), wild)
    assert "1e+30" in str(found.error)


def test_a_head_beside_is_part_of_neither_the_network_saved_nor_its_count():
    network = build("mlp", (5,), 3, 0, 0, widths=[4])
    names = set(network.state_dict())
    add_head(network, TARGET_HEAD, head_of("single-label"), range(7), 0)
    assert isinstance(network.beside[TARGET_HEAD], nn.Linear)
    assert {name for name in network.state_dict() if not name.startswith("beside.")} == names
