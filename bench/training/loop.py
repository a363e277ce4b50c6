"""The one training loop: source models, scratch and every (n, f) go through it, one lane or many."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from bench.backbones.stack import Stack
from bench.heads.base import SINGLE_LABEL, Head, head_of
from bench.suite.model import Recipe
from bench.training.inputs import CHUNK, Inputs

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@dataclass(frozen=True)
class Stage:
    """A stretch of steps with a fixed frozen depth; `lr` multiplies the learning rate."""

    freeze: int
    steps: int
    lr: float = 1.0


@dataclass(frozen=True)
class Start:
    """What of a network is copied, and so learns at a rate of its own.

    Attributes
    ----------
    blocks : int
        Transfer depth n.
    head : bool
        Whether the head is the source's too.
    lr : float
        Learning rate of copied parts relative to new ones.
    """

    blocks: int = 0
    head: bool = False
    lr: float = 1.0

    def relative(self, index: int, depth: int) -> float:
        """Return the relative learning rate of block `index` (from 0), of the head (`depth`) or what is beside it."""
        return self.lr if (self.head if index == depth else index < self.blocks) else 1.0


@dataclass(frozen=True, eq=False)
class Rows:
    """Examples of all lanes at one cut.

    Attributes
    ----------
    inputs : Inputs
        Rows of all lanes.
    index : Tensor of int64, shape (lanes, N)
        Which of them are each lane's.
    y : Tensor, shape (lanes, N, ...), or a list of lists of mappings
        Targets as their head takes them.
    depth : int
        How many blocks the inputs have passed through.
    head : Head
        Of the targets' kind.
    """

    inputs: Inputs
    index: Tensor
    y: Any
    depth: int = 0
    head: Head = field(default_factory=lambda: head_of(SINGLE_LABEL))


class Optimizer:
    """torch's own optimiser over what a stage trains, with a learning rate for every lane and part.

    Every rule used here moves a tensor by the learning rate times something that does not depend on it.
    So a stack's optimiser steps at rate 1, and of that step each lane keeps its own share; a single
    network's has the rates as its groups' own. Gradients are clipped before, where the recipe says so.
    """

    def __init__(
        self, stack: Stack, starts: Sequence[Start], rates: Tensor, freeze: int, recipe: Recipe,
        factor: Callable[[str], float] = lambda name: 1.0,
    ):  # fmt: skip
        parts = stack.trained(freeze)
        self._limit = recipe.clip_norm
        # What is beside learns something else: how steep that is must not slow the main task down.
        beside = len(stack.network.beside)
        alone, main = parts[len(parts) - beside :], parts[: len(parts) - beside]
        self._clipped = [[tensor for part in group for tensor in part] for group in (main, alone)]
        places = range(freeze, freeze + len(parts))
        relative = [[start.relative(i, stack.depth) for start in starts] for i in places]
        factors = {id(value): factor(name) for name, value in stack.network.named_parameters()}
        options = {"lr": 1.0, "weight_decay": recipe.weight_decay, "fused": True}
        if recipe.optimizer == "sgd":
            options["momentum"] = recipe.momentum
        self._single = stack.lanes == 1
        if self._single:
            by_rate: dict[float, list[Tensor]] = {}
            added = {id(stack.network.get_parameter(name)) for name in stack.network.added}
            for part, (ratio,) in zip(parts, relative, strict=True):
                for tensor in part:
                    own = 1.0 if id(tensor) in added else ratio
                    by_rate.setdefault(own * factors[id(tensor)], []).append(tensor)
            groups = [{"params": p, "rate": float(rates[0]) * ratio} for ratio, p in by_rate.items() if p]
        else:
            self._tensors = [tensor for part in parts for tensor in part]
            self._shares = []
            for part, ratios in zip(parts, relative, strict=True):
                share = rates * torch.tensor(ratios, dtype=rates.dtype)
                self._shares += [(share * factors[id(t)]).to(t).view(-1, *(1,) * (t.ndim - 1)) for t in part]
            self._before = [torch.empty_like(tensor) for tensor in self._tensors]
            groups = [{"params": self._tensors}]
        self._optimizer = OPTIMIZERS[recipe.optimizer](groups, **options)

    def step(self, loss: Tensor, factor: float) -> None:
        """Take one step down `loss`; `factor` multiplies every learning rate."""
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self._limit:
            for tensors in self._clipped:
                self._clip(tensors)
        if self._single:
            for group in self._optimizer.param_groups:
                group["lr"] = factor * group["rate"]
            self._optimizer.step()
            return
        with torch.no_grad():
            torch._foreach_copy_(self._before, self._tensors)
            self._optimizer.step()
            for tensor, before, share in zip(self._tensors, self._before, self._shares, strict=True):
                torch.lerp(before, tensor, share * factor, out=tensor)

    def _clip(self, tensors: Sequence[Tensor]) -> None:
        """Scale each lane's gradient down to the recipe's norm, as torch's ``clip_grad_norm_`` does one network's."""
        gradients = [tensor.grad for tensor in tensors if tensor.grad is not None]
        if not gradients:
            return
        if self._single:
            clip_grad_norm_(tensors, self._limit)
            return
        norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients])
        scale = (self._limit / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(scale.view(-1, *(1,) * (gradient.ndim - 1)))


def schedule(recipe: Recipe, step: int, total: int) -> float:
    """Return the factor of the learning rate, above 0 and at most 1, at a step, counted from 0 over all stages."""
    rising = round(recipe.warmup * total)
    if step < rising:
        return (step + 1) / (rising + 1)
    done = (step - rising) / (total - rising)
    return 0.5 * (1 + math.cos(math.pi * done)) if recipe.schedule == "cosine" else 1.0


def train(
    stack: Stack,
    stages: Sequence[Stage],
    rows_at: Callable[[int], Rows],
    batches: Tensor | None,
    recipe: Recipe,
    rates: Tensor,
    starts: Sequence[Start],
    watch: Callable[[int, int, Tensor], bool] | None = None,
    augment: Callable[[Tensor], Tensor] | None = None,
    objective: Objective | None = None,
    factor: Callable[[str], float] = lambda name: 1.0,
) -> None:
    """Train every lane of `stack` in place.

    Parameters
    ----------
    stages : sequence of Stage
        With the numbers of frozen blocks.
    rows_at : callable
        From a stage's number to the examples: at its cut, or at the input where the blocks below must be run anew.
    batches : Tensor of int64, shape (lanes, steps, batch), or None
        Which examples each step sees; None means all of them, each step.
    rates : Tensor, shape (lanes,)
        Learning rates of new blocks and heads.
    starts : sequence of Start, one a lane
    watch : callable, optional
        Called after every step with (steps done, the stage's number, the lanes' training losses, shape
        (lanes,)); training ends where it returns True.
    augment : callable, optional
        Changes a batch of inputs, shape (lanes, batch, ...), at random.
    objective : Objective, optional
        What is minimised: by default the head's mean loss of the batch.
    factor : callable, optional
        From a parameter's name to a factor of its learning rate.
    """
    objective = objective or _mean_loss
    total = sum(stage.steps for stage in stages)
    done = 0
    for number, stage in enumerate(stages):
        stack.freeze(stage.freeze)
        optimizer = Optimizer(stack, starts, rates * stage.lr, stage.freeze, recipe, factor)
        look_up = Batches(stack, rows_at(number), batches, augment)
        for _ in range(stage.steps):
            slope = schedule(recipe, done, total)
            losses = objective(look_up, done, stage.freeze, rates * (stage.lr * slope))
            optimizer.step(losses.sum(), slope)
            done += 1
            if watch is not None and watch(done, number, losses):
                return


class Batches:
    """Looks a step's examples up and brings them to the cut.

    Attributes
    ----------
    stack : Stack
    rows : Rows
    order : Tensor of int64, shape (lanes, steps, batch), or None
        Which of the rows a step sees; None means all.
    """

    def __init__(
        self, stack: Stack, rows: Rows, batches: Tensor | None, augment: Callable[[Tensor], Tensor] | None = None
    ):
        self.stack, self.rows, self.order, self.augment = stack, rows, batches, augment
        self._index = self._y = None
        if batches is not None:
            lane = torch.arange(stack.lanes, device=batches.device).view(-1, 1, 1)
            # (steps, lanes, batch): a step's part is contiguous.
            self._index = rows.index[lane, batches].transpose(0, 1).contiguous()
            if isinstance(rows.y, Tensor):
                self._y = rows.y[lane, batches].transpose(0, 1).contiguous()
            else:  # mappings, which run in one lane
                self._y = [[[rows.y[0][i] for i in batch]] for batch in batches[0].tolist()]
        self._same: Tensor | None = None

    def __call__(self, step: int, depth: int) -> tuple[Any, Any]:
        """Return a step's inputs at the cut `depth`, as the stack takes them, and targets (lanes, batch, ...)."""
        if self._index is not None:
            return self._reach(self._index[step], depth), self._y[step]
        if self._same is None or self.augment is not None:
            self._same = self._reach(self.rows.index, depth)
        return self._same, self.rows.y

    def _reach(self, index: Tensor, depth: int) -> Tensor:
        x = self.rows.inputs.take(index.flatten()).unflatten(0, index.shape)
        if self.augment is not None:
            x = self.augment(x)
        return advance(self.stack, self.stack.arrange(x), self.rows.depth, depth)


