"""Solve heads on frozen features: a convex problem, by L-BFGS to a stated tolerance.

The features are centred, divided by one number and turned to their principal axes. None of that changes what
can be said with them: the bias takes the centring up, the number gives the strength of the penalty a meaning that
does not depend on the network, and a turn leaves the norm of the weights as it is. It does make the problem easy:
along its principal axes the Hessian is nearly diagonal, so that its diagonal is a good preconditioner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCE = 1e-6  # of the gradient's norm, relative to that at the best constant prediction
MOST = 1000  # evaluations of the objective for one strength
HISTORY = 10  # pairs of steps and changes of the gradient that make up the curvature
_DECREASE = 1e-4  # least part of the promised decrease that a step must bring (Armijo)
_COLUMNS = 128  # outputs whose curvature is computed; of more, each stands for some of its neighbours
_FLAT = 1e-9  # least curvature: a step of L-BFGS is never longer than the gradient over it
_ROUNDING = 1e-14  # relative error of an objective in double precision
_WIDE = 2048  # as many examples and features: turning them would cost more than it saves
LARGE = 2**17  # values of one lane's features from which several lanes at once gain nothing

# From outputs, shape (lanes, N, K), and targets to each lane's mean loss, shape (lanes,).
Loss = Callable[[Tensor, Tensor], Tensor]
# From a point, shape (lanes, K, R), to each lane's value, shape (lanes,), and gradient.
Objective = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Solved:
    """Heads, one a lane, at one strength of the penalty.

    Attributes
    ----------
    strength : float
    weight : float64 Tensor, shape (lanes, K, D)
        For features as they were given.
    bias : float64 Tensor, shape (lanes, K)
    loss : float64 Tensor, shape (lanes,)
        Mean training loss, without the penalty.
    gradient : float64 Tensor, shape (lanes,)
        Norm of the objective's gradient, relative to that at the best constant prediction.
    iterations : int64 Tensor, shape (lanes,)
        Evaluations of the objective.
    converged : bool Tensor, shape (lanes,)
        Whether the gradient came below the tolerance.
    """

    strength: float
    weight: Tensor
    bias: Tensor
    loss: Tensor
    gradient: Tensor
    iterations: Tensor
    converged: Tensor


def solve(
    features: Tensor,
    targets: Tensor,
    outputs: int,
    loss: Loss,
    strengths: Sequence[float],
    tolerance: float = TOLERANCE,
    most: int = MOST,
) -> list[Solved]:
    """Return the heads that minimise mean loss + strength / (2 N) * ||W||^2, for every strength.

    The bias is not penalised, and W is that of features centred and divided by one number, such that a training
    example's mean squared length is 1. So scikit-learn's ``LogisticRegression(C=1 / strength)`` on features scaled
    so gives the same head. One number, and not one a feature: what varies little says little, and is not blown up.
    Over N: the best strength is then about the same for 20 examples and for 1,000. Each solution starts from that of
    the next stronger penalty, the first from the best constant prediction. All is in double precision, and what a
    lane gets does not depend on the others.

    Parameters
    ----------
    features : Tensor, shape (lanes, N, D)
    targets : Tensor, shape (lanes, N, ...)
    outputs : int
        Width K of the head.
    loss : callable
        Convex in the outputs.
    strengths : sequence of float
        Above 0, in any order.
    tolerance : float
        Largest norm of the gradient, relative to the weights' at the best constant prediction.
    most : int
        Evaluations of the objective after which a lane is left as it is, said in the result.

    Returns
    -------
    list of Solved, in the order of `strengths`
    """
    if len(features) > 1 and features[0].numel() > LARGE:
        alone = [
            solve(features[i : i + 1], targets[i : i + 1], outputs, loss, strengths, tolerance, most)
            for i in range(len(features))
        ]
        return [_joined(parts) for parts in zip(*alone, strict=True)]
    x, centre, scale = _scaled(features)
    x, axes = _turned(x)
    found = {}
    for strength, state in _path(x, targets, outputs, loss, sorted(strengths, reverse=True), tolerance, most):
        weight = state.point[:, :, :-1] if axes is None else state.point[:, :, :-1] @ axes
        weight = weight / scale  # NaN where the features are not finite
        bias = state.point[:, :, -1] - (weight @ centre.transpose(1, 2)).squeeze(2)
        penalty = strength / (2 * x.shape[1]) * state.point[:, :, :-1].square().sum((1, 2))
        found[strength] = Solved(
            strength, weight, bias, state.value - penalty, state.norm, state.evaluations,
            (state.norm <= tolerance) & bias.isfinite().all(1),
        )  # fmt: skip
    return [found[strength] for strength in strengths]


def _joined(parts: Sequence[Solved]) -> Solved:
    fields = ("weight", "bias", "loss", "gradient", "iterations", "converged")
    return Solved(parts[0].strength, *(torch.cat([getattr(part, name) for part in parts]) for name in fields))


def _scaled(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return features of mean 0 and mean squared length 1, with what was taken off and divided by."""
    x = features.double()
    centre = x.mean(1, keepdim=True)
    x = x - centre
    scale = x.square().sum(2).mean(1).sqrt().view(-1, 1, 1)
    # Features that are all the same say nothing, and are left at 0; those that are not finite must not stop others.
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    return torch.where(scale.isfinite(), x / scale, torch.zeros_like(x)), centre, scale


