"""Look one step ahead, or k, and see what the weights of the batch do to the target's loss.

With one plain gradient step of rate a from the parameters p, p' = p - a * sum_i w_i grad l_i(p), the target's
loss L changes with a weight by dL(p')/dw_i = -a <grad l_i(p), grad L(p')>: minus the rate times the
directional derivative of the vector of losses along grad L(p'). The engine "forward" computes just that;
"higher" builds the graph through the step (or k of them, with momentum or by Adam) and differentiates it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from bench.weighting.base import Facts, Step, Weighting

START = 0.1  # of a weight between 0 and 1: nearer to 0, so that what harms is soon left out
LEAST = 1e-3  # what a batch's weights are divided by at least


class L2RW(Weighting):
    """Weights from zero, anew in each step: the rectified negative meta-gradient, normalised.

    Ren et al. (ICML 2018), equations 5 to 9. At zero weights the look-ahead does not move, so that the
    rate cancels.
    """

    def __init__(self, facts: Facts, engine: str):
        super().__init__(facts)
        self._rise = self._by_higher if engine == "higher" else _forward

    def __call__(self, step: Step) -> tuple[Tensor, Tensor]:
        """Return losses and weights."""
        losses, rise = self._rise(step)
        return losses, self.normalised(rise.clamp_min(0))

    def _by_higher(self, step: Step) -> tuple[Tensor, Tensor]:
        from bench.weighting.unrolled import Inner, gradient, unrolled

        shape = step.positions().shape
        weights = torch.zeros(shape, dtype=self.facts.dtype, device=self.facts.y.device, requires_grad=True)
        meta = unrolled(step.network, Inner("sgd"), _rates(step), [step.losses], [weights], step.meta_loss)
        (fall,) = gradient(meta, [weights])
        return step.losses(), -fall


def _forward(step: Step) -> tuple[Tensor, Tensor]:
    """Return losses, and how fast the target's loss falls with each weight (up to the rate)."""
    return step.losses_along(step.meta_gradient())


Gradient = Callable[[Tensor, Sequence[Tensor]], Sequence[Tensor]]


class Weigher(ABC):
    """What gives weights, and learns from their gradients."""

    @abstractmethod
    def __call__(self, positions: Tensor, losses: Tensor) -> Tensor:
        """Return weights of at least 0, shape (lanes, batch), with a graph to what is learned."""

    @abstractmethod
    def learn(self, loss: Tensor, gradient: Gradient = torch.autograd.grad) -> None:
        """Take one step down `loss`, a scalar with a graph to the last weights."""


class LossNetwork(Weigher):
    """A weight as a function of the loss, for each lane its own: 1 -> hidden units -> sigmoid."""

    def __init__(self, facts: Facts, hidden: int, rate: float):
        super().__init__()
        networks = []
        for seed in facts.seeds:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                networks.append((nn.Linear(1, hidden), nn.Linear(hidden, 1)))
        shaped = [[a.weight.T, a.bias[None], b.weight.T, b.bias[None]] for a, b in networks]
        like = {"dtype": facts.dtype, "device": facts.y.device}
        self._parts = [nn.Parameter(torch.stack(part).detach().to(**like)) for part in zip(*shaped, strict=True)]
        self._optimizer = torch.optim.Adam(self._parts, lr=rate, weight_decay=1e-4)

    def __call__(self, positions: Tensor, losses: Tensor) -> Tensor:
        """Return weights of losses."""
        w1, b1, w2, b2 = self._parts
        hidden = torch.relu(losses.detach().unsqueeze(2) @ w1 + b1)
        return torch.sigmoid(hidden @ w2 + b2).squeeze(2)

    def learn(self, loss: Tensor, gradient: Gradient = torch.autograd.grad) -> None:
        """Take one step."""
        for part, found in zip(self._parts, gradient(loss, self._parts), strict=True):
            part.grad = found
        self._optimizer.step()


