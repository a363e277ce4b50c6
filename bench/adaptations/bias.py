"""Biases train."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.adaptations.base import Adaptation, adaptation

if TYPE_CHECKING:
    from torch import nn


@adaptation("bias")
class Bias(Adaptation):
    """Train biases alone, those of normalisation among them: BitFit (Ben Zaken et al., ACL 2022)."""

    def trains(self, layer: nn.Module, name: str) -> bool:
        """Whether a parameter is a bias: torch calls them bias, in_proj_bias or bias_ih_l0."""
        return name.startswith("bias") or name.endswith("bias")
