"""Everything trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.adaptations.base import Adaptation, adaptation

if TYPE_CHECKING:
    from torch import nn


@adaptation("full")
class Full(Adaptation):
    """Train everything above the frozen depth: the default."""

    def trains(self, layer: nn.Module, name: str) -> bool:
        """Whether a parameter trains."""
        return True
