"""What `higher` is trusted with, and what of it is caught."""

from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.backbones.base import Backbone, build
from bench.backbones.stack import Stack
from bench.errors import BenchError, TrialError
from bench.weighting.dual import dual_pass
from bench.weighting.unrolled import Inner, gradient, unrolled

Y = torch.tensor([0, 1, 2, 1])


def network(name: str = "mlp", shape: tuple[int, ...] = (5,), **arguments) -> Backbone:
    arguments = arguments or ({"widths": [6]} if name == "mlp" else {})
    return build(name, shape, 3, 0, 1, **arguments).double().train()


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def leaf(value: float, *shape: int) -> Tensor:
    return torch.full(shape or (4,), value, dtype=torch.float64, requires_grad=True)


def losses(x: Tensor) -> Callable[[nn.Module], Tensor]:
    return lambda net: cross_entropy(net(x), Y, reduction="none")


def meta(x: Tensor) -> Callable[[nn.Module], Tensor]:
    return lambda net: cross_entropy(net(x), Y)


def one(net: nn.Module, inner: Inner, lr: float | Tensor, weight: Tensor, **changed) -> Tensor:
    given = {"losses": [losses(numbers(4, 5))], "weights": [weight], "meta_loss": meta(numbers(4, 5, seed=1))}
    return unrolled(net, inner, lr, **(given | changed))


# --- the network itself ------------------------------------------------------------------------------------


def test_the_network_is_not_changed():
    net = network(widths=[6], norm="batch")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    weight = leaf(0.3)
    gradient(one(net, Inner(), 0.1, weight, losses=[losses(numbers(4, 5))] * 2, weights=[weight] * 2), [weight])
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert net.training


def test_frozen_blocks_stay_and_their_statistics_too():
    net, weight = network(widths=[6, 4], norm="batch").freeze(1), leaf(0.3)
    seen = []

    def watched(patched: nn.Module) -> Tensor:
        seen.append([p.detach().clone() for p in patched.blocks["hidden1"].parameters()])
        return meta(numbers(4, 5, seed=1))(patched)

    gradient(one(net, Inner(), 0.1, weight, meta_loss=watched), [weight])
    assert all(torch.equal(a, b) for a, b in zip(seen[0], net.blocks["hidden1"].parameters(), strict=True))


def test_parts_that_are_called_by_themselves_have_the_latest_parameters():
    net = network(widths=[6, 4])

    def by_parts(patched: nn.Module) -> Tensor:
        return patched.head(patched.run_blocks(numbers(4, 5)))

    def loss(patched: nn.Module) -> Tensor:
        return cross_entropy(by_parts(patched), Y, reduction="none")

    found = []
    for call in (loss, losses(numbers(4, 5))):
        weight = leaf(0.3)
        total = unrolled(net, Inner(momentum=0.5), 0.3, [call] * 3, [weight] * 3, lambda p, c=call: c(p).mean())
        found += gradient(total, [weight])
    assert torch.allclose(found[0], found[1], rtol=1e-12)


def test_a_published_classifier_beside_the_network_is_left_alone():
    net, weight = network(), leaf(0.3)
    classifier = net.__dict__["published_head"] = nn.Linear(6, 9)
    plain, other = network(), leaf(0.3)
    (found,) = gradient(one(net, Inner(), 0.1, weight), [weight])
    (expected,) = gradient(one(plain, Inner(), 0.1, other), [other])
    assert torch.equal(found, expected)
    assert net.__dict__["published_head"] is classifier


def test_nothing_is_held_when_the_gradient_is_had():
    net, weight, seen = network(), leaf(0.3), []

    def watched(patched: nn.Module) -> Tensor:
        seen.extend(weakref.ref(p) for p in patched.parameters())
        return meta(numbers(4, 5, seed=1))(patched)

    gc.disable()
    try:
        gradient(one(net, Inner("adam"), 0.1, weight, meta_loss=watched), [weight])
        assert seen
        assert not [ref for ref in seen if ref() is not None]
    finally:
        gc.enable()


