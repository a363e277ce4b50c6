"""Activations at the cut: what frozen blocks make of the data, computed once and shared.

The first f blocks of a trial are the source model's for as long as they are frozen, so what they compute
is decided by (source model, data, f) alone: every head, learning rate, strategy and size with that cut
reads the same rows. Rows are computed in chunks of a fixed place and length along a fixed order, whatever
size asks first; so they are the same, to the bit, whoever computes them and when.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.backbones.base import Backbone
from bench.backbones.batch import Rows, cat, each, nbytes, size, tensors
from bench.backbones.batch import first as first_of
from bench.tasks.arrays import in_file
from bench.training.data import Data
from bench.training.inputs import CHUNK, Held, Inputs

# Of activations, and of what a mapping may carry along beside them (a mask, ids); others are kept as float32.
_DTYPES = {
    torch.float32: np.float32, torch.float64: np.float64, torch.int64: np.int64, torch.int32: np.int32,
    torch.uint8: np.uint8, torch.bool: np.bool_,
}  # fmt: skip


@torch.no_grad()
def activations(network: Backbone, x: Rows, depth: int) -> Any:
    """Return the outputs of the first `depth` blocks for prepared inputs, in evaluation mode."""
    was_training = network.training
    network.eval()
    pieces = [each(lambda part, at=at: part[at : at + CHUNK], x) for at in range(0, size(x), CHUNK)]
    parts = [network.run_blocks(piece, 0, depth) for piece in pieces]
    network.train(was_training)
    return cat(parts)


class Cuts:
    """A cache of activations, bounded in memory; what does not fit lies in nameless temporary files that are mapped.

    Parameters
    ----------
    limit : int
        Bytes held in memory.
    disk : int
        Bytes held in files; beyond them, what was not used for longest is dropped.

    Attributes
    ----------
    computed : int
        Rows that have been passed through blocks so far, counted once a depth.
    """

    def __init__(self, limit: int, disk: int = 2**34):
        self.limit, self.disk = limit, disk
        self.computed = 0
        self._known: OrderedDict[tuple[Hashable, int], Held] = OrderedDict()
        self._on_disk: set[tuple[Hashable, int]] = set()

    def rows(self, key: Hashable, network: Backbone, depth: int, inputs: Inputs, order: np.ndarray, count: int) -> Held:
        """Return activations after `depth` blocks for at least the first `count` examples of `order`.

        Parameters
        ----------
        key : hashable
            What decides the activations besides `depth`: source model, data and order.
        network : Backbone
            Holds the frozen blocks, in evaluation mode.
        order : integer array
            Rows of `inputs`: all that may ever be asked for.
        """
        place = (key, depth)
        end = min(-(-count // CHUNK) * CHUNK, len(order))
        known = self._known.get(place)
        if known is None or len(known) < end:
            known = self._known[place] = self._grown(known, key, network, depth, inputs, order, end)
        self._known.move_to_end(place)
        self._spill()
        return known

    def _grown(
        self, known: Held | None, key: Hashable, network: Backbone, depth: int, inputs: Inputs, order: np.ndarray,
        end: int,
    ) -> Held:  # fmt: skip
        """Return the rows up to `end`, those that are known already copied."""
        out: Any = None
        begin = len(known) if known else 0
        # A chunk that was cut short by the end of the order cannot grow, so `begin` is a multiple of CHUNK.
        for first in range(begin, end, CHUNK):
            index = torch.as_tensor(order[first : min(first + CHUNK, end)])
            below, start = self._below(key, depth, first, index, inputs)
            with torch.no_grad():
                made = network.run_blocks(below, start, depth)
            made = each(lambda part: part if part.dtype in _DTYPES else part.float(), made)
            self.computed += len(index)
            if out is None:
                out = self._room((key, depth), made, end)
                if known:
                    for whole, part in tensors(out, known.x):
                        whole[:begin] = part
            for whole, part in tensors(out, made):
                whole[first : first + len(index)] = part
        return Held(out, first_of(made).device)

    def _below(self, key: Hashable, depth: int, first: int, index: Tensor, inputs: Inputs) -> tuple[Any, int]:
        """Return the deepest rows that are known below `depth`, and their depth."""
        for lower in range(depth - 1, 0, -1):
            known = self._known.get((key, lower))
            if known is not None and len(known) >= first + len(index):
                return known.take(torch.arange(first, first + len(index))), lower
        return inputs.take(index), 0

    def _room(self, place: tuple[Hashable, int], like: Rows, count: int) -> Any:
        if count * nbytes(each(lambda part: part[:1], like)) > self.limit:
            self._on_disk.add(place)
            return each(lambda part: self._file((count, *part.shape[1:]), part.dtype), like)
        return each(lambda part: _empty_like(part, count), like)

    def _file(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(in_file(shape, _DTYPES[dtype], "activations at the cut"))

    def _spill(self) -> None:
        """Move what was not used for longest to files until the rest keeps within the limit; drop old files."""
        total = sum(rows.nbytes for place, rows in self._known.items() if place not in self._on_disk)
        for place, rows in list(self._known.items()):
            if total <= self.limit:
                break
            if place not in self._on_disk:
                total -= rows.nbytes
                file = each(lambda part: self._file(tuple(part.shape), part.dtype).copy_(part), rows.x)
                self._known[place] = Held(file, rows.device)
                self._on_disk.add(place)
        filed = sum(self._known[place].nbytes for place in self._on_disk)
        for place in [place for place in self._known if place in self._on_disk][:-1]:
            if filed <= self.disk:
                break
            filed -= self._known.pop(place).nbytes
            self._on_disk.remove(place)


def _empty_like(x: Tensor, count: int) -> Tensor:
    layout = torch.channels_last if x.ndim == 4 else torch.contiguous_format
    return torch.empty((count, *x.shape[1:]), dtype=x.dtype, device=x.device, memory_format=layout)


@dataclass(frozen=True, eq=False)
class Frozen:
    """What the first blocks of one source model make of one target's examples.

    Parameters
    ----------
    model : str
        The source model's key.
    network : Backbone
        The source model, in evaluation mode.
    order : integer array, shape (N,)
        The train pool in the order of the trial's seed, of which a size is a prefix.
    seed : int
        That the order belongs to.
    count : int
        How many of its first examples the trial may look at.
    """

    cuts: Cuts
    model: str
    network: Backbone
    data: Data
    order: np.ndarray
    seed: int
    count: int

    def pool(self, depth: int) -> Held:
        """Return activations of the first examples of the order; row i is that of pool example ``order[i]``."""
        key = (self.model, self.data.key, self.seed)
        return self.cuts.rows(key, self.network, depth, self.data.x, self.order, self.count)

    def test(self, depth: int, further: str | None = None) -> Held:
        """Return activations of the test set, or of the further one of that name."""
        x = self.data.x_test if further is None else self.data.further[further][0]
        key = (self.model, self.data.key, "test" if further is None else ("test", further))
        return self.cuts.rows(key, self.network, depth, x, np.arange(len(x)), len(x))
