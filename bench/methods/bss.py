"""Shrink what features hardly vary in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.errors import BenchError, demand_number
from bench.methods.base import Method, Step, method

if TYPE_CHECKING:
    from torch import Tensor


@method("bss", lanes=True, copied=True)
class BSS(Method):
    """Batch spectral shrinkage: suppress the features' smallest singular values (Chen et al., NeurIPS 2019).

    Adds `eta` times the sum of the squares of the `k` smallest singular values of the batch's features, N x D
    (their equation 5). They come from spectral components of the source that do not transfer, the authors hold.
    """

    def __init__(self, *, eta: float = 0.001, k: int = 1):
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise BenchError(f'method "bss": k = {k!r} is not a whole number of at least 1')
        self.eta, self.k = demand_number('method "bss": eta', eta), k

    def loss(self, step: Step) -> Tensor:
        """Return the batch's loss and the penalty."""
        import torch

        features = step.batch.features().float()
        wide = features.shape[-2] <= features.shape[-1]
        # Squares of the singular values, in ascending order: eigenvalues of the smaller of the two products.
        squares = torch.linalg.eigvalsh(features @ features.mT if wide else features.mT @ features)
        return step.batch.loss() + self.eta * squares[..., : self.k].clamp_min(0).sum(-1)