def _turned(x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Turn features to their principal axes, of which there are no more than examples.

    Returns
    -------
    Tensor, shape (lanes, N, R)
    Tensor, shape (lanes, R, D), or None
        The axes; None where features stay as they are.
    """
    n, d = x.shape[1:]
    if min(n, d) > _WIDE:
        return x, None
    basis = None
    if n < d:  # weights have no part outside the span of the examples
        basis, rest = torch.linalg.qr(x.transpose(1, 2))
        x = rest.transpose(1, 2)
    _, axes = torch.linalg.eigh(x.transpose(1, 2) @ x)
    return x @ axes, (axes if basis is None else basis @ axes).transpose(1, 2)


@dataclass(eq=False)
class _State:
    """Where the lanes stand: weights and bias, shape (lanes, K, R + 1), the objective and its gradient."""

    point: Tensor
    value: Tensor
    slope: Tensor
    norm: Tensor
    evaluations: Tensor


def _path(
    x: Tensor, targets: Tensor, outputs: int, loss: Loss, strengths: Sequence[float], tolerance: float, most: int
) -> Iterator[tuple[float, _State]]:  # fmt: skip
    """Yield each strength with its solution, from strong to weak."""

    def objective(x: Tensor, share: float) -> Objective:
        return lambda point: _evaluate(point, x, targets, loss, share)

    constant, nothing = x.new_zeros((len(x), outputs, 1)), x[:, :, :0]
    curvature = _curvature(constant, nothing, targets, loss)
    reference = _norm(objective(nothing, 0.0)(constant)[1])
    constant = _minimise(objective(nothing, 0.0), constant, curvature, reference, tolerance, most).point
    point = torch.cat([x.new_zeros((len(x), outputs, x.shape[2])), constant], 2)
    reference = _norm(objective(x, 0.0)(point)[1])
    for strength in strengths:
        share = strength / x.shape[1]
        curvature = _curvature(point, x, targets, loss) + share
        state = _minimise(objective(x, share), point, curvature, reference, tolerance, most)
        point = state.point
        yield strength, state


def _norm(slope: Tensor) -> Tensor:
    """Return each lane's norm of a gradient, 1 where it is no more than rounding, so that others are measured by it."""
    norm = slope.flatten(1).norm(dim=1)
    return torch.where(norm > _ROUNDING, norm, torch.ones_like(norm))


def _output(point: Tensor, x: Tensor) -> Tensor:
    return torch.baddbmm(point[:, :, -1:].transpose(1, 2), x, point[:, :, :-1].transpose(1, 2))


def _evaluate(point: Tensor, x: Tensor, targets: Tensor, loss: Loss, share: float) -> tuple[Tensor, Tensor]:
    """Return each lane's objective, shape (lanes,), and its gradient, shape (lanes, K, R + 1)."""
    weight = point[:, :, :-1]
    with torch.enable_grad():
        output = _output(point, x).requires_grad_()
        value = loss(output, targets)
        (by_output,) = torch.autograd.grad(value.sum(), output)
    by_weight = by_output.transpose(1, 2) @ x + share * weight
    slope = torch.cat([by_weight, by_output.sum(1).unsqueeze(2)], 2)
    return value.detach() + share / 2 * weight.square().sum((1, 2)), slope


def _curvature(point: Tensor, x: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    """Return the diagonal of the loss's Hessian by weights and bias, shape (lanes, K, R + 1), above 0."""
    every = -(-point.shape[1] // _COLUMNS)
    with torch.enable_grad():
        output = _output(point, x).requires_grad_()
        (slope,) = torch.autograd.grad(loss(output, targets).sum(), output, create_graph=True)
        second = torch.zeros_like(output)
        for k in range(0, point.shape[1], every) if slope.requires_grad else ():
            (row,) = torch.autograd.grad(slope[:, :, k].sum(), output, retain_graph=True)
            second[:, :, k : k + every] = row[:, :, k : k + 1]
    second = second.detach().clamp(min=0).transpose(1, 2)
    return torch.cat([second @ x.square(), second.sum(2, keepdim=True)], 2).clamp(min=_FLAT)


def _minimise(
    objective: Objective, point: Tensor, curvature: Tensor, reference: Tensor, tolerance: float, most: int
) -> _State:
    """Minimise a convex function in every lane by L-BFGS (Nocedal and Wright, 2006, algorithm 7.5).

    Lanes do not wait for one another: with each evaluation, one takes its step and has a new direction, another
    halves its step.

    Parameters
    ----------
    point : Tensor, shape (lanes, K, R)
        The start.
    curvature : Tensor, shape (lanes, K, R)
        Guess of the Hessian's diagonal.
    reference : Tensor, shape (lanes,)
        Norm of a gradient that the tolerance is relative to.
    """
    shape = point.shape
    value, slope = objective(point)
    point, slope = point.flatten(1), slope.flatten(1)
    diagonal = (1 / curvature).flatten(1)
    memory = _Memory(point, diagonal)
    norm = slope.norm(dim=1) / reference
    evaluations = torch.ones(len(point), dtype=torch.int64, device=point.device)
    size, direction = torch.ones_like(value), -diagonal * slope
    for _ in range(most - 1):
        active = (norm > tolerance) & (size > _ROUNDING) & value.isfinite()
        if not active.any():
            break
        promised = _dot(slope, direction)
        there = point + size.unsqueeze(1) * direction
        value_there, slope_there = objective(there.view(shape))
        slope_there = slope_there.flatten(1)
        evaluations += active
        slack = _ROUNDING * value.abs()
        enough = value_there <= value + _DECREASE * size * promised + slack  # false for NaN
        taken = active & enough
        memory.add(taken, there - point, slope_there - slope)
        keep = taken.unsqueeze(1)
        point, slope = torch.where(keep, there, point), torch.where(keep, slope_there, slope)
        value = torch.where(taken, value_there, value)
        norm = torch.where(taken, slope.norm(dim=1) / reference, norm)
        size = torch.where(taken, torch.ones_like(size), torch.where(active, size / 2, size))
        direction = torch.where(keep, -memory.times(slope), direction)
    return _State(point.view(shape), value, slope.view(shape), norm, evaluations)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)


class _Memory:
    """The last steps of each lane, and the inverse of the Hessian that they make up."""

    def __init__(self, point: Tensor, diagonal: Tensor):
        self.diagonal = diagonal
        self.steps = point.new_zeros((HISTORY, *point.shape))
        self.changes = self.steps.clone()
        self.weights = point.new_zeros((HISTORY, len(point)))  # 0 where there is no step yet
        self.scale = point.new_ones(len(point))

    def add(self, taken: Tensor, step: Tensor, change: Tensor) -> None:
        """Take in the steps of the lanes that took one, the newest last."""
        along = _dot(step, change)
        size = _dot(change, self.diagonal * change)
        taken = taken & (along > _ROUNDING * size)
        for held, new in ((self.steps, step), (self.changes, change), (self.weights, 1 / along)):
            mask = taken.view(-1, *(1,) * (new.ndim - 1))
            held.copy_(torch.where(mask, torch.cat([held[1:], new.unsqueeze(0)]), held))
        self.scale = torch.where(taken, along / size, self.scale)

    def times(self, slope: Tensor) -> Tensor:
        """Return the inverse Hessian times a gradient, shape (lanes, ...)."""
        left, shares = slope, []
        held = list(zip(self.steps, self.changes, self.weights, strict=True))
        for step, change, weight in reversed(held):
            shares.append((weight * _dot(step, left)).unsqueeze(1))
            left = left - shares[-1] * change
        left = self.scale.unsqueeze(1) * self.diagonal * left
        for (step, change, weight), share in zip(held, reversed(shares), strict=True):
            left = left + step * (share - (weight * _dot(change, left)).unsqueeze(1))
        return left
