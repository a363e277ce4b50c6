"""How source examples are weighted while the source model is trained.

For a weighting of your own: the decorator ``weighting``, the base classes ``ByRule`` and ``Weighting``,
and what they are given, ``Facts`` and ``Step``. Nothing heavy is imported until it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bench.weighting.declare import weighting

if TYPE_CHECKING:
    from bench.weighting.base import ByRule, Facts, Step, Table, Weighting

__all__ = ["ByRule", "Facts", "Step", "Table", "Weighting", "weighting"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("bench.weighting.base"), name)
