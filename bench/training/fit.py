"""Fit models by the protocol: every rate of the grid, the best on validation."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bench.backbones.base import Backbone
from bench.backbones.stack import Stack, values
from bench.errors import TrialError
from bench.heads.base import SINGLE_LABEL
from bench.identity import derive
from bench.suite.model import Recipe
from bench.suite.solved import Probe
from bench.training.augment import Augment
from bench.training.collapse import Losses, constant_loss
from bench.training.judge import Judge, Look
from bench.training.lanes import Lane, Layout, padded, rows_of, stacked
from bench.training.loop import Rows, Stage, outputs, train
from bench.training.probe import solve_heads, solve_start
from bench.training.protocol import batch_order
from bench.training.step import Course
from bench.triangle import Phase
from bench.weighting.kept import Weights


@dataclass
class Fitted:
    """The outcome of a fit.

    Attributes
    ----------
    learning_rate : float or None
        The chosen one; None where nothing is trained, or a solved head alone.
    steps, best_step : int
        Of the optimiser in all, and those after which the model that is kept stood; 0 where a head was solved.
    train_loss : float or None
        Of the last batch before the model that is kept, nats.
    constant_loss : float or None
        What a constant prediction would have, nats.
    rates, collapsed : tuple of float
        The rates that were tried, and those of them at which training collapsed or diverged.
    val_score : float or None
        By the primary metric, of the model that is kept.
    curve : list of (learning rate, step, train loss, validation loss, validation score)
        Of every rate tried, at every checkpoint; of a solved head (strength, evaluations of the objective, ...).
    head_strength, head_gradient : float or None
        Of a solved head: the strength of its penalty, and the norm of the objective's gradient, relative to that
        at the best constant prediction.
    strengths : tuple of float
        Those that were tried.
    cut : {"cached", "recomputed"} or None
        Whether what frozen blocks compute was computed once or each step; None where none was frozen.
    weights : Weights, optional
        Of source examples, where they were weighted.
    error : TrialError, optional
        Why there is no model.
    """

    val_score: float | None = None
    val_accuracy: float | None = None
    val_loss: float | None = None
    learning_rate: float | None = None
    best_step: int = 0
    steps: int = 0
    train_loss: float | None = None
    constant_loss: float | None = None
    rates: tuple[float, ...] = ()
    collapsed: tuple[float, ...] = ()
    curve: list[tuple[float, int, float, float, float]] = field(default_factory=list)
    head_strength: float | None = None
    head_gradient: float | None = None
    strengths: tuple[float, ...] = ()
    cut: str | None = None
    weights: Weights | None = None
    error: TrialError | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A look at validation data."""

    look: Look
    rate: float
    step: int
    train_loss: float

    def beats(self, other: Checkpoint | None) -> bool:
        """Whether this model is to be preferred, in whatever order the two were looked at."""
        return other is None or self._rank > other._rank

    @property
    def _rank(self) -> tuple[float, ...]:
        # Where the metric is undefined on these data it is so for every model of them, and the loss decides.
        score, loss = (0.0 if math.isnan(value) else value for value in (self.look.score, self.look.loss))
        return (score, -loss, -self.rate, -self.step)


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


def fit(
    lanes: Sequence[Lane],
    path: Sequence[Phase],
    recipe: Recipe,
    layout: Layout | None = None,
    budget: float = 1.0,
    judge: Judge | None = None,
    probe: Probe = Probe(),  # noqa: B008
) -> list[Fitted]:
    """Train each lane's network with each learning rate; leave it in the best state on validation.

    The best has the highest validation score by the primary metric, then the lowest validation loss, then the
    smaller rate and the earlier step. Test data are not touched.

    Parameters
    ----------
    lanes : sequence of Lane
        With networks of one shape.
    path : sequence of Phase
    layout : Layout, optional
        One lane after the other by default.
    budget : float
        Steps relative to the recipe's.
    judge : Judge, optional
        By the accuracy of single labels by default.
    probe : Probe
        Which phases are solved, and not stepped; the others share the steps out.

    Returns
    -------
    list of Fitted, one a lane
        With an error where every rate of the grid diverged.

    Raises
    ------
    TrialError
        When the path has more phases than steps.
    """
    layout = layout or Layout()
    stages = plan_stages(path[probe.phases :], max(1, round(recipe.steps * budget)))
    stack, judge = Stack(lanes[0].network, layout.lanes), judge or Judge.of()
    results: dict[int, Fitted] = {}
    for alike in _alike(lanes):
        part = [lanes[i] for i in alike]
        if stages:
            found = _fit_alike(stack, part, stages, recipe, layout, judge, probe)
        else:
            found = [Fitted(constant_loss=constant_loss(lane)) for lane in part]
            solve_heads(part, found, probe.strengths, layout, judge, recipe.refit)
        for lane in part:
            _in_own_units(lane)
        results |= dict(zip(alike, found, strict=True))
    return [results[i] for i in range(len(lanes))]


