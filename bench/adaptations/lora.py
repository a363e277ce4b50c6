"""Low-rank updates of weights train."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

from bench.adaptations.base import Adaptation, adaptation
from bench.errors import BenchError

if TYPE_CHECKING:
    from torch import Tensor, nn


@cache
def _low_rank() -> type[nn.Module]:
    """Return the module that updates a weight; torch is imported when it is used, not when names are listed."""
    from torch import nn

    class LowRank(nn.Module):
        """Gives a weight W, shape (out, ...), as W + scale * B A, with B (out, rank) zero and A (rank, rest) random."""

        def __init__(self, weight: Tensor, rank: int, scale: float):
            super().__init__()
            rows, columns = weight.flatten(1).shape
            rank = min(rank, rows, columns)
            self.scale = scale
            self.a = nn.Parameter(weight.new_empty(rank, columns))
            self.b = nn.Parameter(weight.new_zeros(rows, rank))
            nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

        def forward(self, weight: Tensor) -> Tensor:
            return weight + self.scale * (self.b @ self.a).view_as(weight)

    return LowRank


def _weight(layer: nn.Module) -> str | None:
    """Name the weight of a layer that gets an update."""
    from torch import nn

    if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return "weight"
    # None where queries, keys and values are of different widths.
    return "in_proj_weight" if getattr(layer, "in_proj_weight", None) is not None else None


@adaptation("lora", lanes=False)
class LoRA(Adaptation):
    """Train low-rank updates of linear, convolutional and attention weights alone (Hu et al., ICLR 2022).

    A weight W of shape (out, ...), flattened to a matrix, becomes W + (alpha / rank) B A; B begins as zero, so
    that the network begins as it was. `rank` is at most that of W. The update is not merged in the end: it is
    added in each pass, which gives what a merged weight would.
    """

    def __init__(self, *, rank: int = 4, alpha: float = 4.0):
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise BenchError(f'adaptation "lora": rank = {rank!r} is not a whole number of at least 1')
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < math.inf:
            raise BenchError(f'adaptation "lora": alpha = {alpha!r} is not a number above 0')
        self.rank, self.scale = rank, alpha / rank

    def extend(self, block: nn.Module) -> nn.Module:
        """Give each weight of a block its update."""
        from torch.nn.utils.parametrize import register_parametrization

        for layer in list(block.modules()):
            name = _weight(layer)
            if name is not None:
                update = _low_rank()(getattr(layer, name).detach(), self.rank, self.scale)
                register_parametrization(layer, name, update)
        return block

    def trains(self, layer: nn.Module, name: str) -> bool:
        """Whether a parameter belongs to an update."""
        return isinstance(layer, _low_rank())
