"""The training loop and the choice on validation data, against plain PyTorch and by their promises."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from bench.backbones.base import build
from bench.backbones.stack import Stack, values
from bench.errors import TrialError
from bench.suite.model import Recipe
from bench.training.data import Data
from bench.training.fit import fit, plan_stages
from bench.training.inputs import Held
from bench.training.judge import Judge
from bench.training.lanes import Lane
from bench.training.loop import Rows, Stage, Start, outputs, schedule, train
from bench.training.protocol import Split, batch_order
from bench.transfer.start import trainable_parameters
from bench.transfer.strategy import Phase, Strategy, point

SHAPE, CLASSES = (1, 8, 8), 3
START = Start()


def make(seed=0, **options):
    return build("cnn", SHAPE, CLASSES, seed, seed + 100, channels=[4, 6, 6], **options)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, 90)
    x = rng.normal(0, 0.3, (90, *SHAPE)) + y[:, None, None, None] * np.linspace(-1, 1, 64).reshape(SHAPE)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    return Data(Held(x[:60]), y[:60], Held(x[60:]), y[60:], "test")


def rows(x, y, lanes=1, depth=0):
    index = torch.arange(len(y)).expand(lanes, -1)
    return Rows(Held(x), index, y.expand(lanes, -1), depth)


def train_one(network, stages, data, batches, recipe, lr, start=START, stop=None):
    """Train a network in place, as the only lane of its stack."""
    stack = Stack(network, 1)
    stack.load([values(network)])
    batches = None if batches is None else torch.as_tensor(batches).unsqueeze(0)
    x = data.x.x.to(next(network.parameters()).dtype)
    train(stack, stages, lambda _: rows(x, data.y), batches, recipe, torch.tensor([lr], dtype=torch.float64), [start],
          lambda done, *_: done == stop)  # fmt: skip
    network.load_state_dict(stack.network.state_dict())


def predict(network, x, y):
    stack = Stack(network, 1)
    stack.load([values(network)])
    return outputs(stack, rows(x, y))


def test_the_loop_is_the_loop_that_one_would_write(data):
    recipe = Recipe(steps=7, batch_size=16, momentum=0.8, weight_decay=0.01, checkpoints=1)
    ours, plain = make(), make()
    order = batch_order(60, 7, 16, "test", 60, 0)
    train_one(ours, [Stage(0, 7)], data, order, recipe, 0.1)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.8, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7)
    plain.train()
    for batch in order:
        optimizer.zero_grad()
        cross_entropy(plain(data.x.x[batch]), data.y[batch]).backward()
        optimizer.step()
        scheduler.step()
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_warm_up_and_clipping_are_those_of_torch(data):
    recipe = Recipe(steps=10, batch_size=16, warmup=0.3, clip_norm=0.1, checkpoints=1)
    ours, plain = make(), make()
    order = batch_order(60, 10, 16, "test", 60, 0)
    train_one(ours, [Stage(0, 10)], data, order, recipe, 0.1)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / 4, total_iters=3)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7)
    scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, fall], milestones=[3])
    plain.train()
    lengths = []
    for batch in order:
        optimizer.zero_grad()
        cross_entropy(plain(data.x.x[batch]), data.y[batch]).backward()
        lengths.append(torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.1).item())
        optimizer.step()
        scheduler.step()
    assert max(lengths) > 0.1
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "total"), [("cosine", 100), ("constant", 7), ("cosine", 1)])
def test_warm_up_rises_to_the_whole_rate_and_is_never_zero(kind, total):
    recipe = Recipe(steps=total, warmup=0.25, schedule=kind, checkpoints=1)
    factors = [schedule(recipe, step, total) for step in range(total)]
    assert min(factors) > 0
    assert max(factors) == 1
    rising = round(0.25 * total)
    assert factors[: rising + 1] == pytest.approx([(i + 1) / (rising + 1) for i in range(rising + 1)])
    assert factors[rising:] == [schedule(Recipe(schedule=kind), i, total - rising) for i in range(total - rising)]


def test_weights_of_examples_are_learned_at_the_rates_of_the_warm_up(data):
    seen = []

    def look(batches, step, depth, rates):
        seen.append(rates.item())
        x, y = batches(step, depth)
        return cross_entropy(batches.stack.outputs(x)[0], y[0]).unsqueeze(0)

    stack = Stack(make(), 1)
    recipe = Recipe(steps=8, warmup=0.5, schedule="constant", checkpoints=1)
    rates = torch.tensor([0.1], dtype=torch.float64)
    examples = rows(data.x.x, data.y)
    train(stack, [Stage(0, 8)], lambda _: examples, None, recipe, rates, [START], objective=look)
    assert seen == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("freeze", [1, 2, 3])
def test_training_from_the_cut_equals_running_the_frozen_blocks_every_step(data, norm, freeze):
    recipe = Recipe(steps=6, checkpoints=1)
    ours = make(norm=norm).double()
    plain = copy.deepcopy(ours)
    x = data.x.x.double()
    train_one(ours, [Stage(freeze, 6)], data, None, recipe, 0.1)
    for block in plain.block_list()[:freeze]:
        block.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in plain.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=6)
    for _ in range(6):
        plain.train()
        for block in plain.block_list()[:freeze]:
            block.eval()
        optimizer.zero_grad()
        cross_entropy(plain(x), data.y).backward()
        optimizer.step()
        scheduler.step()
    for (name, a), b in zip(ours.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10, msg=name)


def test_frozen_blocks_stay_as_they_were_and_copied_ones_learn_slower(data):
    recipe = Recipe(steps=1, checkpoints=1, momentum=0.0)
    network = make()
    before = [p.detach().clone() for p in network.parameters()]
    train_one(network, [Stage(1, 1)], data, None, recipe, 1.0, Start(blocks=2, lr=0.1))
    moved = [(p - b).abs().max().item() for p, b in zip(network.parameters(), before, strict=True)]
    assert moved[:2] == [0, 0]
    full = make()
    train_one(full, [Stage(1, 1)], data, None, recipe, 1.0)
    ours = {n: p - b for (n, p), b in zip(network.named_parameters(), before, strict=True)}
    theirs = {n: p - b for (n, p), b in zip(full.named_parameters(), before, strict=True)}
    names = list(ours)
    torch.testing.assert_close(ours[names[2]], 0.1 * theirs[names[2]], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(ours[names[-1]], theirs[names[-1]], rtol=1e-4, atol=1e-7)


def test_a_path_trains_what_its_phases_name(data):
    recipe = Recipe(steps=4, checkpoints=1)
    network, start = make(), make()
    stages = plan_stages((Phase(3), Phase(1)), 4)
    assert [(s.freeze, s.steps) for s in stages] == [(3, 2), (1, 2)]
    train_one(network, stages, data, None, recipe, 0.1, Start(3), stop=2)
    same = [torch.equal(a, b) for a, b in zip(network.parameters(), start.parameters(), strict=True)]
    assert same == [True] * 6 + [False] * 2
    train_one(network, stages, data, None, recipe, 0.1, Start(3))
    same = [torch.equal(a, b) for a, b in zip(network.parameters(), start.parameters(), strict=True)]
    assert same == [True] * 2 + [False] * 6


@pytest.mark.parametrize(("shares", "steps"), [((1, 1, 1), 10), ((0.01, 1), 5), ((5, 1, 1, 1), 4), ((1,), 9)])
def test_every_step_belongs_to_a_phase_and_every_phase_gets_one(shares, steps):
    stages = plan_stages([Phase(0, share) for share in shares], steps)
    assert sum(s.steps for s in stages) == steps
    assert min(s.steps for s in stages) >= 1


def test_more_phases_than_steps_is_said():
    with pytest.raises(TrialError, match="5 phases need at least as many steps"):
        plan_stages([Phase(0)] * 5, 4)


def run_fit(data, recipe, network=None):
    network = network or make()
    split = Split(np.arange(48), np.arange(48, 60))
    (fitted,) = fit([Lane(network, data, split, 60, 0)], (Phase(0),), recipe)
    return network, fitted


def test_the_best_rate_and_step_on_validation_are_kept(data):
    recipe = Recipe(steps=20, learning_rates=(0.3, 0.001, 0.05), checkpoints=4)
    network, fitted = run_fit(data, recipe)
    best = max(fitted.curve, key=lambda c: (c[4], -c[3]))
    assert (fitted.learning_rate, fitted.best_step) == best[:2]
    assert [c[:2] for c in fitted.curve] == [(lr, s) for lr in (0.001, 0.05, 0.3) for s in (5, 10, 15, 20)]
    (look,) = Judge.of().look(predict(network, data.x.x[48:60], data.y[48:60]), data.y[48:60].unsqueeze(0))
    accuracy, loss = look.accuracy, look.loss
    assert accuracy == pytest.approx(fitted.val_accuracy)
    assert loss == pytest.approx(fitted.val_loss, rel=1e-5)


def test_without_early_stopping_the_last_step_is_kept_and_validation_chooses_the_rate_alone(data):
    recipe = Recipe(steps=20, learning_rates=(0.3, 0.001, 0.05), checkpoints=4, early_stopping=False)
    network, fitted = run_fit(data, recipe)
    last = [c for c in fitted.curve if c[1] == 20]
    assert len(fitted.curve) == 12
    assert (fitted.learning_rate, fitted.best_step) == max(last, key=lambda c: (c[4], -c[3]))[:2]
    accuracy = Judge.of().look(predict(network, data.x.x[48:60], data.y[48:60]), data.y[48:60].unsqueeze(0))[0].accuracy
    assert accuracy == pytest.approx(fitted.val_accuracy)


def test_test_data_choose_nothing(data):
    recipe = Recipe(steps=10, learning_rates=(0.01, 0.1), checkpoints=5)
    spoilt = Data(data.x, data.y, Held(torch.full_like(data.x_test.x, torch.nan)), data.y_test, data.fingerprint)
    (a, fitted_a), (b, fitted_b) = run_fit(data, recipe), run_fit(spoilt, recipe)
    assert fitted_a == fitted_b
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_each_rate_starts_from_the_same_weights_in_any_order(data):
    recipes = [Recipe(steps=5, learning_rates=rates, checkpoints=1) for rates in [(0.1,), (0.01, 0.1), (0.1, 0.01)]]
    curves = [[c for c in run_fit(data, r)[1].curve if c[0] == 0.1] for r in recipes]
    assert curves[0] == curves[1] == curves[2]


def test_a_rate_that_diverges_loses_and_all_diverging_is_an_error_with_the_rates(data):
    _, fitted = run_fit(data, Recipe(steps=10, learning_rates=(0.01, 1e12), checkpoints=2))
    assert fitted.learning_rate == 0.01
    _, fitted = run_fit(data, Recipe(steps=10, learning_rates=(1e12,), checkpoints=2))
    assert isinstance(fitted.error, TrialError)
    assert "diverged at every learning rate tried (1e+12)" in str(fitted.error)


def test_refit_uses_the_validation_examples_too(data):
    plain = Recipe(steps=10, learning_rates=(0.05,), checkpoints=5)
    network, fitted = run_fit(data, plain)
    refitted, again = run_fit(data, plain.model_copy(update={"refit": True}))
    assert (again.learning_rate, again.best_step) == (fitted.learning_rate, fitted.best_step)
    by_hand = make()
    batches = batch_order(60, 10, 32, "test", 60, 0, "refit")
    train_one(by_hand, [Stage(0, 10)], data, batches, plain, 0.05, stop=fitted.best_step)
    for a, b in zip(refitted.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert not all(torch.equal(a, b) for a, b in zip(refitted.parameters(), network.parameters(), strict=True))


def test_dropout_draws_the_same_masks_for_every_strategy_and_run(data):
    def curve():
        network = build("mlp", SHAPE, CLASSES, 0, 0, widths=[16, 16], dropout=0.5)
        return run_fit(data, Recipe(steps=6, learning_rates=(0.1,), checkpoints=3), network)[1].curve

    first = curve()
    torch.rand(17)  # what else has drawn random numbers must not matter
    assert curve() == first


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_other_optimisers_learn(data, optimizer):
    recipe = Recipe(steps=60, learning_rates=(0.01,), optimizer=optimizer, schedule="constant", checkpoints=1)
    assert run_fit(data, recipe)[1].val_accuracy > 0.8


def test_trainable_parameters_are_counted_by_hand():
    network = make()
    sizes = [4 * 9 + 4, 6 * 4 * 9 + 6, 6 * 6 * 9 + 6]
    head = 6 * CLASSES + CLASSES
    assert trainable_parameters(network, point("a", 3, 0)) == sum(sizes) + head
    assert trainable_parameters(network, point("a", 3, 3)) == head
    assert trainable_parameters(network, point("a", 3, 2)) == sizes[2] + head
    assert trainable_parameters(network, Strategy("z", 3, (), keep_head=True)) == 0
    assert trainable_parameters(network, Strategy("u", 3, (Phase(3), Phase(1)))) == sum(sizes[1:]) + head