def test_every_call_starts_anew():
    net, found = network(), []
    for _ in range(2):
        weight = leaf(0.3)
        found += gradient(one(net, Inner(momentum=0.9), 0.1, weight), [weight])
    assert torch.equal(*found)


# --- second derivatives ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18"])
def test_networks_whose_second_derivative_torch_lacks(name):
    net, weight = network(name, (3, 32, 32)), leaf(0.0)
    x, meta_x = numbers(4, 3, 32, 32), numbers(4, 3, 32, 32, seed=1)

    def seeded(call: Callable[[nn.Module], Tensor], seed: int) -> Callable[[nn.Module], Tensor]:
        return lambda net: (torch.manual_seed(seed), call(net))[1]

    total = unrolled(net, Inner(), 0.1, [seeded(losses(x), 1)], [weight], seeded(meta(meta_x), 2))
    (found,) = gradient(total, [weight])
    parameters = list(net.parameters())
    direction = torch.autograd.grad(seeded(meta(meta_x), 2)(net), parameters)
    pairs = zip(parameters, direction, strict=True)
    expected = -0.1 * dual_pass(net, pairs, lambda: seeded(losses(x), 1)(net))[1]
    # torch's hardsigmoid has a sixth in single precision.
    assert (found - expected).abs().max() < 1e-7 * expected.abs().max()


def test_attention_is_differentiated_twice():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True)
        net, weight = nn.Sequential(layer, nn.Flatten(), nn.Linear(18, 3)).double(), leaf(0.0)
    x, meta_x = numbers(4, 3, 6), numbers(4, 3, 6, seed=1)
    (found,) = gradient(unrolled(net, Inner(), 0.1, [losses(x)], [weight], meta(meta_x)), [weight])
    parameters = list(net.parameters())
    direction = torch.autograd.grad(meta(meta_x)(net), parameters)
    _, along = dual_pass(net, zip(parameters, direction, strict=True), lambda: losses(x)(net))
    assert torch.allclose(found, -0.1 * along, rtol=1e-8)


def test_what_cannot_be_differentiated_twice_is_said():
    def margins(net: nn.Module) -> Tensor:
        return torch.nn.functional.multi_margin_loss(net(numbers(4, 5)), Y, reduction="none")

    weight = leaf(0.3)
    with pytest.raises(
        TrialError, match=r"differentiate a step of this network once more: .*multi_margin_loss_backward"
    ):
        gradient(one(network(), Inner(), 0.1, weight, losses=[margins]), [weight])


# --- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"optimizer": "adamw"}, 'inner optimizer "adamw" cannot be differentiated through; did you mean "adam"?'),
        (
            {"optimizer": "lion"},
            'inner optimizer "lion" cannot be differentiated through; those that can: "sgd", "adam"',
        ),
        ({"momentum": 1.0}, "inner momentum = 1.0 is not within 0 <= momentum < 1"),
        ({"optimizer": "adam", "momentum": 0.9}, 'inner momentum is for "sgd", not "adam"'),
        ({"weight_decay": -1.0}, "inner weight_decay = -1.0 is below 0"),
    ],
)
def test_an_inner_optimizer_that_cannot_be(given, said):
    with pytest.raises(BenchError, match=re.escape(said)):
        Inner(**given)


@pytest.mark.parametrize("kind", ["AdamW", "NAdam", "RAdam", "RMSprop", "Adagrad"])
def test_torchs_other_optimizers_are_refused_with_the_list(kind):
    optimizer = getattr(torch.optim, kind)(network().parameters(), lr=0.1)
    with pytest.raises(BenchError, match=f"{kind} cannot be differentiated through; those that can: Adam, SGD"):
        Inner.like(optimizer)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("SGD", {"maximize": True}), ("Adam", {"maximize": True}), ("Adam", {"amsgrad": True}),
     ("SGD", {"momentum": 0.9, "nesterov": True}), ("SGD", {"momentum": 0.9, "dampening": 0.1})],
)  # fmt: skip
def test_options_that_would_be_ignored_are_refused(kind, options):
    optimizer = getattr(torch.optim, kind)(network().parameters(), lr=0.1, **options)
    name = next(n for n in options if n != "momentum")
    with pytest.raises(BenchError, match=f"{kind} with {name} = .* is not differentiated through"):
        Inner.like(optimizer)


