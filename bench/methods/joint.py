"""Source and target together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.methods.base import Method, Step, method

if TYPE_CHECKING:
    from torch import Tensor


@method("joint", lanes=True, sources=True)
class Joint(Method):
    """Add the (weighted) loss of a batch of each source, through a head of its own, to the target's."""

    def loss(self, step: Step) -> Tensor:
        """Return the sum of the losses."""
        loss = sum(source.loss() for source in step.sources)
        return loss + step.batch.loss()
