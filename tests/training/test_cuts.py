"""Activations at the cut: computed once, the same whoever asks, bounded in memory."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.backbones.base import build
from bench.identity import derive
from bench.suite.model import Recipe
from bench.training.augment import Augment
from bench.training.cuts import Cuts, Frozen, activations
from bench.training.data import Data
from bench.training.fit import fit
from bench.training.inputs import CHUNK, Held, Joined, Mapped, join
from bench.training.lanes import Lane, Layout
from bench.training.loop import Start
from bench.training.protocol import Split
from bench.triangle import Phase

SHAPE, POOL, TEST = (1, 8, 8), 3 * CHUNK + 17, CHUNK + 5


@pytest.fixture(scope="module")
def source():
    return build("cnn", SHAPE, 4, 0, 0, channels=[4, 6, 8], norm="batch").eval()


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(POOL + TEST, *SHAPE)), dtype=torch.float32)
    y = torch.tensor(rng.integers(0, 4, POOL + TEST))
    return Data(Held(x[:POOL]), y[:POOL], Held(x[POOL:]), y[POOL:], "data", "data")


def frozen(cuts, source, data, seed=0, count=POOL):
    return Frozen(cuts, "model", source, data, np.random.default_rng(seed).permutation(POOL), seed, count)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_rows_are_what_the_blocks_compute(source, data, depth):
    view = frozen(Cuts(2**30), source, data)
    expected = activations(source, data.x.x, depth)
    torch.testing.assert_close(view.pool(depth).x, expected[view.order], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(view.test(depth).x, activations(source, data.x_test.x, depth), rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(asked=st.lists(st.tuples(st.integers(1, 3), st.integers(1, POOL)), min_size=1, max_size=6))
def test_rows_are_the_same_to_the_bit_whatever_was_asked_before(source, data, asked):
    """Other sizes, other depths, in memory or spilt: one example has one row."""
    whole = {depth: frozen(Cuts(2**30), source, data).pool(depth).x for depth in (1, 2, 3)}
    for limit in (2**30, 2**16, 0):
        cuts = Cuts(limit)
        for depth, count in asked:
            rows = frozen(cuts, source, data, count=count).pool(depth)
            assert len(rows) >= count
            index = torch.arange(count)
            assert torch.equal(rows.take(index), whole[depth][:count])


def test_every_row_is_computed_once(source, data):
    cuts = Cuts(2**30)
    for count in (10, CHUNK, 2 * CHUNK, POOL, 5):
        for depth in (1, 3):
            frozen(cuts, source, data, count=count).pool(depth)
    assert cuts.computed == 2 * POOL
    frozen(cuts, source, data).test(2)
    frozen(cuts, source, data, seed=0).test(2)
    assert cuts.computed == 2 * POOL + TEST


def test_memory_is_bounded_and_old_files_go(source, data):
    one = frozen(Cuts(2**30), source, data).pool(1).nbytes
    cuts = Cuts(limit=2 * one, disk=3 * one)
    for seed in range(8):
        frozen(cuts, source, data, seed).pool(1)
        held = [rows for rows in cuts._known.values() if rows.x.untyped_storage().nbytes() and not _mapped(rows)]
        assert sum(rows.nbytes for rows in held) <= 2 * one
    assert sum(rows.nbytes for rows in cuts._known.values()) <= 5 * one
    before = cuts.computed
    frozen(cuts, source, data, 7).pool(1)
    assert cuts.computed == before


def _mapped(rows):
    return not rows.x.is_contiguous(memory_format=torch.channels_last) or isinstance(rows.x.numpy().base, np.memmap)


@pytest.mark.parametrize("augment", [(), ("flip",), ("shift", "flip")])
@pytest.mark.parametrize("lanes", [1, 3])
def test_augmentation_switches_the_cut_off_and_is_the_same_for_every_strategy(source, data, augment, lanes):
    recipe = Recipe(steps=4, batch_size=16, learning_rates=(0.05,), checkpoints=1, augment=augment)
    order = np.arange(POOL)
    models = []
    for _ in range(2):
        network = copy.deepcopy(source).requires_grad_(True)
        view = Frozen(Cuts(2**30), "model", source, data, order, 0, 60)
        lane = Lane(network, data, Split(order[:48], order[48:60]), 60, 0, Start(3), view)
        (found,) = fit([lane], (Phase(2),), recipe, Layout(lanes))
        assert found.cut == ("recomputed" if augment else "cached")
        models.append(network.head.weight.detach())
    assert torch.equal(*models)


def test_flips_and_shifts_are_what_they_say():
    x = torch.arange(2 * 3 * 2 * 16 * 24, dtype=torch.float32).view(2, 3, 2, 16, 24)
    flipped = Augment(("flip",), [0, 1])(x).flatten(0, 1)
    images = x.flatten(0, 1)
    for one, changed in zip(images, flipped, strict=True):
        assert torch.equal(changed, one) or torch.equal(changed, one.flip(2))
    moved = Augment(("shift",), [0, 1])(x).flatten(0, 1)
    for one, changed in zip(images, moved, strict=True):
        middle = changed[:, 4:12, 6:18]
        shifts = [(dy, dx) for dy in range(-2, 3) for dx in range(-3, 4)]
        assert any(torch.equal(middle, one[:, 4 + dy : 12 + dy, 6 + dx : 18 + dx]) for dy, dx in shifts)
    both = [Augment(("flip", "shift"), [seed])(x[:1]) for seed in (5, 5, 6)]
    assert torch.equal(both[0], both[1])
    assert not torch.equal(both[0], both[2])


def test_augmented_lanes_draw_what_they_would_draw_alone(data):
    seeds = [derive("augment", "a", i) for i in range(3)]
    x = data.x.x[:24].view(3, 8, *SHAPE)
    together = Augment(("shift", "flip"), seeds)(x)
    for i, seed in enumerate(seeds):
        assert torch.equal(together[i], Augment(("shift", "flip"), [seed])(x[i : i + 1])[0])


def test_mapped_and_joined_inputs_give_the_same_rows_as_held_ones(source, tmp_path):
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, (50, *SHAPE), dtype=np.uint8)
    np.save(tmp_path / "x.npy", raw)
    mapped = Mapped(np.load(tmp_path / "x.npy", mmap_mode="r"), source, torch.device("cpu"))
    held = Held(source.prepare(torch.tensor(raw)))
    index = torch.tensor([3, 49, 3, 0, 17])
    assert torch.equal(mapped.take(index), held.take(index))
    other = Held(torch.randn(20, *SHAPE))
    everything = torch.cat([held.x, other.x])
    for limit in (0, 2**30):
        joined, begins = join([held, other, held], limit)
        assert begins == [0, 50, 0]
        assert isinstance(joined, Joined if limit == 0 else Held)
        index = torch.tensor([69, 0, 50, 49, 0, 51])
        assert torch.equal(joined.take(index), everything[index])
