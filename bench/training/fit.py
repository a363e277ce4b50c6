"""Fit a model by the protocol: every rate of the grid, the best on validation, tested once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.backbones.base import Backbone
from bench.errors import TrialError
from bench.seeding import derive
from bench.suite.model import Recipe
from bench.training.loop import Stage, Start, activations, logits, train
from bench.training.protocol import Split, batch_order
from bench.triangle import Phase


@dataclass(frozen=True, eq=False)
class Data:
    """A task's prepared tensors on the device.

    Attributes
    ----------
    x, x_test : Tensor, shape (N, ...)
        As :meth:`Backbone.prepare` returns them.
    y, y_test : Tensor of int64, shape (N,)
    fingerprint : str
        Of the task, for seeds.
    """

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    fingerprint: str


@dataclass
class Fitted:
    """The outcome of :func:`fit`.

    Attributes
    ----------
    learning_rate : float or None
        The chosen one; None where nothing is trained.
    best_step : int
        After how many steps the model that is kept stood.
    curve : list of (learning rate, step, train loss, validation loss, validation accuracy)
        Of every rate tried, at every checkpoint.
    """

    val_accuracy: float | None = None
    val_loss: float | None = None
    learning_rate: float | None = None
    best_step: int = 0
    steps: int = 0
    curve: list[tuple[float, int, float, float, float]] = field(default_factory=list)


def plan_stages(path: Sequence[Phase], steps: int) -> list[Stage]:
    """Share `steps` out among the phases of a path, each phase getting at least one.

    Raises
    ------
    TrialError
        When there are more phases than steps.
    """
    if len(path) > steps:
        raise TrialError(f"{len(path)} phases need at least as many steps; the recipe has {steps}")
    total = sum(phase.share for phase in path)
    stages, done, reached = [], 0, 0.0
    for index, phase in enumerate(path):
        reached += phase.share
        end = min(max(round(steps * reached / total), done + 1), steps - (len(path) - 1 - index))
        stages.append(Stage(phase.freeze, end - done, phase.lr))
        done = end
    return stages


def score(output: Tensor, y: Tensor) -> tuple[float, float]:
    """Return (accuracy, mean cross-entropy) of logits."""
    return (output.argmax(1) == y).float().mean().item(), cross_entropy(output, y).item()


def fit(
    network: Backbone,
    path: Sequence[Phase],
    data: Data,
    split: Split,
    recipe: Recipe,
    start: Start,
    size: int,
    seed: int,
    budget: float = 1.0,
) -> Fitted:
    """Train `network` in place with each learning rate and leave it in the best state on validation.

    The best is the highest validation accuracy, then the lowest validation loss, then the smaller rate
    and the earlier step. Test data are not touched.

    Parameters
    ----------
    path : sequence of Phase
    budget : float
        Steps relative to the recipe's.

    Raises
    ------
    TrialError
        When every rate of the grid diverges.
    """
    steps = max(1, round(recipe.steps * budget))
    stages = plan_stages(path, steps)
    initial = _snapshot(network)
    device = data.x.device
    train_index, val_index = (torch.as_tensor(i, device=device) for i in (split.train, split.validation))
    x, y, val_x, val_y = data.x[train_index], data.y[train_index], data.x[val_index], data.y[val_index]
    identity = (data.fingerprint, size, seed)
    batches = _on(device, batch_order(len(x), steps, recipe.batch_size, *identity))
    result, best, best_state = Fitted(steps=steps), None, None
    for lr in sorted(recipe.learning_rates):
        _restore(network, initial)
        watch = _Watch(network, val_x, val_y, recipe, steps, lr, best)
        torch.manual_seed(derive("dropout", *identity))
        train(network, stages, x, y, batches, recipe, lr, start, watch)
        result.curve += watch.curve
        if watch.state is not None:
            best, best_state = watch.best, watch.state
            result.val_accuracy, result.val_loss = best[0], -best[1]
            result.learning_rate, result.best_step = lr, watch.step
    if best_state is None:
        rates = ", ".join(f"{lr:g}" for lr in recipe.learning_rates)
        raise TrialError(f"training diverged at every learning rate tried ({rates}); use smaller ones")
    _restore(network, best_state)
    if recipe.refit:
        _refit(network, initial, stages, data, split, recipe, start, identity, result)
    return result


def _refit(
    network: Backbone, initial: list[Tensor], stages: list[Stage], data: Data, split: Split, recipe: Recipe,
    start: Start, identity: tuple, result: Fitted,
) -> None:  # fmt: skip
    """Train once more on training and validation examples with what was chosen."""
    everything = torch.as_tensor(np.concatenate([split.train, split.validation]), device=data.x.device)
    x, y = data.x[everything], data.y[everything]
    batches = _on(data.x.device, batch_order(len(x), result.steps, recipe.batch_size, *identity, "refit"))
    _restore(network, initial)
    torch.manual_seed(derive("dropout", *identity))
    train(network, stages, x, y, batches, recipe, result.learning_rate, start, stop=result.best_step)


def _on(device: torch.device, array: np.ndarray | None) -> Tensor | None:
    return None if array is None else torch.as_tensor(array, device=device)


class _Watch:
    """Looks at validation data at the checkpoints of one training and keeps the best state so far."""

    def __init__(
        self, network: Backbone, x: Tensor, y: Tensor, recipe: Recipe, steps: int, lr: float,
        best: tuple[float, float] | None,
    ):  # fmt: skip
        self.network, self.x, self.y, self.lr, self.best = network, x, y, lr, best
        self.marks = {round(steps * (i + 1) / recipe.checkpoints) for i in range(recipe.checkpoints)}
        self.first_choice = 1 if recipe.early_stopping else steps
        self.state: list[Tensor] | None = None
        self.step = 0
        self.curve: list[tuple[float, int, float, float, float]] = []
        self._cut: tuple[Stage | None, Tensor] = (None, x)
        self.diverged = False

    def __call__(self, done: int, stage: Stage, loss: Tensor) -> None:
        if done not in self.marks or self.diverged:
            return
        if self._cut[0] is not stage:
            self._cut = (stage, activations(self.network, self.x, stage.freeze))
        accuracy, val_loss = score(logits(self.network, self._cut[1], stage.freeze), self.y)
        loss = loss.item()
        if not (math.isfinite(val_loss) and math.isfinite(loss)):
            self.diverged = True
            return
        self.curve.append((self.lr, done, loss, val_loss, accuracy))
        if done >= self.first_choice and (self.best is None or (accuracy, -val_loss) > self.best):
            self.best, self.state, self.step = (accuracy, -val_loss), _snapshot(self.network), done


def _snapshot(network: Backbone) -> list[Tensor]:
    return [t.detach().clone() for t in network.state_dict(keep_vars=True).values()]


@torch.no_grad()
def _restore(network: Backbone, state: list[Tensor]) -> None:
    for tensor, value in zip(network.state_dict(keep_vars=True).values(), state, strict=True):
        tensor.copy_(value)
