"""Input shapes on which a backbone is built where the data's are not known: to count it, or to check it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from bench.backbones.base import Backbone, build
from bench.errors import BenchError, DataError
from bench.registry import BACKBONES, Entry

# Small first: a backbone may refuse those that it cannot take.
_NUMBERS = ((1, 8, 8), (16,), (24,), (3, 32, 32), (3, 64, 64), (3, 96, 96), (3, 224, 224), (3, 299, 299))
_TOKENS = ((8,), (32,), (128,), (512,))
_SAID = 2  # refusals in a message: the others mostly repeat them for another shape


def trial_shapes(entry: Entry) -> tuple[tuple[Any, ...], ...]:
    """Return the shapes of inputs on which a backbone is tried, small first; those of a mapping are all alike."""
    if named := entry.meta.get("inputs"):
        return tuple(tuple((name, shape) for name in sorted(named)) for shape in (*_TOKENS, *_NUMBERS))
    return _TOKENS if entry.meta.get("integers") else _NUMBERS


def first_built(name: str, arguments: Mapping[str, Any]) -> tuple[tuple[int, ...], Backbone]:
    """Return the first shape that a backbone takes, and the network, whose tensors may be on the meta device.

    Raises
    ------
    DataError
        With the first reasons why it takes none.
    """
    refusals: list[str] = []
    for found in all_built(name, arguments, refusals):
        return found
    reasons = list(dict.fromkeys(refusals))
    said = "; ".join(reasons[:_SAID]) + ("; ..." if len(reasons) > _SAID else "")
    raise DataError(f"can be built for none of the inputs that it was tried on: {said}")


def all_built(
    name: str, arguments: Mapping[str, Any], refusals: list[str] | None = None, classes: int = 1
) -> Iterator[tuple[tuple[int, ...], Backbone]]:
    """Yield each shape that a backbone takes, with the network; add to `refusals` why it takes others not."""
    for shape in trial_shapes(BACKBONES.get(name)):
        try:
            yield shape, build_light(name, shape, arguments, classes)
        except BenchError as error:
            if refusals is not None:
                refusals.append(str(error))


def build_light(name: str, shape: tuple[int, ...], arguments: Mapping[str, Any], classes: int = 1) -> Backbone:
    """Build a backbone without memory (on the meta device), or as it is where its function needs values.

    Raises
    ------
    DataError
        For whatever its function raises.
    """
    try:
        with torch.device("meta"):
            return build(name, shape, classes, 0, 0, **arguments)
    except Exception:
        try:
            return build(name, shape, classes, 0, 0, **arguments)
        except BenchError:
            raise
        except Exception as error:
            raise DataError(BACKBONES.get(name).raised(error)) from error
