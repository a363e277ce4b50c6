"""A dual pass gives the losses with their graph, and what `higher` and torch's forward mode give of their slopes."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from bench.backbones.base import build
from bench.backbones.stack import Stack
from bench.errors import TrialError
from bench.weighting.dual import dual_pass
from bench.weighting.unrolled import Inner, gradient, unrolled

SMALL = [
    ("mlp", (6,), {"norm": "batch", "dropout": 0.3}),
    ("mlp", (2, 3, 3), {"widths": [5, 4]}),
    ("cnn", (2, 8, 8), {}),
    ("cnn", (2, 8, 8), {"norm": "batch"}),
]
VISION = ["resnet18", "mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_v2_t"]


def numbers(shape: tuple[int, ...], seed: int = 0, **options) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, **options)


def by_forward_mode(module: nn.Module, directions: list[Tensor], losses: Callable[[nn.Module], Tensor]) -> Tensor:
    """The same derivative by a pass of torch's forward mode, all its formulas torch's own."""
    with torch.no_grad(), forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
        pairs = zip(module.named_parameters(), directions, strict=True)
        named = {name: forward_ad.make_dual(p.detach(), d) for (name, p), d in pairs}
        named |= {name: b.clone() for name, b in module.named_buffers()}
        return forward_ad.unpack_dual(losses(lambda x: functional_call(module, named, (x,)))).tangent


def compare(module: nn.Module, x: Tensor, y: Tensor, seed: Callable[[], object] = lambda: torch.manual_seed(5)) -> None:
    parameters = list(module.parameters())
    directions = [0.1 * numbers(p.shape, i) for i, p in enumerate(parameters)]

    def losses(network: Callable[[Tensor], Tensor]) -> Tensor:
        seed()
        out = network(x)
        return cross_entropy(out.reshape(-1, out.shape[-1]), y, reduction="none")

    expected = by_forward_mode(module, directions, losses)
    before = [b.clone() for b in module.buffers()]
    plain = losses(module)
    moved = [b.clone() for b in module.buffers()]
    for buffer, value in zip(module.buffers(), before, strict=True):
        buffer.data.copy_(value)
    found, along = dual_pass(module, zip(parameters, directions, strict=True), lambda: losses(module))
    assert not along.requires_grad
    assert (along - expected).abs().max() <= 1e-10 * expected.abs().max()
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)
    ways = [torch.autograd.grad(each.sum(), parameters, materialize_grads=True) for each in (found, plain)]
    for one, other in zip(*ways, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    for buffer, value in zip(module.buffers(), moved, strict=True):
        torch.testing.assert_close(buffer, value, rtol=1e-12, atol=0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize(("name", "shape", "arguments"), SMALL)
def test_small_backbones_and_stacks(name, shape, arguments, lanes, training):
    stack = Stack(build(name, shape, 4, 0, 1, **arguments).double(), lanes)
    x = stack.arrange(numbers((lanes, 5, *shape)))
    y = torch.randint(4, (lanes * 5,), generator=torch.Generator().manual_seed(1))
    compare(stack.network.train(training), x, y, seed=lambda: stack.seed(range(5, 5 + lanes)))


@pytest.mark.parametrize("name", VISION)
def test_vision_backbones(name):
    network = build(name, (3, 32, 32), 4, 0, 1).double().train()
    compare(network, numbers((3, 3, 32, 32)), torch.tensor([0, 3, 1]))


@pytest.mark.parametrize("name", VISION)
def test_vision_backbones_equal_higher(name):
    network, y = build(name, (3, 32, 32), 4, 0, 1).double().train(), torch.tensor([0, 3, 1])
    x, meta_x = numbers((3, 3, 32, 32)), numbers((3, 3, 32, 32), 1)

    def losses(net: Callable[[Tensor], Tensor]) -> Tensor:
        torch.manual_seed(1)
        return cross_entropy(net(x), y, reduction="none")

    def meta(net: Callable[[Tensor], Tensor]) -> Tensor:
        torch.manual_seed(2)
        return cross_entropy(net(meta_x), y)

    weight = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    (found,) = gradient(unrolled(network, Inner(), 0.1, [losses], [weight], meta), [weight])
    parameters = list(network.parameters())
    direction = torch.autograd.grad(meta(network), parameters)
    _, along = dual_pass(network, zip(parameters, direction, strict=True), lambda: losses(network))
    # torch's hardsigmoid has a sixth in single precision.
    assert (found + 0.1 * along).abs().max() < 1e-7 * found.abs().max()


class Layers(nn.Module):
    """What torch's functions take in other forms: in place with its input used again, text for padding, no affine."""

    def __init__(self, transformed: Callable[[nn.Module, Tensor], Tensor]):
        super().__init__()
        self.one = nn.Conv2d(2, 4, 3, padding=1)
        self.two = nn.Conv2d(4, 4, 3, padding="same", groups=2, bias=False)
        self.norm = nn.BatchNorm2d(4, affine=False)
        self.head = nn.Linear(4, 4)
        self.transformed = transformed

    def forward(self, x):
        return self.head(self.transformed(self, self.one(x)).mean((2, 3)))


