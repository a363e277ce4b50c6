"""The truth check: the meta gradient by `higher`, by a dual pass, by hand and by differences are the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from bench.backbones.base import Backbone, build
from bench.backbones.stack import Stack, values
from bench.weighting.dual import dual_pass
from bench.weighting.unrolled import Inner, gradient, unrolled

CLASSES = 3
NETWORKS = {
    "mlp": ("mlp", (6,), {"widths": [5, 4]}),
    "mlp-norm": ("mlp", (6,), {"widths": [5], "norm": "batch"}),
    "cnn": ("cnn", (2, 6, 6), {"channels": [3, 4]}),
    "cnn-norm": ("cnn", (2, 6, 6), {"channels": [3, 4], "norm": "batch"}),
}
RELATIVE = 1e-8


@dataclass
class Problem:
    """A network and two batches, in double precision."""

    network: Backbone
    x: Tensor
    y: Tensor
    meta_x: Tensor
    meta_y: Tensor

    def losses(self, network: Callable[[Tensor], Tensor]) -> Tensor:
        return cross_entropy(network(self.x), self.y, reduction="none")

    def meta(self, network: Callable[[Tensor], Tensor]) -> Tensor:
        return cross_entropy(network(self.meta_x), self.meta_y)

    def at(self, parameters: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
        """The network with other parameters and buffers of its own."""
        buffers = {name: b.clone() for name, b in self.network.named_buffers()}
        return lambda x: functional_call(self.network, parameters | buffers, (x,))


def make(name: str, seed: int, n: int = 6) -> Problem:
    backbone, shape, arguments = NETWORKS[name]
    network = build(backbone, shape, CLASSES, seed, seed + 1, **arguments).double().train()
    g = torch.Generator().manual_seed(seed)
    x, meta_x = torch.randn((2, n, *shape), generator=g, dtype=torch.float64)
    y, meta_y = torch.randint(CLASSES, (2, n), generator=g)
    return Problem(network, x, y, meta_x, meta_y)


def close(one: Tensor, other: Tensor, relative: float = RELATIVE) -> bool:
    return bool((one - other).abs().max() <= relative * other.abs().max().clamp_min(1e-12))


def by_higher(p: Problem, weights: Tensor, lr: float) -> Tensor:
    weights = weights.clone().requires_grad_()
    (found,) = gradient(unrolled(p.network, Inner(), lr, [p.losses], [weights], p.meta), [weights])
    return found


def look_ahead(p: Problem, weights: Tensor, lr: float) -> dict[str, Tensor]:
    """Parameters after a plain step, and the meta loss's gradient there."""
    named = dict(p.network.named_parameters())
    loss = (weights * p.losses(p.at(named))).sum()
    moved = torch.autograd.grad(loss, list(named.values()))
    ahead = {n: (v - lr * g).detach().requires_grad_() for (n, v), g in zip(named.items(), moved, strict=True)}
    found = torch.autograd.grad(p.meta(p.at(ahead)), list(ahead.values()))
    return dict(zip(named, found, strict=True))


def closed_form(p: Problem, weights: Tensor, lr: float) -> Tensor:
    """-lr times the inner products of each example's gradient with the meta gradient."""
    named, direction = dict(p.network.named_parameters()), look_ahead(p, weights, lr)
    losses = p.losses(p.at(named))
    each = [torch.autograd.grad(loss, list(named.values()), retain_graph=True) for loss in losses]
    return -lr * torch.stack([sum((g * d).sum() for g, d in zip(e, direction.values(), strict=True)) for e in each])


def double_backward(p: Problem, weights: Tensor, lr: float) -> Tensor:
    """A step written with torch.func, differentiated by it."""
    named = {name: v.detach() for name, v in p.network.named_parameters()}
    # It does not take changing buffers, which in training mode nothing reads.
    buffers = {name: None for name, _ in p.network.named_buffers()}

    def network(parameters: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda x: functional_call(p.network, parameters | buffers, (x,))

    def meta(weights: Tensor) -> Tensor:
        step = torch.func.grad(lambda v: (weights * p.losses(network(v))).sum())(named)
        return p.meta(network({name: v - lr * step[name] for name, v in named.items()}))

    return torch.func.grad(meta)(weights)


def by_dual_pass(p: Problem, weights: Tensor, lr: float) -> Tensor:
    direction = look_ahead(p, weights, lr)
    pairs = [(v, direction[n]) for n, v in p.network.named_parameters()]
    return -lr * dual_pass(p.network, pairs, lambda: p.losses(p.network))[1]


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), zero=st.booleans(), lr=st.floats(0.001, 0.5))
def test_one_step_by_four_ways(name, seed, zero, lr):
    p = make(name, seed)
    weights = torch.zeros(6, dtype=torch.float64)
    if not zero:
        weights = torch.rand(6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    reference = by_higher(p, weights, lr)
    assert close(closed_form(p, weights, lr), reference)
    assert close(by_dual_pass(p, weights, lr), reference)
    assert close(double_backward(p, weights, lr), reference)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("inner", "lr"), [(Inner("sgd", momentum=0.9, weight_decay=0.01), 0.1), (Inner("adam"), 0.01)])
