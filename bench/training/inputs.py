"""Examples that are held ready: a batch is an index look-up, wherever the data are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from bench.backbones.base import Backbone
from bench.backbones.batch import Batch, Rows, cat, each, first, nbytes, size, tensors
from bench.tasks.batches import Inputs as Raw
from bench.tasks.batches import each as raw_each
from bench.tasks.batches import length

CHUNK = 128  # rows that pass through a network at once where nothing is trained


def channels_last(x: Rows) -> Any:
    """Lay images out channels-last, in which convolutions are fastest; other tensors are left alone."""
    if isinstance(x, Mapping):
        return each(channels_last, x)
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


class Inputs(Protocol):
    """Rows that a network takes, prepared."""

    nbytes: int

    def __len__(self) -> int: ...

    def take(self, index: Tensor) -> Any:
        """Return the rows at `index`, shape (len(index), ...), on the device; of mappings, each tensor's."""


class Held:
    """Rows in one tensor, or in a mapping of tensors: on the device, or mapped from a file."""

    def __init__(self, x: Rows, device: torch.device | None = None):
        self.x, self.device = x, device or first(x).device
        self.nbytes = nbytes(x)

    def __len__(self) -> int:
        return size(self.x)

    def take(self, index: Tensor) -> Any:
        """Return the rows at `index`."""
        index = index.to(first(self.x).device)
        return channels_last(each(lambda part: part.index_select(0, index).to(self.device), self.x))


def prepared_bytes(x: Raw) -> int:
    """Return how many bytes a task's arrays take once they are prepared."""
    return sum(part.size * 4 for part in x.values()) if isinstance(x, Mapping) else x.size * 4


def to_tensors(x: Raw, device: torch.device) -> Any:
    """Return arrays as tensors on a device; read-only ones, such as mapped files, are copied."""
    made = raw_each(lambda part: torch.as_tensor(np.require(part, requirements="CW"), device=device), x)
    return Batch(made) if isinstance(made, Mapping) else made


class Mapped:
    """Raw rows too large for memory: read from a memory-mapped array and prepared batch by batch.

    Parameters
    ----------
    x : array, shape (N, ...), or a mapping of arrays
        As a task has them.
    network : Backbone
        Says how inputs are prepared.
    """

    def __init__(self, x: Raw, network: Backbone, device: torch.device):
        self.x, self.network, self.device = x, network, device
        self.nbytes = prepared_bytes(x)

    def __len__(self) -> int:
        return length(self.x)

    def take(self, index: Tensor) -> Any:
        """Return the rows at `index`."""
        wanted = index.cpu().numpy()
        # In the order of the file, each row once: the disk is read forwards.
        rows, back = np.unique(wanted, return_inverse=True)
        x = to_tensors(raw_each(lambda part: part[rows], self.x), self.device)
        back = torch.as_tensor(back, device=self.device)
        return channels_last(each(lambda part: part[back], self.network.prepare(x)))


class Joined:
    """Several inputs one behind the other, where they are too large to be copied together."""

    def __init__(self, parts: Sequence[Inputs]):
        self.parts = parts
        self.nbytes = sum(part.nbytes for part in parts)
        self.ends = torch.tensor(np.cumsum([len(part) for part in parts]))

    def __len__(self) -> int:
        return int(self.ends[-1])

    def take(self, index: Tensor) -> Any:
        """Return the rows at `index`."""
        index = index.cpu()
        part_of = torch.bucketize(index, self.ends, right=True)
        out: Any = None
        for number in part_of.unique().tolist():
            begin = int(self.ends[number]) - len(self.parts[number])
            here = part_of == number
            rows = self.parts[number].take(index[here] - begin)
            if out is None:
                out = each(lambda part: part.new_empty((len(index), *part.shape[1:])), rows)
            for whole, part in tensors(out, rows):
                whole[here.to(whole.device)] = part
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
        return Held(cat([each(lambda x, to=part.device: x.to(to), part.x) for part in distinct])), offsets
    return Joined(distinct), offsets