def _alike(lanes: Sequence[Lane]) -> list[list[int]]:
    """Group lanes with as many training and validation examples: the others' tensors have other shapes."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index, lane in enumerate(lanes):
        groups.setdefault((len(lane.split.train), len(lane.split.validation)), []).append(index)
    return list(groups.values())


def _fit_alike(
    stack: Stack, lanes: list[Lane], stages: list[Stage], recipe: Recipe, layout: Layout, judge: Judge, probe: Probe
) -> list[Fitted]:
    initial = _start(lanes, probe, layout)
    best: list[Checkpoint | None] = [None] * len(lanes)
    rates, steps = sorted(recipe.learning_rates), sum(stage.steps for stage in stages)
    strength = probe.strengths[0] if probe.phases else None
    results = [
        Fitted(steps=steps, rates=tuple(rates), constant_loss=constant_loss(lane), head_strength=strength)
        for lane in lanes
    ]
    jobs = [
        (lane.place * len(rates) + number, (i, rate))
        for number, rate in enumerate(rates)
        for i, lane in enumerate(lanes)
    ]
    for placed in stacked(jobs, layout.lanes):
        part = padded(placed)
        run = _Training(stack, [lanes[i] for i, _ in part], [rate for _, rate in part], stages, recipe, layout)
        watch = _Validate(run, recipe, judge)
        run([initial[i] for i, _ in part], watch)
        for lane, job in enumerate(placed):
            if job is None:
                continue
            i, rate = job
            results[i].curve += watch.curves[lane]
            if watch.collapsed(lane, results[i].constant_loss):
                results[i].collapsed += (rate,)
            results[i].cut = run.cut
            look = watch.best[lane]
            if look is not None and look.beats(best[i]):
                best[i] = look
                watch.hand_over(lane, lanes[i].network)
                results[i].weights = run.weights(lane)
    for result, look in zip(results, best, strict=True):
        result.curve.sort(key=lambda point: point[:2])
        result.collapsed = tuple(sorted(result.collapsed))
        if look is None:
            rates = ", ".join(f"{lr:g}" for lr in recipe.learning_rates)
            what = f"training diverged at every learning rate tried ({rates})"
            result.error = TrialError(f"{what}; use smaller ones, warmup or clip_norm")
        else:
            result.val_score, result.val_loss = look.look.score, look.look.loss
            result.val_accuracy = None if math.isnan(look.look.accuracy) else look.look.accuracy
            result.learning_rate, result.best_step = look.rate, look.step
            result.train_loss = look.train_loss
    if recipe.refit:
        if probe.phases:
            for lane, state in zip(lanes, initial, strict=True):
                for tensor, value in zip(values(lane.network), state, strict=True):
                    tensor.copy_(value)
            initial = _start(lanes, probe, layout, everything=True)
        _refit(stack, lanes, initial, results, stages, recipe, layout)
    return results


def _start(lanes: list[Lane], probe: Probe, layout: Layout, everything: bool = False) -> list[list[Tensor]]:
    """Return the values that each lane's first stepped phase starts from, its head solved where a probe says so."""
    if probe.phases:
        solve_start(lanes, probe.strengths * len(lanes), layout, everything)
    return [[tensor.clone() for tensor in values(lane.network)] for lane in lanes]


@torch.no_grad()
def _in_own_units(lane: Lane) -> None:
    """Let a head that was trained on scaled targets give the targets' own units."""
    if lane.scale is not None:
        offset, unit = (part.to(lane.network.head.bias) for part in lane.scale)
        lane.network.head.weight.mul_(unit.unsqueeze(1))
        lane.network.head.bias.mul_(unit).add_(offset)


