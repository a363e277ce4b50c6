"""Examples that are held ready: a batch is an index look-up, wherever the data are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from bench.backbones.base import Backbone

CHUNK = 128  # rows that pass through a network at once where nothing is trained


def channels_last(x: Tensor) -> Tensor:
    """Lay images out channels-last, in which convolutions are fastest; other tensors are left alone."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


class Inputs(Protocol):
    """Rows that a network takes, prepared."""

    nbytes: int

    def __len__(self) -> int: ...

    def take(self, index: Tensor) -> Tensor:
        """Return the rows at `index`, shape (len(index), ...), on the device."""


class Held:
    """Rows in one tensor: on the device, or mapped from a file."""

    def __init__(self, x: Tensor, device: torch.device | None = None):
        self.x, self.device = x, device or x.device
        self.nbytes = x.nbytes

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Tensor) -> Tensor:
        """Return the rows at `index`."""
        return channels_last(self.x.index_select(0, index.to(self.x.device)).to(self.device))


class Mapped:
    """Raw rows too large for memory: read from a memory-mapped array and prepared batch by batch.

    Parameters
    ----------
    x : array, shape (N, ...)
        As a task has them.
    network : Backbone
        Says how inputs are prepared.
    """

    def __init__(self, x: np.ndarray, network: Backbone, device: torch.device):
        self.x, self.network, self.device = x, network, device
        self.nbytes = x.size * 4  # once prepared

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Tensor) -> Tensor:
        """Return the rows at `index`."""
        wanted = index.cpu().numpy()
        # In the order of the file, each row once: the disk is read forwards.
        rows, back = np.unique(wanted, return_inverse=True)
        x = torch.from_numpy(np.ascontiguousarray(self.x[rows])).to(self.device)
        return channels_last(self.network.prepare(x)[torch.as_tensor(back, device=self.device)])


class Joined:
    """Several inputs one behind the other, where they are too large to be copied together."""

    def __init__(self, parts: Sequence[Inputs]):
        self.parts = parts
        self.nbytes = sum(part.nbytes for part in parts)
        self.ends = torch.tensor(np.cumsum([len(part) for part in parts]))

    def __len__(self) -> int:
        return int(self.ends[-1])

    def take(self, index: Tensor) -> Tensor:
        """Return the rows at `index`."""
        index = index.cpu()
        part_of = torch.bucketize(index, self.ends, right=True)
        out: Tensor | None = None
        for number in part_of.unique().tolist():
            begin = int(self.ends[number]) - len(self.parts[number])
            here = part_of == number
            rows = self.parts[number].take(index[here] - begin)
            if out is None:
                out = rows.new_empty((len(index), *rows.shape[1:]))
            out[here.to(out.device)] = rows
        return channels_last(out)


def join(parts: Sequence[Inputs], limit: int) -> tuple[Inputs, list[int]]:
    """Put inputs behind one another, equal ones once, and say where each of `parts` begins.

    They are copied to one tensor up to `limit` bytes.
    """
    distinct = list({id(part): part for part in parts}.values())
    begins, place = {}, 0
    for part in distinct:
        begins[id(part)] = place
        place += len(part)
    offsets = [begins[id(part)] for part in parts]
    if len(distinct) == 1:
        return distinct[0], offsets
    if all(isinstance(part, Held) for part in distinct) and sum(part.nbytes for part in distinct) <= limit:
        return Held(torch.cat([part.x.to(part.device) for part in distinct])), offsets
    return Joined(distinct), offsets
