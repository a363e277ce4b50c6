"""The contract finds what it is there to find: each plug-in here breaks it in one way."""

import numpy as np
import pytest
import torch
from torch import nn

from bench.backbones.base import Backbone, backbone
from bench.backbones.contract import check_backbone
from bench.registry import BACKBONES


class Doubler(nn.Module):
    """Changes its input in place."""

    def forward(self, x):
        return x.mul_(2)


class AlwaysDrops(nn.Module):
    """Drops whenever gradients are on, also in evaluation mode."""

    def forward(self, x):
        return torch.nn.functional.dropout(x, 0.5, training=torch.is_grad_enabled())


class Unseeded(nn.Linear):
    """Initial values from elsewhere than torch's generator."""

    def reset_parameters(self):
        super().reset_parameters()
        with torch.no_grad():
            self.weight.copy_(torch.from_numpy(np.random.default_rng().standard_normal(self.weight.shape)))


class Hidden(nn.Module):
    """Has a state that no state dict holds."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.scale = float(torch.rand(()))

    def forward(self, x):
        return self.linear(x) * self.scale


class Detached(nn.Linear):
    """Cuts the gradient."""

    def forward(self, x):
        return super().forward(x).detach()


def two(first, second=None):
    return Backbone({"b1": first, "b2": second or nn.Linear(4, 4)}, 4)


PLUG_INS = []


def plug_in(name, depth=2):
    def keep(function):
        PLUG_INS.append((name, depth, function))
        return function

    return keep


@pytest.fixture(autouse=True)
def _registered():
    """Known here only: other tests go through every registered backbone."""
    for name, depth, function in PLUG_INS:
        backbone(name, depth=depth)(function)
    yield
    for name, _, _ in PLUG_INS:
        del BACKBONES._entries[name]


@plug_in("test-good")
def good(shape):
    return two(nn.Linear(4, 4), nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4), nn.ReLU()))


@plug_in("test-depth", depth=3)
def depth(shape):
    return two(nn.Linear(4, 4))


@plug_in("test-width")
def width(shape):
    return two(nn.Linear(4, 4), nn.Linear(4, 5))


@plug_in("test-inplace")
def inplace(shape):
    return two(nn.Linear(4, 4), Doubler())


@plug_in("test-dropout")
def dropout(shape):
    return two(nn.Sequential(nn.Linear(4, 4), AlwaysDrops()))


@plug_in("test-unseeded")
def unseeded(shape):
    return two(Unseeded(4, 4))


@plug_in("test-constant")
def constant(shape):
    torch.manual_seed(0)
    return two(nn.Linear(4, 4))


@plug_in("test-hidden")
def hidden(shape):
    return two(Hidden())


@plug_in("test-detached")
def detached(shape):
    return two(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), Detached(4, 4)))


@plug_in("test-raises")
def raises(shape):
    raise ValueError("no such thing")


@plug_in("test-module")
def module(shape):
    return nn.Linear(4, 4)


def test_a_good_one_passes():
    assert check_backbone("test-good", (4,)) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("test-depth", "declares 3 blocks but has 2"),
        ("test-width", "features must have shape (N, width) = (2, 4), got (2, 5)"),
        ("test-inplace", "block b2 changes its input in place"),
        ("test-dropout", "differs from that in evaluation"),
        ("test-unseeded", "two networks built with one seed differ"),
        ("test-constant", "two networks built with different seeds are the same"),
        ("test-hidden", "something is kept outside of it"),
        ("test-detached", "a parameter that should be trained has no gradient"),
        ("test-raises", "cannot be built: ValueError: no such thing"),
        ("test-module", 'cannot be built: DataError: backbone "test-module" returned Linear, not a Backbone'),
    ],
)
def test_a_broken_one_is_found(name, message):
    problems = check_backbone(name, (4,))
    assert any(message in problem for problem in problems), problems


def test_unknown_arguments_are_named():
    assert check_backbone("mlp", (4,), {"width": [3]}) == [
        'backbone "mlp" has no argument "width"; did you mean "widths"?'
    ]


def test_the_caller_s_random_state_is_left_alone():
    before = torch.random.get_rng_state()
    check_backbone("test-good", (4,))
    assert torch.equal(before, torch.random.get_rng_state())


class Mixing(nn.ReLU):
    """Passes for a channel-wise layer, and is none."""

    def forward(self, x):
        return super().forward(x) + x.mean(1, keepdim=True)


@pytest.mark.parametrize(
    ("layer", "message"),
    [(nn.ReLU(), None), (Mixing(), "side by side in lanes"), (nn.GroupNorm(2, 4), "GroupNorm layer cannot be stacked")],
    ids=["good", "mixing", "no form"],
)
def test_a_backbone_that_declares_lanes_must_give_the_same_in_lanes(layer, message):
    backbone("test-lanes", depth=2, lanes=lambda shape, machine: 4)(lambda shape: two(nn.Linear(4, 4), layer))
    try:
        problems = check_backbone("test-lanes", (4,))
    finally:
        del BACKBONES._entries["test-lanes"]
    assert (message in " ".join(problems)) if message else problems == []