def _relu_then_its_input(m: nn.Module, x: Tensor) -> Tensor:
    functional.relu(x, inplace=True)
    return m.two(x) + x


FORMS = {
    "relu in place": _relu_then_its_input,
    "pool with indices": lambda m, x: functional.max_pool2d(x, 2, return_indices=True)[0],
    "pool up": lambda m, x: functional.max_pool2d(x, 3, 2, padding=1, ceil_mode=True),
    "pool in rows": lambda m, x: functional.max_pool2d(x.contiguous(memory_format=torch.channels_last), (1, 2)),
    "norm without affine": lambda m, x: m.norm(m.two(x)).tanh(),
    "keywords": lambda m, x: functional.conv2d(input=x, weight=m.two.weight, groups=2),
    "skip": lambda m, x: x + functional.relu(m.norm(m.two(x))),
    "stop": lambda m, x: functional.relu(m.two(x.detach())) * x,
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_layers(form):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Layers(FORMS[form]).double()
    compare(module, numbers((3, 2, 7, 7)), torch.tensor([0, 3, 1]))


def test_frozen_parameters_and_those_without_a_direction():
    network = build("cnn", (1, 8, 8), 3, 0, 1, norm="batch").double()
    network.freeze(2)
    blocks = [p for p in network.blocks.parameters() if p.requires_grad]
    directions = [numbers(p.shape, i) for i, p in enumerate(blocks)]
    x, y = numbers((5, 1, 8, 8)), torch.arange(5) % 3

    def losses() -> Tensor:
        return cross_entropy(network(x), y, reduction="none")

    _, along = dual_pass(network, zip(blocks, directions, strict=True), losses)
    step, sides = 1e-6, []
    for sign in (1, -1):
        with torch.no_grad():
            for p, d in zip(blocks, directions, strict=True):
                p.add_(sign * step * d)
            sides.append(losses())
            for p, d in zip(blocks, directions, strict=True):
                p.sub_(sign * step * d)
    torch.testing.assert_close(along, (sides[0] - sides[1]) / (2 * step), rtol=1e-5, atol=1e-6)
    assert torch.equal(dual_pass(network, [], losses)[1], torch.zeros(5, dtype=torch.float64))


def test_nothing_is_kept_when_losses_are_gone():
    network = build("cnn", (1, 8, 8), 3, 0, 1, norm="batch").double()
    pairs, seen = [(p, torch.ones_like(p)) for p in network.parameters()], []

    def losses() -> Tensor:
        features = network.blocks[next(iter(network.blocks))](numbers((5, 1, 8, 8)))
        seen.append(weakref.ref(features))
        return cross_entropy(network(numbers((5, 1, 8, 8))) + features.mean(), torch.arange(5) % 3, reduction="none")

    gc.disable()
    try:
        found = dual_pass(network, pairs, losses)
        del found
        assert seen[0]() is None
    finally:
        gc.enable()


def test_half_precision_is_followed():
    network = build("cnn", (1, 8, 8), 3, 0, 1, norm="batch")
    x, y = numbers((16, 1, 8, 8)).float(), torch.arange(16) % 3
    pairs, found = [(p, p.detach().clone()) for p in network.parameters()], {}
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses, along = dual_pass(network, pairs, lambda: cross_entropy(network(x), y, reduction="none"))
        losses.sum().backward()
        found[enabled] = along.float()
    assert (found[True] - found[False]).abs().max() < 0.1 * found[False].abs().max()


def test_operations_without_a_forward_derivative_are_named():
    lstm = nn.LSTM(3, 4)
    pairs = [(p, torch.ones_like(p)) for p in lstm.parameters()]
    with pytest.raises(TrialError, match=r'no forward derivative \(.*rnn_layer.*\); engine = "higher" serves'):
        dual_pass(lstm, pairs, lambda: lstm(torch.ones(2, 3))[0].sum(1))