def test_an_inner_optimizer_like_the_trainings_own():
    parameters = list(network().parameters())
    sgd = torch.optim.SGD([{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.2}], lr=0.1, momentum=0.9)
    assert Inner.like(sgd) == Inner("sgd", momentum=0.9)
    assert Inner.like(torch.optim.Adam(parameters, weight_decay=0.1, eps=1e-6)) == Inner(
        "adam", weight_decay=0.1, eps=1e-6
    )
    uneven = torch.optim.SGD([{"params": parameters[:1]}, {"params": parameters[1:], "momentum": 0.5}], lr=0.1)
    with pytest.raises(BenchError, match="groups that differ"):
        Inner.like(uneven)


def test_a_compiled_network_is_refused():
    compiled = torch.compile(network(), backend="eager")
    inside = nn.Sequential(network())
    inside[0].compile(backend="eager")
    for net in (compiled, inside):
        with pytest.raises(BenchError, match="a compiled network cannot be looked through"):
            one(net, Inner(), 0.1, leaf(0.3))


def test_adam_from_weights_that_are_all_zero_is_refused():
    with pytest.raises(BenchError, match="with all weights at zero"):
        one(network(), Inner("adam"), 0.1, leaf(0.0))
    with torch.no_grad():
        some = leaf(0.0)
        some[1] = 0.5
    gradient(one(network(), Inner("adam"), 0.1, some), [some])  # one is enough
    stack = Stack(network(), 2)
    lanes = torch.zeros(2, 4, dtype=torch.float64)
    lanes[0] = 1.0  # the other lane's are all zero
    with pytest.raises(BenchError, match="with all weights at zero"):
        one(stack.network, Inner("adam"), torch.tensor([0.1, 0.1]), lanes)


@pytest.mark.parametrize(
    ("lr", "changed", "said"),
    [
        (0.0, {}, "inner learning rate 0 is not above 0"),
        (float("nan"), {}, "inner learning rate nan is not above 0"),
        (0.1, {"weights": []}, "1 losses and 0 weights"),
        (0.1, {"losses": [], "weights": []}, "0 losses and 0 weights"),
        (0.1, {"weights": [leaf(0.1, 3)]}, "losses of shape (4,) and weights of shape (3,)"),
        (0.1, {"meta_loss": losses(numbers(4, 5))}, "the meta loss is a scalar, summed over lanes; got shape (4,)"),
        (torch.tensor([0.1, 0.2]), {}, '2 learning rates, one a lane, but the parameter "blocks.hidden1.0.weight" has'),
    ],
)  # fmt: skip
def test_requests_that_cannot_be(lr, changed, said):
    with pytest.raises(BenchError, match=re.escape(said)):
        one(network(), Inner(), lr, leaf(0.3), **changed)


def test_a_step_that_diverges_names_itself_and_its_rate():
    weight = leaf(1.0)
    steps = {"losses": [losses(numbers(4, 5))] * 3, "weights": [weight] * 3}
    with pytest.raises(
        TrialError, match=r"diverged: a parameter is not finite after inner step \d with learning rate 1e\+200"
    ):
        one(network(widths=[6, 6]), Inner(), 1e200, weight, **steps)
    with pytest.raises(TrialError, match=r"the meta loss is not finite after inner step 1 with learning rate 0.1"):
        one(network(), Inner(), 0.1, weight, meta_loss=lambda net: net(numbers(4, 5)).sum() * float("inf"))


def test_the_lane_that_diverges_gives_its_rate():
    stack = Stack(network(widths=[6, 6]), 2)
    x = stack.arrange(numbers(2, 4, 5))

    def each(net: nn.Module) -> Tensor:
        return cross_entropy(net(x).flatten(0, 1), Y.repeat(2), reduction="none").view(2, 4)

    weight, rates = leaf(1.0, 2, 4), torch.tensor([0.1, 1e200], dtype=torch.float64)
    with pytest.raises(TrialError, match=r"with learning rate 1e\+200$"):
        unrolled(stack.network, Inner(), rates, [each] * 3, [weight] * 3, lambda net: each(net).sum())
