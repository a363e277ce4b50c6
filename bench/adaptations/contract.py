"""What every adaptation must keep, a user's own included: the checks behind ``ntbench check``."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.adaptations.apply import adapt
from bench.backbones.base import Backbone, build
from bench.errors import BenchError
from bench.identity import canonical
from bench.registry import Entry
from bench.triangle import Adapt, Phase, Strategy

_BATCH, _CLASSES = 6, 3


def _attention() -> Backbone:
    torch.manual_seed(0)
    blocks = {
        "b1": nn.Linear(8, 8),
        "b2": nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
        "b3": nn.Sequential(nn.Flatten(), nn.Linear(24, 6), nn.ReLU()),
    }
    network = Backbone(blocks, 6)
    network.head = nn.Linear(6, _CLASSES)
    return network


def _networks() -> dict[str, tuple[Backbone, tuple[int, ...]]]:
    """Return small networks, each with the shape of its inputs."""
    with torch.random.fork_rng(devices=[]):
        return {
            "convolutions with batch norm": (
                build("cnn", (2, 6, 6), _CLASSES, 0, 1, channels=[4, 5, 6], norm="batch"), (2, 6, 6)
            ),
            "a multilayer perceptron": (build("mlp", (5,), _CLASSES, 0, 1, widths=[6, 7]), (5,)),
            "a transformer's layer": (_attention(), (3, 8)),
        }  # fmt: skip


def check_adaptation(entry: Entry, arguments: Mapping[str, Any] | None = None) -> list[str]:
    """Run the contract on an adaptation.

    On small networks with convolutions and batch norm, with linear layers and with attention: it is made from
    its arguments, says yes or no of every parameter, the same each time; what it adds is drawn from torch's
    generator alone and leaves the features' shape as it is; whatever it trains has a gradient; and of one of
    the networks at least it trains something besides the head.

    Parameters
    ----------
    entry : Entry
    arguments : mapping, optional
        The adaptation's own; its defaults without them.

    Returns
    -------
    list of str
        What is wrong, a sentence each; empty when all is well.
    """
    arguments = dict(arguments or {})
    problems = entry.problems(arguments)
    if problems:
        return problems
    spec, trains = Adapt(entry.name, canonical(arguments), entry.version, entry.meta["lanes"]), False
    for label, (network, shape) in _networks().items():
        try:
            found, moves = _check(network, shape, spec)
        except BenchError as error:
            return [str(error)]
        except Exception as error:
            return [f"with {label}: {type(error).__name__}: {error}"]
        trains = trains or moves
        problems += [f"with {label}: {problem}" for problem in found]
    if not trains and not problems:
        problems.append("trains nothing but the head of any network that was tried")
    return problems


def _check(network: Backbone, shape: tuple[int, ...], spec: Adapt) -> tuple[list[str], bool]:
    """Check one network; say whether anything of its blocks trains."""
    strategy = Strategy(spec.name, network.depth, (Phase(1),), adapt=spec)
    made, again = copy.deepcopy(network), copy.deepcopy(network)
    adapt(made, strategy, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        adapt(again, strategy, 0)
    problems = []
    if made.fixed != again.fixed:
        problems.append("it chooses other parameters the second time")
    pairs = zip(made.state_dict().values(), again.state_dict().values(), strict=True)
    if not all(torch.equal(a, b) for a, b in pairs):
        problems.append("it adds other values the second time; draw them from torch's own generator")
    x = torch.linspace(-1, 1, _BATCH * torch.Size(shape).numel()).view(_BATCH, *shape)
    features = made.run_blocks(x)
    if not isinstance(features, Tensor) or features.shape != (_BATCH, network.width):
        return [*problems, f"the features are of another shape than (N, {network.width})"], False
    made.freeze(1)
    cross_entropy(made(x), torch.arange(_BATCH) % _CLASSES).backward()
    named = {name: p for name, p in made.named_parameters() if p.requires_grad}
    problems += [f"{name} trains, but nothing depends on it" for name, p in named.items() if p.grad is None]
    return problems, any(name.startswith("blocks.") for name in named)
