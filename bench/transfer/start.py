"""The starting point of a target model: fresh, with blocks (and head) copied from the source model."""

from __future__ import annotations

import torch

from bench.backbones.base import Backbone
from bench.errors import DataError
from bench.triangle import Strategy


@torch.no_grad()
def copy_blocks(network: Backbone, source: Backbone, depth: int) -> None:
    """Copy the first `depth` blocks of `source` into `network`, batch-norm statistics included.

    Raises
    ------
    DataError
        When a block does not fit, with its name.
    """
    names = list(network.blocks)[:depth]
    for name in names:
        try:
            network.blocks[name].load_state_dict(source.blocks[name].state_dict())
        except (RuntimeError, KeyError) as error:
            raise DataError(f'block "{name}" of the source model does not fit: {error}') from error


@torch.no_grad()
def copy_head(network: Backbone, source: Backbone, target_classes: tuple[str, ...], classes: tuple[str, ...]) -> None:
    """Give `network` the source model's head, its outputs matched to the target's classes by name.

    Raises
    ------
    DataError
        When a target class is not among the source's.
    """
    missing = [name for name in target_classes if name not in classes]
    if missing:
        raise DataError(f"the source model has no class {', '.join(missing[:5])}: its head cannot be kept")
    rows = torch.tensor([classes.index(name) for name in target_classes], device=source.head.weight.device)
    network.head.weight.copy_(source.head.weight[rows])
    network.head.bias.copy_(source.head.bias[rows])


def trainable_parameters(network: Backbone, strategy: Strategy) -> int:
    """Count the parameters that a strategy ever trains, those that an adaptation added among them."""
    if not strategy.trained:
        return 0
    lowest = min(phase.freeze for phase in strategy.path)
    blocks = network.block_list()[lowest:]
    fixed = {id(network.get_parameter(name)) for name in network.fixed}
    return sum(p.numel() for module in (*blocks, network.head) for p in module.parameters() if id(p) not in fixed)
