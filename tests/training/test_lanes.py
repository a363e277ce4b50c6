"""Lanes: what is trained together comes out as if it were trained alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.backbones.base import build
from bench.backbones.stack import Stack
from bench.errors import BenchError
from bench.suite.model import Recipe
from bench.training.cuts import Cuts, Frozen
from bench.training.data import Data
from bench.training.fit import fit
from bench.training.inputs import Held
from bench.training.lanes import Lane, Layout, evaluate
from bench.training.loop import Start
from bench.training.protocol import Split
from bench.triangle import Phase

CLASSES, POOL = 3, 80
NETWORKS = {
    "cnn": ((1, 8, 8), {"channels": [4, 6, 6]}),
    "cnn, batch norm": ((2, 9, 7), {"channels": [4, 6, 6], "norm": "batch"}),
    "mlp": ((5,), {"widths": [8, 8]}),
    "mlp, batch norm and dropout": ((5,), {"widths": [8, 8], "norm": "batch", "dropout": 0.3}),
    "mlp of images": ((2, 4, 4), {"widths": [8]}),
}


def network(kind, seed, dtype=torch.float64):
    shape, options = NETWORKS[kind]
    made = build(kind.split(",")[0].split()[0], shape, CLASSES, seed, seed + 100, **options).to(dtype)
    for name, buffer in made.named_buffers():
        if "running" in name:
            torch.manual_seed(seed)
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    return made


def data_of(kind, seed=0, dtype=torch.float64):
    shape, _ = NETWORKS[kind]
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, POOL + 30)
    x = rng.normal(0, 0.5, (len(y), *shape)) + y.reshape(-1, *(1,) * len(shape))
    x, y = torch.tensor(x, dtype=dtype), torch.tensor(y)
    return Data(Held(x[:POOL]), y[:POOL], Held(x[POOL:]), y[POOL:], f"data {seed}", ("data", seed))


def lanes_of(kind, number, cuts=None, dtype=torch.float64, size=40):
    """Different starts, examples, batch orders and sources."""
    data, found = data_of(kind, dtype=dtype), []
    for i in range(number):
        order = np.random.default_rng(i).permutation(POOL)
        source = network(kind, 50 + i, dtype).eval()
        start = Start(blocks=i % 3 % (source.depth + 1), lr=(0.1, 1.0)[i % 2])
        made = network(kind, i, dtype)
        frozen = None
        if cuts is not None:
            start = Start(blocks=source.depth, lr=(0.1, 1.0)[i % 2])
            made = copy.deepcopy(source)
            made.head = network(kind, i, dtype).head
            frozen = Frozen(cuts, f"source {i}", source, data, order, i, size)
        split = Split(order[: size - 8], order[size - 8 : size])
        found.append(Lane(made, data, split, size, i, start, frozen, place=i))
    return found


def outcome(lanes, results):
    values = [torch.cat([t.double().flatten() for t in lane.network.state_dict().values()]) for lane in lanes]
    return values, results


RECIPES = {
    "sgd": Recipe(steps=7, batch_size=16, learning_rates=(0.02, 0.1), weight_decay=0.01, checkpoints=7),
    "adam": Recipe(steps=7, batch_size=16, optimizer="adam", learning_rates=(0.003, 0.03), checkpoints=7),
    "adamw": Recipe(steps=6, batch_size=64, optimizer="adamw", learning_rates=(0.01,), weight_decay=0.1, checkpoints=3),
    "refit": Recipe(steps=7, batch_size=16, learning_rates=(0.02, 0.3), checkpoints=7, refit=True),
    # Gradients here are about 1 long: some lanes' are clipped, and others' are not.
    "clipped": Recipe(steps=7, batch_size=16, learning_rates=(0.02, 0.1), checkpoints=7, clip_norm=0.7, warmup=0.4),
    "clipped adamw": Recipe(
        steps=6, batch_size=64, optimizer="adamw", learning_rates=(0.01,), checkpoints=3, clip_norm=0.3, warmup=0.2
    ),
    "last": Recipe(steps=5, batch_size=16, learning_rates=(0.02, 0.1), checkpoints=1, early_stopping=False),
}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("kind", NETWORKS)
def test_lanes_equal_one_training_after_the_other(kind, recipe):
    """In double precision: weights, statistics of batch norm, choices of rate and step, lane by lane."""
    alone, together = lanes_of(kind, 5), lanes_of(kind, 5)
    expected, chosen = outcome(alone, fit(alone, (Phase(0),), RECIPES[recipe], Layout(1)))
    for width in (2, 5, 8):
        together = lanes_of(kind, 5)
        values, found = outcome(together, fit(together, (Phase(0),), RECIPES[recipe], Layout(width)))
        for a, b in zip(values, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)
        assert [(f.learning_rate, f.best_step) for f in found] == [(f.learning_rate, f.best_step) for f in chosen]
        for a, b in zip(found, chosen, strict=True):
            np.testing.assert_allclose(np.array(a.curve), np.array(b.curve), rtol=1e-7)


@pytest.mark.parametrize("kind", NETWORKS)
def test_lanes_take_different_rates_and_stop_at_steps_of_their_own(kind):
    lanes = lanes_of(kind, 9)
    recipe = Recipe(steps=20, batch_size=16, learning_rates=(0.01, 0.1, 0.8), checkpoints=20)
    found = fit(lanes, (Phase(0),), recipe, Layout(4))
    assert len({(f.learning_rate, f.best_step) for f in found}) > 1


@settings(deadline=None, max_examples=12)
@given(
    kind=st.sampled_from(sorted(NETWORKS)),
    width=st.sampled_from([2, 4]),
    order=st.permutations(range(5)),
    number=st.integers(1, 5),
    clip=st.sampled_from([0.0, 0.5]),
)
def test_what_a_lane_computes_does_not_depend_on_its_company(kind, width, order, number, clip):
    """To the bit, in single precision: any companions, and any number of them."""
    rates = (0.01, 0.1)
    recipe = Recipe(steps=5, batch_size=16, optimizer="adam", learning_rates=rates, checkpoints=2, clip_norm=clip)
    everyone = lanes_of(kind, 5, dtype=torch.float32)
    expected, all_found = outcome(everyone, fit(everyone, (Phase(0),), recipe, Layout(width)))
    tested = evaluate(everyone, 0, Layout(width))
    lanes = lanes_of(kind, 5, dtype=torch.float32)
    some = [lanes[i] for i in order[:number]]
    values, found = outcome(some, fit(some, (Phase(0),), recipe, Layout(width)))
    again = evaluate(some, 0, Layout(width))
    for place, i in enumerate(order[:number]):
        assert torch.equal(values[place], expected[i])
        assert found[place] == all_found[i]
        assert again[place].look == tested[i].look
        assert torch.equal(again[place].correct, tested[i].correct)


@pytest.mark.parametrize("width", [1, 4])
def test_a_lane_that_diverges_takes_no_other_with_it(width):
    kind = "cnn, batch norm"
    lanes, alone = lanes_of(kind, 4), lanes_of(kind, 4)
    with torch.no_grad():
        lanes[1].network.head.weight.fill_(torch.inf)
    recipe = RECIPES["sgd"]
    found = fit(lanes, (Phase(0),), recipe, Layout(width))
    expected = fit(alone, (Phase(0),), recipe, Layout(width))
    assert "diverged at every learning rate tried (0.02, 0.1)" in str(found[1].error)
    assert [f for i, f in enumerate(found) if i != 1] == [f for i, f in enumerate(expected) if i != 1]


def test_lanes_with_other_numbers_of_examples_are_stacked_apart():
    kind = "cnn"
    lanes, alone = lanes_of(kind, 3), lanes_of(kind, 3)
    for group in (lanes, alone):
        group[1].split = Split(group[1].split.train[:-2], group[1].split.validation[:-1])
    found = fit(lanes, (Phase(0),), RECIPES["sgd"], Layout(3))
    expected = fit(alone, (Phase(0),), RECIPES["sgd"], Layout(1))
    assert [f.learning_rate for f in found] == [f.learning_rate for f in expected]


def test_paths_through_the_triangle_in_lanes_with_the_cut_looked_up():
    kind, path = "cnn, batch norm", (Phase(3), Phase(2, lr=0.5), Phase(0))
    alone = lanes_of(kind, 4)
    for lane in alone:  # the same models, with nothing to look up
        source = lanes_of(kind, 4, Cuts(2**20))[lane.seed]
        lane.network, lane.start = source.network, source.start
    together = lanes_of(kind, 4, Cuts(2**20))
    expected, without = outcome(alone, fit(alone, path, RECIPES["sgd"], Layout(1)))
    values, found = outcome(together, fit(together, path, RECIPES["sgd"], Layout(4)))
    for a, b in zip(values, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)
    assert {f.cut for f in found} == {"cached"}
    assert {f.cut for f in without} == {"recomputed"}


def test_a_block_that_was_trained_before_it_is_frozen_is_not_looked_up():
    lanes = lanes_of("cnn", 2, Cuts(2**20))
    found = fit(lanes, (Phase(0), Phase(2)), RECIPES["sgd"], Layout(2))
    assert {f.cut for f in found} == {"recomputed"}


def test_a_layer_without_a_form_for_lanes_is_named():
    made = network("cnn", 0)
    made.blocks["conv1"].append(torch.nn.GroupNorm(2, 4))
    with pytest.raises(BenchError, match="a GroupNorm layer cannot be stacked"):
        Stack(made, 2)


@settings(deadline=None, max_examples=15)
@given(width=st.integers(2, 7), places=st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_ties_go_to_the_smaller_rate_whatever_stack_it_stood_on(width, places):
    """All rates give the same: nothing is trained at rates this small."""
    lanes = lanes_of("mlp", len(places), dtype=torch.float32)
    for lane, place in zip(lanes, places, strict=True):
        lane.place = place
    rates = (1e-30, 2e-30, 3e-30)
    recipe = Recipe(steps=2, batch_size=16, learning_rates=rates, checkpoints=2)
    for found in fit(lanes, (Phase(0),), recipe, Layout(width)):
        assert (found.learning_rate, found.best_step) == (1e-30, 1)
        assert [point[:2] for point in found.curve] == [(rate, step) for rate in rates for step in (1, 2)]
