"""Normalisation layers train."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bench.adaptations.base import Adaptation, adaptation

if TYPE_CHECKING:
    from torch import nn

# BatchNorm2d, LayerNorm, GroupNorm, RMSNorm and what other libraries call theirs; no NormalizedLinear.
_NORM = re.compile(r"Norm(?!al)")


@adaptation("norm")
class Norm(Adaptation):
    """Train scale and shift of normalisation layers alone (Frankle et al., ICLR 2021, for batch norm)."""

    def trains(self, layer: nn.Module, name: str) -> bool:
        """Whether a parameter belongs to a normalisation layer, told by the class's name."""
        return _NORM.search(type(layer).__name__) is not None
