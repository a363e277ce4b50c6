"""Batches: one tensor, or a mapping of tensors with as many examples each (ids and mask, say)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union

import torch
from torch import Tensor

from bench.errors import DataError


class Batch(dict):
    """A mapping of tensors whose first axis is the examples'; asking for one that is not there says what is."""

    def __missing__(self, name: str) -> Tensor:
        raise DataError(f'the inputs have no "{name}"; they are a mapping of {", ".join(map(str, self))}')

    def unflatten(self, dim: int, sizes: Sequence[int]) -> Batch:
        """Split an axis of every tensor, as torch's `unflatten` does."""
        return each(lambda x: x.unflatten(dim, sizes), self)


Rows = Union[Tensor, Mapping[str, Tensor]]  # noqa: UP007 - evaluated at run time


def each(function: Callable[[Tensor], Tensor], x: Rows) -> Any:
    """Apply a function to a tensor, or to every tensor of a mapping."""
    return Batch({name: function(part) for name, part in x.items()}) if isinstance(x, Mapping) else function(x)


def first(x: Rows) -> Tensor:
    """Return a tensor, or the first of a mapping's: what has their number, and lies where they lie."""
    return next(iter(x.values())) if isinstance(x, Mapping) else x


def size(x: Rows) -> int:
    """Return the number of examples."""
    return len(first(x))


def cat(parts: Sequence[Rows], dim: int = 0) -> Any:
    """Put batches behind one another."""
    if isinstance(parts[0], Mapping):
        return Batch({name: torch.cat([part[name] for part in parts], dim) for name in parts[0]})
    return torch.cat(list(parts), dim)


def nbytes(x: Rows) -> int:
    """Return how many bytes the tensors take."""
    return sum(part.nbytes for part in x.values()) if isinstance(x, Mapping) else x.nbytes


def tensors(*batches: Rows) -> list[tuple[Tensor, ...]]:
    """Return the tensors of batches of one form, those of a name beside one another."""
    if isinstance(batches[0], Mapping):
        return [tuple(batch[name] for batch in batches) for name in batches[0]]
    return [batches]
