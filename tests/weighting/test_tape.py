"""A tape gives what forward-mode differentiation gives, or says that it cannot."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from bench.backbones.base import build
from bench.backbones.stack import Stack
from bench.errors import BenchError, TrialError
from bench.weighting.tape import Tape

SMALL = [
    ("mlp", (6,), {"norm": "batch", "dropout": 0.3}),
    ("mlp", (2, 3, 3), {"widths": [5, 4]}),
    ("cnn", (2, 8, 8), {}),
    ("cnn", (2, 8, 8), {"norm": "batch"}),
]
VISION = ["resnet18", "mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_v2_t"]


def numbers(shape: tuple[int, ...], seed: int = 0, **options) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, **options)


def dual(module: nn.Module, directions: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """The same derivative by a pass of torch's forward mode."""
    buffers = {name: b.clone() for name, b in module.named_buffers()}
    with torch.no_grad(), forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
        named = {n: forward_ad.make_dual(p.detach(), directions[n]) for n, p in module.named_parameters()}
        out = functional_call(module, named | buffers, (x,))
        losses = cross_entropy(out.reshape(-1, out.shape[-1]), y, reduction="none")
        return forward_ad.unpack_dual(losses).tangent


def compare(module: nn.Module, x: Tensor, y: Tensor, seed: Callable[[], object] = lambda: torch.manual_seed(5)) -> None:
    directions = {n: 0.1 * numbers(p.shape, i) for i, (n, p) in enumerate(module.named_parameters())}
    buffers = {name: b.clone() for name, b in module.named_buffers()}
    seed()
    with Tape() as tape:
        out = functional_call(module, buffers, (x,))
        losses = cross_entropy(out.reshape(-1, out.shape[-1]), y, reduction="none")
    found = tape.tangent(losses, [(p, directions[n]) for n, p in module.named_parameters()])
    seed()
    expected = dual(module, directions, x, y)
    assert found.shape == losses.shape
    assert (found - expected).abs().max() <= 1e-10 * expected.abs().max()
    losses.sum().backward()  # the graph is all there
    assert all(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize(("name", "shape", "arguments"), SMALL)
def test_small_backbones_and_stacks(name, shape, arguments, lanes, training):
    stack = Stack(build(name, shape, 4, 0, 1, **arguments).double(), lanes)
    network = stack.network.train(training)
    x = stack.arrange(numbers((lanes, 5, *shape)))
    y = torch.randint(4, (lanes * 5,), generator=torch.Generator().manual_seed(1))
    compare(network, x, y, seed=lambda: stack.seed(range(5, 5 + lanes)))


@pytest.mark.parametrize("name", VISION)
def test_vision_backbones(name):
    network = build(name, (3, 32, 32), 4, 0, 1).double().train()
    compare(network, numbers((3, 3, 32, 32)), torch.tensor([0, 3, 1]))


@pytest.mark.parametrize("causal", [False, True])
def test_fused_attention(causal):
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.project = nn.Linear(8, 24)
            self.head = nn.Linear(8, 4)

        def forward(self, x):
            q, k, v = self.project(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
            return self.head(functional.layer_norm(mixed.transpose(1, 2).flatten(2), (8,)).mean(1))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Attention().double()
    with Tape() as tape:
        module(numbers((2, 5, 8)))
    assert any("scaled_dot_product" in node.name for node in tape._nodes)  # else this tests nothing
    compare(module, numbers((2, 5, 8)), torch.tensor([1, 2]))


# --- programs ----------------------------------------------------------------------------------------------

STEPS = {
    "double": lambda x, a: x * 2,
    "times": lambda x, a: x * a.sin(),
    "times in place": lambda x, a: x.mul_(a),
    "own square in place": lambda x, a: x.mul_(x.clone()),
    "relu in place": lambda x, a: x.relu_(),
    "silu in place": lambda x, a: functional.silu(x, inplace=True),
    "hardswish": lambda x, a: functional.hardtanh(x, inplace=True) + functional.gelu(a),
    "view": lambda x, a: x.view(4, 3).reshape(3, 4),
    "turn": lambda x, a: x.view(4, 3).t().contiguous() - a,
    "mix": lambda x, a: torch.cat([x[1:], a[:1] / 3]),
    "product": lambda x, a: x @ (a.t() @ x) / 10,
    "softmax": lambda x, a: x.softmax(1) + a.log_softmax(0),
    "statistics": lambda x, a: x - x.mean(0) + a.std(1, keepdim=True),
    "row in place": lambda x, a: x.index_fill_(0, torch.tensor([1]), 0.5),
    "clamp": lambda x, a: torch.where(x > 0.3, x, a).clamp_(-2, 2),
    "norm": lambda x, a: x / (1 + x.norm(dim=1, keepdim=True)),
    "stop": lambda x, a: x + a.detach() * x.detach(),
    "exponential": lambda x, a: (x / (1 + x.abs())).exp_().sub_(a.tanh()),
}


@settings(max_examples=60, deadline=None)
@given(names=st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_programs(names, seed):
    def program(a: Tensor) -> Tensor:
        x = a + 0
        for name in names:
            x = STEPS[name](x, a)
        return x.sum(1)

    leaf, direction = numbers((3, 4), seed).requires_grad_(), numbers((3, 4), seed + 1)
    with Tape() as tape:
        out = program(leaf)
    found, declined = None, ""
    try:
        found = tape.tangent(out, [(leaf, direction)])
    except BenchError as error:
        declined = str(error)
    if declined:  # where backward declines as well, and nowhere else
        assert "overwritten" in declined
        with pytest.raises(RuntimeError, match="inplace"):
            out.sum().backward()
        return
    _, expected = torch.func.jvp(program, (leaf.detach(),), (direction,))
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_changes_through_views_reach_what_is_viewed():
    def program(a: Tensor) -> Tensor:
        b = a * 2
        row = b[1]
        row.mul_(3)
        total = row.sum()
        b[0].zero_()
        b[:, 2] = a[:, 0]
        return b.exp().sum(1) + total

    leaf, direction = numbers((3, 4)).requires_grad_(), numbers((3, 4), 1)
    with Tape() as tape:
        out = program(leaf)
    _, expected = torch.func.jvp(program, (leaf.detach(),), (direction,))
    assert torch.allclose(tape.tangent(out, [(leaf, direction)]), expected)


def test_a_view_whose_neighbour_changed_is_declined():
    leaf = numbers((3, 4)).requires_grad_()
    with Tape() as tape:
        b = leaf * 2
        row = b[1]
        b.mul_(leaf)
        out = row.exp()
    with pytest.raises(TrialError, match=r'"aten::exp": a tensor was changed in place through a view of it'):
        tape.tangent(out, [(leaf, leaf.detach())])


# --- what is kept, and what is not --------------------------------------------------------------------------


def test_what_is_frozen_is_not_recorded_and_unused_leaves_add_nothing():
    network = build("mlp", (6,), 3, 0, 1, widths=[5, 4]).double()
    network.freeze(1)
    other = nn.Parameter(numbers((2,)))
    with Tape() as tape:
        out = network(numbers((4, 6)))
    assert not any("relu" in node.name for node in tape._nodes[:2])
    assert sum(node.name == "aten::addmm" for node in tape._nodes) == 2
    trained = [p for p in network.parameters() if p.requires_grad]
    found = tape.tangent(out, [*((p, numbers(p.shape)) for p in trained[2:]), (other, numbers((2,)))])
    head = network.head
    _, expected = torch.func.jvp(
        lambda w, b: network.run_blocks(numbers((4, 6))) @ w.t() + b,
        (head.weight.detach(), head.bias.detach()),
        (numbers(head.weight.shape), numbers(head.bias.shape)),
    )
    assert torch.allclose(found, expected)
    with Tape() as tape:
        out = network(numbers((4, 6)))
    assert torch.equal(tape.tangent(out, [(other, numbers((2,)))]), torch.zeros(4, 3, dtype=torch.float64))


def test_a_tape_changes_no_number_and_lets_go():
    network = build("cnn", (1, 8, 8), 3, 0, 1, norm="batch")
    x = numbers((4, 1, 8, 8)).float()
    alone = torch.autograd.grad(network(x).sum(), list(network.parameters()))
    with Tape() as tape:
        out = network(x)
    held = [weakref.ref(tensor) for node in tape._nodes for tensor, _ in node.held]
    held = [ref for ref in held if not isinstance(ref(), nn.Parameter) and ref() is not x]
    tape.tangent(out, [(p, torch.ones_like(p)) for p in network.parameters()])
    again = torch.autograd.grad(out.sum(), list(network.parameters()))
    assert all(torch.equal(one, other) for one, other in zip(alone, again, strict=True))
    del out
    gc.collect()
    assert held
    assert not [ref for ref in held if ref() is not None]


def test_half_precision_is_followed():
    network = build("cnn", (1, 8, 8), 3, 0, 1, norm="batch")
    x, y = numbers((16, 1, 8, 8)).float(), torch.arange(16) % 3
    found = {}
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled), Tape() as tape:
            losses = cross_entropy(network(x), y, reduction="none")
        pairs = [(p, p.detach().clone()) for p in network.parameters()]
        found[enabled] = tape.tangent(losses, pairs).float()
    assert (found[True] - found[False]).abs().max() < 0.1 * found[False].abs().max()


# --- what cannot be ----------------------------------------------------------------------------------------


def recorded():
    a = nn.Parameter(numbers((3, 4)))
    with Tape() as tape:
        out = (a * a).sum(1)
    return a, tape, out


def test_requests_that_cannot_be():
    a, tape, out = recorded()
    with pytest.raises(BenchError, match=r"direction of shape \(3,\) for a tensor of \(3, 4\)"):
        tape.tangent(out, [(a, numbers((3,)))])
    with pytest.raises(BenchError, match="it has been used"):
        tape.tangent(out, [(a, numbers((3, 4)))])
    a, tape, out = recorded()
    with pytest.raises(BenchError, match="not computed under this tape"):
        tape.tangent(a.sum(1), [(a, numbers((3, 4)))])
    a, tape, out = recorded()
    with pytest.raises(BenchError, match="leaves that require a gradient"):
        tape.tangent(out, [(a.detach(), numbers((3, 4)))])


def test_what_was_overwritten_is_noticed():
    a, tape, out = recorded()
    with torch.no_grad():
        a.mul_(2)
    with pytest.raises(BenchError, match="overwritten since"):
        tape.tangent(out, [(a, numbers((3, 4)))])


def test_what_was_computed_before_the_tape_is_noticed():
    a = nn.Parameter(numbers((3, 4)))
    before = a.exp()
    with Tape() as tape:
        out = before * a
    with pytest.raises(TrialError, match=r'"aten::mul": part of it was computed outside the tape; engine = "higher"'):
        tape.tangent(out, [(a, numbers((3, 4)))])


def test_operations_without_a_forward_derivative_are_named():
    lstm = nn.LSTM(3, 4)
    with Tape() as tape:
        out = lstm(torch.ones(2, 1, 3))[0]
    with pytest.raises(TrialError, match=r'no forward derivative of "aten::\w+": .*; engine = "higher" serves'):
        tape.tangent(out, [(p, torch.ones_like(p)) for p in lstm.parameters()])
    a = nn.Parameter(torch.ones(3, 4))
    with Tape() as tape:
        out = functional.rrelu(-a, training=True)
    with pytest.raises(TrialError, match=r'no forward derivative of "aten::rrelu_with_noise": it'):
        tape.tangent(out, [(a, torch.ones(3, 4))])
