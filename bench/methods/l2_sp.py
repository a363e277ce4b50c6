"""Stay near the source model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.errors import demand_number
from bench.methods.base import Method, Step, method

if TYPE_CHECKING:
    from torch import Tensor


@method("l2-sp", lanes=True, copied=True)
class L2SP(Method):
    """Pull copied weights to where they started, and new ones to zero (Li et al., ICML 2018).

    Adds alpha/2 ||w - w0||^2 over copied parameters and beta/2 ||w||^2 over the others (their equation 4).
    """

    def __init__(self, *, alpha: float = 0.1, beta: float = 0.01):
        self.alpha = demand_number('method "l2-sp": alpha', alpha)
        self.beta = demand_number('method "l2-sp": beta', beta)

    def loss(self, step: Step) -> Tensor:
        """Return the batch's loss and both penalties."""
        far = sum(_squares(parameter.now - parameter.start) for parameter in step.copied())
        large = sum(_squares(parameter) for parameter in step.fresh())
        return step.batch.loss() + 0.5 * self.alpha * far + 0.5 * self.beta * large


def _squares(values: Tensor) -> Tensor:
    """Return each lane's sum of squares."""
    return values.flatten(1).square().sum(1)
