"""Random changes to a batch of images: flips and shifts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SHIFT = 8  # images move by up to one part in so many of their side


class Augment:
    """Changes each lane's batches with random numbers of the lane's own.

    Parameters
    ----------
    kinds : sequence of {"flip", "shift"}
        Mirror left and right with probability 1/2; move by up to an eighth of the side in each direction,
        repeating the edge.
    seeds : sequence of int
        One a lane: equal seeds draw the same changes, whatever the strategy.
    """

    def __init__(self, kinds: Sequence[str], seeds: Sequence[int]):
        self.kinds = kinds
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, x: Tensor) -> Tensor:
        """Return changed images, shape (lanes, batch, C, H, W) as before."""
        lanes, batch, _, height, width = x.shape
        drawn = torch.cat([torch.rand(batch, 3, generator=generator) for generator in self._generators])
        rows, columns = (torch.arange(side).expand(lanes * batch, -1) for side in (height, width))
        if "shift" in self.kinds:
            reach = torch.tensor([height // SHIFT, width // SHIFT])
            moves = (drawn[:, :2] * (2 * reach + 1)).long() - reach
            rows = (rows + moves[:, :1]).clamp(0, height - 1)
            columns = (columns + moves[:, 1:]).clamp(0, width - 1)
        if "flip" in self.kinds:
            columns = torch.where(drawn[:, 2:] < 0.5, columns.flip(1), columns)
        number = torch.arange(lanes * batch).view(-1, 1, 1)
        where = (index.to(x.device) for index in (number, rows.unsqueeze(2), columns.unsqueeze(1)))
        number, rows, columns = where
        changed = x.flatten(0, 1).permute(0, 2, 3, 1)[number, rows, columns]
        return changed.permute(0, 3, 1, 2).unflatten(0, (lanes, batch))
