"""The head's own loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.methods.base import Method, Step, method

if TYPE_CHECKING:
    from torch import Tensor


@method("plain", lanes=True)
class Plain(Method):
    """Minimise the head's loss of the labelled examples: the default."""

    def loss(self, step: Step) -> Tensor:
        """Return the mean loss of the batch."""
        return step.batch.loss()