def _refit(
    stack: Stack, lanes: list[Lane], initial: list[list[Tensor]], results: list[Fitted], stages: list[Stage],
    recipe: Recipe, layout: Layout,
) -> None:  # fmt: skip
    """Train once more on training and validation examples with what was chosen."""
    chosen = [(lanes[i].place, i) for i, result in enumerate(results) if result.error is None]
    for placed in stacked(chosen, layout.lanes):
        part = padded(placed)
        rates = [results[i].learning_rate for i in part]
        run = _Training(stack, [lanes[i] for i in part], rates, stages, recipe, layout, refit=True)
        watch = _StopAt(run, [results[i].best_step for i in part])
        run([initial[i] for i in part], watch)
        for lane, i in enumerate(placed):
            if i is not None:
                watch.hand_over(lane, lanes[i].network)
                results[i].weights = run.weights(lane)


class _Training:
    """One stack of lanes, each with its examples and learning rate, trained once."""

    def __init__(
        self, stack: Stack, lanes: list[Lane], rates: list[float], stages: list[Stage], recipe: Recipe, layout: Layout,
        refit: bool = False,
    ):  # fmt: skip
        self.stack, self.lanes, self.stages, self.recipe, self.layout = stack, lanes, stages, recipe, layout
        self.rates = rates
        self.steps = sum(stage.steps for stage in stages)
        self.examples = [
            np.concatenate([lane.split.train, lane.split.validation]) if refit else lane.split.train for lane in lanes
        ]
        self.purpose = ("refit",) if refit else ()
        # By the stage's number: whether its cut is looked up.
        self._cached = {n: self._is_cached(n) for n, stage in enumerate(stages) if stage.freeze}
        self.course: Course | None = None

    @property
    def cut(self) -> str | None:
        """Whether activations at the cuts are computed once or each step; None where nothing is frozen."""
        if not self._cached:
            return None
        return "cached" if all(self._cached.values()) else "recomputed"

    def _is_cached(self, number: int) -> bool:
        """Whether the frozen blocks of a stage are the source model's still, and their inputs stay as they are."""
        untouched = min(stage.freeze for stage in self.stages[: number + 1])
        known = all(lane.frozen for lane in self.lanes)
        return known and not self.recipe.augment and self.stages[number].freeze <= untouched

    def rows(self, number: int, examples: list[np.ndarray]) -> Rows:
        """Return pool examples at the cut of a stage, or at the input where frozen blocks must be run anew."""
        depth = self.stages[number].freeze if self._cached.get(number) else 0
        found = [lane.at(depth, part) for lane, part in zip(self.lanes, examples, strict=True)]
        y = [lane.targets(part) for lane, part in zip(self.lanes, examples, strict=True)]
        return rows_of(found, y, depth, self.layout, self.lanes[0].data.head)

    def __call__(self, initial: list[list[Tensor]], watch: _Keeper) -> None:
        """Train from the given values."""
        self.stack.load(initial)
        self.stack.seed([derive("dropout", *lane.identity) for lane in self.lanes])
        augment = None
        if self.recipe.augment:
            augment = Augment(self.recipe.augment, [derive("augment", *lane.identity) for lane in self.lanes])
        batches = self._batches()
        self.course = Course(
            self.stack,
            self.lanes,
            self.lanes[0].how,
            self.examples,
            batches,
            self.steps,
            self.layout,
            initial,
            self.purpose,
        )
        train(
            self.stack,
            self.stages,
            lambda number: self.rows(number, self.examples),
            batches,
            self.recipe,
            torch.tensor(self.rates, dtype=torch.float64),
            [lane.start for lane in self.lanes],
            watch,
            augment,
            self.course,
            self.course.method.rate,
        )

    def weights(self, lane: int) -> Weights | None:
        """Return what a lane's source examples weighed."""
        return None if self.course.weighted is None else self.course.weighted.weights(lane)

    def _batches(self) -> Tensor | None:
        """Return which examples each step sees, shape (lanes, steps, batch), or None for all of them."""
        n = len(self.examples[0])
        if n <= self.recipe.batch_size:
            return None
        orders = {
            identity: batch_order(n, self.steps, self.recipe.batch_size, *identity, *self.purpose)
            for identity in {lane.identity for lane in self.lanes}
        }
        return torch.as_tensor(np.stack([orders[lane.identity] for lane in self.lanes]), device=self.stack.device)


