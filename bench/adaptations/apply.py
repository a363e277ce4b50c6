"""Applying an adaptation to a network that stands at its start."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from bench.adaptations.base import Adaptation
from bench.backbones.base import Backbone
from bench.errors import BenchError
from bench.identity import derive
from bench.registry import ADAPTATIONS
from bench.triangle import FULL, Adapt, Strategy


def adapt(network: Backbone, strategy: Strategy, *identity: object) -> None:
    """Let a strategy's adaptation add what it adds above the lowest frozen depth, and say what never trains.

    What is added is seeded by `identity` and the block's name, never by the strategy.

    Raises
    ------
    BenchError
        When the adaptation raises, or does not return what it should.
    """
    if not strategy.trained:
        return
    adaptation, entry = _made(strategy.adapt), ADAPTATIONS.get(strategy.adapt.name)
    with entry.blamed():
        known = {id(p) for p in network.parameters()}
        if type(adaptation).extend is not Adaptation.extend:
            lowest = min(phase.freeze for phase in strategy.path)
            for name, block in list(network.blocks.items())[lowest:]:
                network.blocks[name] = _extended(adaptation, block, derive("adaptation", name, *identity))
        network.added = frozenset(name for name, p in network.named_parameters() if id(p) not in known)
        network.fixed = frozenset(
            f"{prefix}.{name}"
            for prefix, layer in network.blocks.named_modules(prefix="blocks")
            for name, _ in layer.named_parameters(recurse=False)
            if not adaptation.trains(layer, name)
        )


def _made(spec: Adapt) -> Adaptation:
    return ADAPTATIONS.get(spec.name).function(**spec.arguments)


def _extended(adaptation: Adaptation, block: nn.Module, seed: int) -> nn.Module:
    device = next((p.device for p in block.parameters()), torch.device("cpu"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = adaptation.extend(block.cpu())
    if not isinstance(made, nn.Module):
        raise BenchError(f"{type(adaptation).__name__}.extend must return a module, but returned {type(made).__name__}")
    return made.to(device)


def trains_nothing(network: Backbone, label: str, strategies: Sequence[Strategy]) -> str | None:
    """Say which adaptation trains nothing of a network but the head, at no point of a strategy; None if all do.

    Parameters
    ----------
    label : str
        What the network is called.
    """
    arms: dict[tuple[str, Adapt], list[Strategy]] = {}
    for strategy in strategies:
        if strategy.adapt != FULL:
            arms.setdefault((strategy.name, strategy.adapt), []).append(strategy)
    for (name, spec), points in arms.items():
        if not any(_moves(copy.deepcopy(network), strategy) for strategy in points):
            what = f'strategy "{name}": adaptation "{spec.name}" finds nothing to train above the frozen depth of'
            return f'{what} backbone "{label}", so that nothing but the head would train'
    return None


def _moves(network: Backbone, strategy: Strategy) -> bool:
    """Whether anything of the blocks ever trains."""
    adapt(network, strategy)
    network.freeze(min(phase.freeze for phase in strategy.path))
    return any(p.requires_grad for p in network.blocks.parameters())
