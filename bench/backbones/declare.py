"""Registering backbones without importing torch, so that a plan stays light."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.registry import BACKBONES


def backbone(
    name: str,
    *,
    depth: int | Callable[..., int],
    version: int = 1,
    lanes: Callable[[tuple[int, ...], str], int] | None = None,
    **meta: Any,
) -> Callable:
    """Register a function ``(shape, **arguments) -> Backbone`` (decorator).

    Parameters
    ----------
    name : str
    depth : int or callable
        Number of blocks L, or a function from the backbone's arguments to it; known without building
        the network, so that a plan needs no torch.
    lanes : callable, optional
        For a backbone made of layers that :class:`bench.backbones.stack.Stack` can put side by side: from
        the shape of an input and the machine ("cpu" or "cuda") to how many trainings to stack, as
        measured. Without it, one is trained after the other.
    """

    def register(function: Callable) -> Callable:
        BACKBONES.register(name, function, version=version, given=1, depth=depth, lanes=lanes, **meta)
        return function

    return register
