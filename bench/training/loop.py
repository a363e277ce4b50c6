"""The one training loop: source models, scratch and every (n, f) go through it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.backbones.base import Backbone
from bench.suite.model import Recipe

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


def make_optimizer(network: Backbone, start: Start, freeze: int, recipe: Recipe) -> torch.optim.Optimizer:
    """Return torch's own optimiser over the trainable blocks and the head, new and copied parts apart.

    Each group keeps its rate relative to the recipe's under "relative".
    """
    copied, new = [], []
    for index, block in enumerate(network.block_list()[freeze:], freeze):
        (copied if index < start.blocks else new).extend(block.parameters())
    (copied if start.head else new).extend(network.head.parameters())
    groups = [{"params": p, "relative": r} for p, r in ((new, 1.0), (copied, start.lr)) if p]
    options = {"lr": 1.0, "weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimizer == "sgd":
        options["momentum"] = recipe.momentum
    return OPTIMIZERS[recipe.optimizer](groups, **options)


def schedule(recipe: Recipe, step: int, total: int) -> float:
    """Return the factor of the learning rate at a step, counted from 0 over all stages."""
    return 0.5 * (1 + math.cos(math.pi * step / total)) if recipe.schedule == "cosine" else 1.0


def train(
    network: Backbone,
    stages: Sequence[Stage],
    x: Tensor,
    y: Tensor,
    batches: Tensor | None,
    recipe: Recipe,
    lr: float,
    start: Start,
    watch: Callable[[int, Stage, Tensor], None] | None = None,
    stop: int | None = None,
) -> None:
    """Train `network` in place.

    Parameters
    ----------
    stages : sequence of Stage
        With the numbers of frozen blocks; the activations at each cut are computed once.
    x : Tensor, shape (N, ...)
        Prepared inputs.
    y : Tensor of int64, shape (N,)
    batches : Tensor of int64, shape (steps, batch), or None
        Which examples each step sees; None means all of them, each step.
    lr : float
        Learning rate of new blocks and the head.
    watch : callable, optional
        Called after every step with (steps done, the stage, the step's training loss).
    stop : int, optional
        End after so many steps, the schedule staying that of the full length.
    """
    total = sum(stage.steps for stage in stages)
    done = 0
    for stage in stages:
        network.freeze(stage.freeze).train()
        cut = activations(network, x, stage.freeze)
        optimizer = make_optimizer(network, start, stage.freeze, recipe)
        for _ in range(stage.steps):
            if done == stop:
                return
            factor = lr * stage.lr * schedule(recipe, done, total)
            for group in optimizer.param_groups:
                group["lr"] = factor * group["relative"]
            inputs, labels = (cut, y) if batches is None else (cut[batches[done]], y[batches[done]])
            loss = cross_entropy(network(inputs, start=stage.freeze), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            done += 1
            if watch is not None:
                watch(done, stage, loss)


@torch.no_grad()
def activations(network: Backbone, x: Tensor, depth: int, chunk: int = 512) -> Tensor:
    """Return the outputs of the first `depth` blocks in evaluation mode; `x` itself for depth 0.

    While these blocks are frozen this is exact, so the steps that follow need not run them again.
    """
    if depth == 0:
        return x
    was_training = network.training
    network.eval()
    parts = [network.run_blocks(part, 0, depth) for part in x.split(chunk)]
    network.train(was_training)
    return torch.cat(parts)


@torch.no_grad()
def logits(network: Backbone, x: Tensor, start: int = 0, chunk: int = 512) -> Tensor:
    """Return logits, shape (N, classes), in evaluation mode for activations at the cut `start`."""
    was_training = network.training
    network.eval()
    parts = [network(part, start=start) for part in x.split(chunk)]
    network.train(was_training)
    return torch.cat(parts)
