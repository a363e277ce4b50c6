"""A training that collapses is told from one that learns, learns by heart, or has not learned yet."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bench.backbones.base import build
from bench.suite.model import Recipe
from bench.training.collapse import Losses, constant_loss
from bench.training.data import Data
from bench.training.fit import fit
from bench.training.inputs import Held
from bench.training.lanes import Lane, Layout
from bench.training.protocol import Split
from bench.triangle import Phase

CHANCE = math.log(2)


def lane(seed=0, labels=(0, 1)):
    rng = np.random.default_rng(seed)
    y = np.tile(labels, 30)[:60]
    x = torch.tensor(rng.normal(0, 0.5, (60, 8)) + y[:, None], dtype=torch.float32)
    data = Data(Held(x), torch.tensor(y), Held(x), torch.tensor(y), f"data {seed}")
    network = build("mlp", (8,), 2, seed, seed + 1, widths=[8, 8])
    return Lane(network, data, Split(np.arange(40), np.arange(40, 60)), 60, seed, place=seed)


@pytest.mark.parametrize("width", [1, 3])
def test_rates_that_collapse_are_named_lane_by_lane(width):
    recipe = Recipe(steps=40, learning_rates=(100.0, 0.01, 1e-6), checkpoints=4)
    lanes = [lane(seed) for seed in range(3)]
    with torch.no_grad():
        lanes[1].network.head.weight.fill_(torch.inf)
    found = fit(lanes, (Phase(0),), recipe, Layout(width))
    for result in (found[0], found[2]):
        assert result.rates == (1e-6, 0.01, 100.0)
        assert result.collapsed == (100.0,)
        assert result.learning_rate == 0.01
        kept = next(p for p in result.curve if p[:2] == (result.learning_rate, result.best_step))
        assert result.train_loss == kept[2]
        assert result.constant_loss == pytest.approx(CHANCE)
    assert found[1].collapsed == (1e-6, 0.01, 100.0)
    assert "use smaller ones, warmup or clip_norm" in str(found[1].error)


def test_a_constant_prediction_knows_the_shares_of_the_training_labels():
    assert constant_loss(lane(labels=(0, 1))) == pytest.approx(math.log(2))
    assert constant_loss(lane(labels=(0, 0, 0, 1))) == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))


@pytest.mark.parametrize(
    ("steps", "train", "validation", "collapsed"),
    [
        ([0.7, 0.6, 0.4], [0.4], (0.5, 0.9), False),  # learns
        ([0.7, 0.1, 0.001], [0.1, 0.001], (9.0, 0.6), False),  # learns by heart: sure of itself, and right more often
        ([9.0, 7.0, 5.0], [7.0, 5.0], (5.0, 0.5), False),  # too slow: the loss has fallen all the time
        ([0.70, 0.72, 0.71], [0.72, 0.71], (0.7, 0.5), False),  # has learned nothing, and broken nothing
        ([0.9, 0.7, 97.0], [0.7, 97.0], (50.0, 0.5), True),
        ([0.9, 0.7, 97.0], [0.7, 97.0], (50.0, 0.9), False),  # far too sure of itself, and mostly right
        ([9.0, 1.2, 3.0], [1.2, 3.0], (3.0, 0.5), True),  # swings
        ([0.7, 40.0, 0.69], [0.7, 0.69], (0.7, 0.5), True),  # blown up between two looks, its units dead
        ([0.7, 40.0, 0.2], [0.7, 0.2], (0.3, 0.9), False),  # blown up, and recovered
        ([0.7, 0.1, 0.001], [0.1, 0.001], (90.0, 0.5), True),  # statistics of batch norm out of reach
        ([0.7, 0.3, 1.1], [0.3, 1.1], (0.5, 0.5), False),  # a last batch of rare, hard examples
    ],
)
def test_what_is_a_collapse(steps, train, validation, collapsed):
    losses = Losses()
    for value in steps:
        losses.add(torch.tensor([0.3, value]))
    curve = [(0.1, n, value, *validation) for n, value in enumerate(train)]
    assert losses.collapsed(1, curve, CHANCE, torch.arange(100) % 2, validation[1]) == collapsed
    assert (float(losses.first[1]), float(losses.highest[1])) == pytest.approx((steps[0], max(steps)))