def test_three_steps_equal_finite_differences(name, inner, lr):
    p = make(name, 3)
    weights = torch.rand((3, 6), generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.2

    def meta(weights: Tensor) -> Tensor:
        return unrolled(p.network, inner, lr, [p.losses] * 3, list(weights), p.meta)

    leaf = weights.clone().requires_grad_()
    (found,) = gradient(meta(leaf), [leaf])
    step = 1e-5
    for index in [(j, i) for j in range(3) for i in (0, 3, 5)]:
        moved = torch.zeros_like(weights)
        moved[index] = step
        one, two = ((meta(weights + k * moved) - meta(weights - k * moved)).item() / (2 * k * step) for k in (1, 2))
        assert found[index].item() == pytest.approx((4 * one - two) / 3, rel=1e-5, abs=1e-8)


def lanes_of(name: str, count: int = 3) -> tuple[Stack, list[Problem]]:
    """A stack, and what each of its lanes is by itself."""
    alone = [make(name, seed) for seed in range(count)]
    stack = Stack(alone[0].network, count)
    stack.network.train()
    stack.load([values(p.network) for p in alone])
    return stack, alone


@pytest.mark.parametrize("engine", ["forward", "higher"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_lane_is_itself_alone(name, engine):
    stack, alone = lanes_of(name)
    x, meta_x = (stack.arrange(torch.stack([getattr(p, part) for p in alone])) for part in ("x", "meta_x"))
    y, meta_y = (torch.stack([getattr(p, part) for p in alone]) for part in ("y", "meta_y"))
    rates = torch.tensor([0.05, 0.1, 0.3], dtype=torch.float64)

    def losses(network: Callable[[Tensor], Tensor]) -> Tensor:
        return cross_entropy(network(x).flatten(0, 1), y.flatten(), reduction="none").view_as(y)

    def meta(network: Callable[[Tensor], Tensor]) -> Tensor:
        each = cross_entropy(network(meta_x).flatten(0, 1), meta_y.flatten(), reduction="none")
        return each.view_as(meta_y).mean(1).sum()

    weights = torch.zeros(y.shape, dtype=torch.float64, requires_grad=True)
    if engine == "higher":
        (found,) = gradient(unrolled(stack.network, Inner(), rates, [losses], [weights], meta), [weights])
    else:
        parameters = list(stack.network.parameters())
        direction = torch.autograd.grad(meta(stack.network), parameters)
        pairs = zip(parameters, direction, strict=True)
        found = -rates.unsqueeze(1) * dual_pass(stack.network, pairs, lambda: losses(stack.network))[1]
    for lane, p in enumerate(alone):
        assert close(found[lane], closed_form(p, torch.zeros(6, dtype=torch.float64), rates[lane].item()))


def test_lanes_with_momentum_over_steps_are_themselves_alone():
    stack, alone = lanes_of("cnn-norm")
    x, meta_x = (stack.arrange(torch.stack([getattr(p, part) for p in alone])) for part in ("x", "meta_x"))
    y, meta_y = (torch.stack([getattr(p, part) for p in alone]) for part in ("y", "meta_y"))
    rates, inner = torch.tensor([0.05, 0.1, 0.3], dtype=torch.float64), Inner(momentum=0.9)
    weights = torch.full(y.shape, 0.2, dtype=torch.float64, requires_grad=True)

    def losses(network: Callable[[Tensor], Tensor]) -> Tensor:
        return cross_entropy(network(x).flatten(0, 1), y.flatten(), reduction="none").view_as(y)

    def meta(network: Callable[[Tensor], Tensor]) -> Tensor:
        return 3 * cross_entropy(network(meta_x).flatten(0, 1), meta_y.flatten())

    (found,) = gradient(unrolled(stack.network, inner, rates, [losses] * 3, [weights] * 3, meta), [weights])
    for lane, p in enumerate(alone):
        one = torch.full((6,), 0.2, dtype=torch.float64, requires_grad=True)
        total = unrolled(p.network, inner, rates[lane], [p.losses] * 3, [one] * 3, p.meta)
        assert close(found[lane], gradient(total, [one])[0])
