"""Small layers that the cut networks need and torch does not have as modules."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GlobalAveragePool(nn.Module):
    """Average a feature map over its positions: (N, C, H, W) -> (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the averages, shape (N, C)."""
        return x.mean((2, 3))


class FirstToken(nn.Module):
    """Keep the class token of a sequence: (N, T, D) -> (N, D)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the first token, shape (N, D)."""
        return x[:, 0]


class TokenStem(nn.Module):
    """Turn images into a vision transformer's tokens: (N, C, H, W) -> (N, 1 + patches, D).

    Everything that the transformer does before its first layer (Dosovitskiy et al., 2021, equation 1),
    with the tensors of the torchvision model that it is cut from.

    Parameters
    ----------
    model : torchvision.models.VisionTransformer
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.conv_proj = model.conv_proj
        self.class_token = model.class_token
        self.pos_embedding = model.encoder.pos_embedding
        self.dropout = model.encoder.dropout

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens, the class token first."""
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), patches], dim=1)
        return self.dropout(tokens + self.pos_embedding)