# From the batches, a step (counted from 0), the cut and the lanes' learning rates, shape (lanes,), to what each
# lane minimises, shape (lanes,).
Objective = Callable[[Batches, int, int, Tensor], Tensor]


def _mean_loss(look_up: Batches, step: int, depth: int, rates: Tensor) -> Tensor:
    inputs, targets = look_up(step, depth)
    return look_up.rows.head.loss(look_up.stack.outputs(inputs, depth), targets)


def advance(stack: Stack, x: Tensor, start: int, depth: int) -> Tensor:
    """Pass arranged inputs at the cut `start` through frozen blocks to the cut `depth`."""
    if start == depth:
        return x
    with torch.no_grad():
        return stack.network.run_blocks(x, start, depth)


@torch.no_grad()
def outputs(stack: Stack, rows: Rows, chunk: int = CHUNK) -> Any:
    """Return outputs, shape (lanes, N, K), in evaluation mode; a list of one, where they are no tensors."""
    was_training = stack.network.training
    stack.network.eval()
    parts = []
    for index in rows.index.split(chunk, 1):
        x = rows.inputs.take(index.flatten()).unflatten(0, index.shape)
        parts.append(stack.outputs(stack.arrange(x), rows.depth))
    stack.network.train(was_training)
    return torch.cat(parts, 1) if isinstance(parts[0], Tensor) else [[each for part in parts for each in part[0]]]
