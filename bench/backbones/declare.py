"""Registering backbones without importing torch, so that a plan stays light."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.registry import BACKBONES


def backbone(name: str, *, depth: int | Callable[..., int], version: int = 1, **meta: Any) -> Callable:
    """Register a function ``(shape, **arguments) -> Backbone`` (decorator).

    Parameters
    ----------
    name : str
    depth : int or callable
        Number of blocks L, or a function from the backbone's arguments to it; known without building
        the network, so that a plan needs no torch.
    """

    def register(function: Callable) -> Callable:
        BACKBONES.register(name, function, version=version, given=1, depth=depth, **meta)
        return function

    return register