class Kept(Weigher):
    """A weight for every example, class or domain of each lane, held within 0 and 1 by projection.

    Projection, unlike a sigmoid, lets a weight become 0: a network that is trained long enough fits whatever
    has any weight at all. A step is `rate` times the gradient over the largest root mean square that a
    batch's gradients have had in the lane so far (a maximum as in AMSGrad, Reddi et al., ICLR 2018): once
    the meta loss is small its gradients are mostly noise, and move weights little. Weights learn from all
    that were given since they did so last.

    Parameters
    ----------
    of_what : {"examples", "classes", "domains"}
    """

    def __init__(self, facts: Facts, of_what: str, rate: float):
        super().__init__()
        own = torch.arange(facts.n, device=facts.y.device).expand(facts.lanes, -1)
        index = {"examples": own, "classes": facts.y, "domains": facts.domains}[of_what]
        width = int(index.max()) + 1
        self._index = index + width * torch.arange(facts.lanes, device=index.device).unsqueeze(1)
        like = {"dtype": facts.dtype, "device": index.device}
        self._table, self._largest = torch.full((facts.lanes * width,), START, **like), torch.zeros(facts.lanes, **like)
        self._rate = rate
        self._used: list[tuple[Tensor, Tensor]] = []

    def __call__(self, positions: Tensor, losses: Tensor) -> Tensor:
        """Return the weights of examples."""
        index = self._index.gather(1, positions)
        values = self._table[index]
        if torch.is_grad_enabled():
            self._used.append((index, values.requires_grad_()))
        return values

    def learn(self, loss: Tensor, gradient: Gradient = torch.autograd.grad) -> None:
        """Take one step."""
        gradients = torch.cat(list(gradient(loss, [values for _, values in self._used])), dim=1)
        index = torch.cat([index for index, _ in self._used], dim=1)
        self._largest = torch.maximum(self._largest, gradients.square().mean(1).sqrt())
        steps = gradients / self._largest.clamp_min(torch.finfo(gradients.dtype).tiny).unsqueeze(1)
        self._table.index_add_(0, index.flatten(), steps.flatten(), alpha=-self._rate).clamp_(0, 1)
        self._used = []


class Learned(Weighting):
    """Weights given by a :class:`Weigher` that learns from looking ahead.

    Parameters
    ----------
    engine : {"auto", "forward", "higher"}
        "auto" is "forward" where that can be.
    unrolled : int
        How many steps are looked ahead: the batches are those of the next steps, and the weigher learns
        once for all of them.
    inner, momentum : str, float
        The optimiser of the look-ahead ("sgd" or "adam"), new each time.
    """

    def __init__(
        self, facts: Facts, weigher: Weigher, engine: str, unrolled: int = 1, inner: str = "sgd", momentum: float = 0.0
    ):
        super().__init__(facts)
        self._weigher, self._unrolled = weigher, unrolled
        self._inner, self._momentum = inner, momentum
        plain = unrolled == 1 and inner == "sgd" and not momentum
        self._forward = engine == "forward" or (engine == "auto" and plain)

    def __call__(self, step: Step) -> tuple[Tensor, Tensor]:
        """Learn, then return losses and weights."""
        if self._forward:
            losses = self._learn_forward(step)
        else:
            losses = step.losses()
            if step.number % self._unrolled == 0:
                self._learn_by_higher(step, losses)
        with torch.no_grad():
            weights = self._weigher(step.positions(), losses)
        return losses, self.normalised(weights)

    def _learn_forward(self, step: Step) -> Tensor:
        losses = step.losses()
        weights = _shares(self._weigher(step.positions(), losses))
        total = (weights.detach() * losses).sum()
        gradients = torch.autograd.grad(total, step.parameters, retain_graph=True)
        with step.moved(gradients):
            direction = step.meta_gradient()
        _, along = step.losses_along(direction, again=True)
        slope = -step.rates.to(along).unsqueeze(1) * along
        self._weigher.learn((weights * slope).sum())
        return losses

    def _learn_by_higher(self, step: Step, now: Tensor) -> None:
        from bench.weighting import unrolled

        ahead = [j for j in range(self._unrolled) if step.number + j < self.facts.steps]
        losses = [lambda network, j=j: step.losses(network, j) for j in ahead]
        weights = [_shares(self._weigher(step.positions(j), now)) for j in ahead]
        inner = unrolled.Inner(self._inner, self._momentum)
        self._weigher.learn(
            unrolled.unrolled(step.network, inner, _rates(step), losses, weights, step.meta_loss), unrolled.gradient
        )


def _rates(step: Step) -> float | Tensor:
    """Return the learning rates as the look-ahead takes them: one for a network, or one a lane."""
    return float(step.rates[0]) if len(step.rates) == 1 else step.rates


def _shares(weights: Tensor) -> Tensor:
    """Make weights add up to 1; where they are all zero they stay so, and still have a gradient."""
    return weights / weights.sum(1, keepdim=True).clamp_min(LEAST)