class _Keeper(ABC):
    """Keeps one state of each lane."""

    def __init__(self, run: _Training):
        self.run, self.stack = run, run.stack
        self.kept = [torch.empty_like(tensor) for tensor in run.stack.state()]

    @abstractmethod
    def __call__(self, done: int, number: int, losses: Tensor) -> bool:
        """Look at a step of the stage `number`; return whether this was enough."""

    @contextmanager
    def finished(self) -> Iterator[None]:
        """Let the method change the values, as where a training ends; they are what they were afterwards."""
        if not self.run.course.finishes:
            yield
            return
        now = self.stack.state()
        before = [tensor.clone() for tensor in now]
        self.run.course.finish()
        yield
        torch._foreach_copy_(now, before)

    def keep(self, lanes: list[int]) -> None:
        """Keep the given lanes as they are now."""
        now = self.stack.state()
        if len(lanes) == self.stack.lanes:
            torch._foreach_copy_(self.kept, now)
            return
        for kept, tensor in zip(self.kept, now, strict=True):
            for lane in lanes:
                kept[lane].copy_(tensor[lane])

    @torch.no_grad()
    def hand_over(self, lane: int, network: Backbone) -> None:
        """Give a network the values that were kept of a lane."""
        for tensor, kept in zip(values(network), self.kept, strict=True):
            tensor.copy_(kept[lane])


class _StopAt(_Keeper):
    """Keeps each lane after a given number of steps."""

    def __init__(self, run: _Training, steps: list[int]):
        super().__init__(run)
        self.steps = steps

    def __call__(self, done: int, number: int, losses: Tensor) -> bool:
        if lanes := [lane for lane, step in enumerate(self.steps) if step == done]:
            with self.finished():
                self.keep(lanes)
        return done >= max(self.steps)


class _Validate(_Keeper):
    """Looks at validation data at the checkpoints and keeps each lane at its best."""

    def __init__(self, run: _Training, recipe: Recipe, judge: Judge):
        super().__init__(run)
        self.judge = judge
        number = len(run.lanes)
        self.marks = {round(run.steps * (i + 1) / recipe.checkpoints) for i in range(recipe.checkpoints)}
        self.first_choice = 1 if recipe.early_stopping else run.steps
        self.best: list[Checkpoint | None] = [None] * number
        self.curves: list[list[tuple[float, int, float, float, float]]] = [[] for _ in range(number)]
        self._last: list[Look | None] = [None] * number
        self._diverged = [False] * number
        self._losses = Losses()
        self._rows: tuple[int | None, Rows | None] = (None, None)

    def __call__(self, done: int, number: int, losses: Tensor) -> bool:
        self._losses.add(losses)
        if done not in self.marks:
            return False
        if self._rows[0] != number:
            self._rows = (number, self.run.rows(number, [lane.split.validation for lane in self.run.lanes]))
        with self.finished():
            self._look(done, number, losses)
        return all(self._diverged)

    def _look(self, done: int, number: int, losses: Tensor) -> None:
        looks, better = self._looks(number), []
        for lane, (rate, loss, look) in enumerate(zip(self.run.rates, losses.tolist(), looks, strict=True)):
            if self._diverged[lane] or not (math.isfinite(loss) and self.judge.is_sound(look)):
                self._diverged[lane] = True
                continue
            self._last[lane] = look
            self.curves[lane].append((rate, done, loss, look.loss, look.score))
            found = Checkpoint(look, rate, done, loss)
            if done >= self.first_choice and found.beats(self.best[lane]):
                self.best[lane] = found
                better.append(lane)
        self.keep(better)

    def _looks(self, number: int) -> list[Look]:
        """Judge the lanes as they are now."""
        rows, lanes = self._rows[1], self.run.lanes
        if not self.judge.head.metric:
            losses = self.run.course.validate(rows, self.run.stages[number].freeze)
            return [Look(math.nan, loss, math.nan) for loss in losses]
        found, targets = _each(Lane.unscaled, lanes, outputs(self.stack, rows)), _each(Lane.unscaled, lanes, rows.y)
        return self.judge.look(found, targets, lanes)

    def collapsed(self, lane: int, constant: float) -> bool:
        """Whether a lane's training came to no more than a constant prediction of that training loss."""
        if self._diverged[lane]:
            return True
        rows, last = self._rows[1], self._last[lane]
        labels = rows.y[lane] if rows.head.kind == SINGLE_LABEL else None
        return self._losses.collapsed(lane, self.curves[lane], constant, labels, last.accuracy)


def _each(change: Callable[[Lane, Tensor], Tensor], lanes: Sequence[Lane], values: Tensor) -> Tensor:
    """Change each lane's part, where targets have a unit."""
    if lanes[0].scale is None:
        return values
    return torch.stack([change(lane, part) for lane, part in zip(lanes, values, strict=True)])
