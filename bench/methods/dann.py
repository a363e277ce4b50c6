"""Features that do not tell source from target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, demand_number
from bench.methods.base import Method, Step, method

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@cache
def _reversal() -> type[torch.autograd.Function]:
    """Return the function that leaves values and turns gradients round; torch is imported when it is used."""
    from torch.autograd import Function

    class Reversal(Function):
        """Identity forwards, times -strength backwards."""

        @staticmethod
        def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
            ctx.strength = strength
            return x.view_as(x)

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
            return -ctx.strength * gradient, None

    return Reversal


@method("dann", sources=True, unlabelled=True)
class DANN(Method):
    """Domain-adversarial training (Ganin et al., JMLR 2016), with labels of the target too.

    A discriminator of `hidden` units tells features of the sources from those of unlabelled target examples; its
    gradient comes to the network reversed, at a strength that rises to `strength` as
    2 / (1 + exp(-10 p)) - 1 over the share p of the steps (their section 5.2.2). The sources' labels are learned
    through heads of their own, the target's as always.
    """

    def __init__(self, *, strength: float = 1.0, hidden: int = 64):
        if isinstance(hidden, bool) or not isinstance(hidden, int) or hidden < 1:
            raise BenchError(f'method "dann": hidden = {hidden!r} is not a whole number of at least 1')
        self.strength, self.hidden = demand_number('method "dann": strength', strength), hidden

    def modules(self, width: int, classes: Sequence[str]) -> Mapping[str, nn.Module]:
        """Return the discriminator."""
        from torch import nn

        return {"discriminator": nn.Sequential(nn.Linear(width, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 1))}

    def loss(self, step: Step) -> Tensor:
        """Return the losses of labels and of domains."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        rise = self.strength * (2 / (1 + math.exp(-10 * step.number / step.steps)) - 1)
        domains = [source.features() for source in step.sources] + [step.unlabelled.features()]
        logits = step.modules["discriminator"](_reversal().apply(torch.cat(domains), rise)).squeeze(1)
        is_target = torch.zeros_like(logits)
        is_target[-len(domains[-1]) :] = 1
        # Sources and target count alike, however many examples each has.
        share = is_target.mean()
        weight = torch.where(is_target == 1, 0.5 / share, 0.5 / (1 - share))
        domain = binary_cross_entropy_with_logits(logits, is_target, weight)
        return sum(source.loss() for source in step.sources) + step.batch.loss() + domain
