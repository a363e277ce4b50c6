"""Training with weighted source examples: the objective of weighted source models and of joint training.

A network has two heads on its blocks then, one for the source's labels and one for the target's. In a source
model's training the source is the main task: its batches are weighted, and the target's examples (the meta
set) train their own head and nothing else. In joint training the target is the main task, and the source's
weighted loss is added to its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bench.backbones.base import Backbone
from bench.backbones.stack import Stack
from bench.errors import TrialError
from bench.registry import WEIGHTINGS
from bench.seeding import derive
from bench.suite.weightings import WeightingSpec
from bench.tasks.base import Task
from bench.training.data import Data
from bench.training.lanes import Lane, Layout, rows_of
from bench.training.loop import Batches
from bench.training.protocol import batch_order
from bench.weighting.base import Facts, Weighting
from bench.weighting.dual import dual_pass
from bench.weighting.kept import Trace, Weights


@dataclass(frozen=True, eq=False)
class Companion:
    """The other task of a lane, whose examples are seen beside the main one's.

    Attributes
    ----------
    data : Data
    examples : integer array, shape (n,)
        Which of its pool.
    y : Tensor of int64, shape (n,)
        Their labels, as the head through which they are seen numbers them.
    batch : int
        How many are seen each step (all where there are fewer).
    identity : tuple
        What their order is seeded by.
    """

    data: Data
    examples: np.ndarray
    y: Tensor
    batch: int
    identity: tuple[object, ...]


@dataclass(frozen=True, eq=False)
class SourceFacts:
    """What is known of a source's pool besides its inputs and labels: arrays of shape (N,)."""

    classes: int
    harmful: np.ndarray
    domains: np.ndarray

    @classmethod
    def of(cls, task: Task) -> SourceFacts:
        """Return what a task says."""
        domains = np.zeros(len(task.y), np.int64) if task.domains is None else task.domains
        return cls(len(task.classes), task.flags(), domains)


@dataclass(frozen=True, eq=False)
class Weigh:
    """How a lane's source examples are weighted.

    Attributes
    ----------
    spec : WeightingSpec
    source : SourceFacts
    companion : Companion or None
        The target's examples in a source model's training (None where the weighting sees no labels), the
        source's in joint training.
    joint : bool
    unlabelled : (Data, integer array), optional
        The target's examples, for a weighting that looks at its inputs.
    """

    spec: WeightingSpec
    source: SourceFacts
    companion: Companion | None = None
    joint: bool = False
    unlabelled: tuple[Data, np.ndarray] | None = None


def add_companion(network: Backbone, classes: int, seed: int) -> None:
    """Give a network a second head, for another task's labels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network.companion = nn.Linear(network.width, classes).to(network.head.weight.device)


def meta_set(
    spec: WeightingSpec, data: Data, labelled: np.ndarray, classes: Sequence[str], source_classes: Sequence[str],
    batch: int, identity: tuple[object, ...],
) -> Companion:  # fmt: skip
    """Return the target examples that a weighting learns from.

    Parameters
    ----------
    labelled : integer array
        The trial's training examples, every prefix nearly stratified.
    batch : int
        Seen each step, unless the weighting says how many.

    Raises
    ------
    TrialError
        When they, or a batch of them, are of one class.
    """
    count = round(spec.meta_share * len(labelled))
    batch = spec.arguments.get("meta_batch") or batch
    y = data.y[torch.as_tensor(labelled[:count], device=data.y.device)]
    if min(count, batch, len(y.unique())) < 2:
        what = f"{count} target examples of {len(y.unique())} classes, {min(batch, count)} a batch"
        raise TrialError(f'weighting "{spec.label}" learns from examples of two classes at least; there are {what}')
    if not spec.own_head:
        y = torch.tensor([source_classes.index(name) for name in classes], device=y.device)[y]
    return Companion(data, labelled[:count], y, batch, identity)


def objective(
    stack: Stack, lanes: Sequence[Lane], examples: Sequence[np.ndarray], batches: Tensor | None, steps: int,
    layout: Layout, purpose: tuple[str, ...] = (),
) -> Weighted | None:  # fmt: skip
    """Return the objective of lanes whose source examples are weighted; None where none are.

    Parameters
    ----------
    examples : sequence of integer arrays
        Which of each lane's pool are trained on.
    batches : Tensor of int64, shape (lanes, steps, batch), or None
        Which of those a step sees; None means all.
    purpose : tuple of str
        What other orders of the same examples it must differ from.
    """
    weigh = [lane.weigh for lane in lanes]
    if weigh[0] is None:
        return None
    stack.freeze(0)
    beside = [w.companion for w in weigh]
    look_up = order = None
    if beside[0] is not None:
        rows = rows_of([(c.data.x, c.examples) for c in beside], [c.y for c in beside], 0, layout, beside[0].data.head)
        order = _order(beside, steps, purpose, stack.device)
        look_up = Batches(stack, rows, order)
    seeds = [derive("weighting", *lane.identity) for lane in lanes]
    if weigh[0].joint:
        source = [(c.data, c.examples) for c in beside]
        return Weighted(stack, weigh, source, order, look_up, seeds, steps)
    source = [(lane.data, part) for lane, part in zip(lanes, examples, strict=True)]
    return Weighted(stack, weigh, source, batches, look_up, seeds, steps)


def _order(beside: Sequence[Companion], steps: int, purpose: tuple[str, ...], device: torch.device) -> Tensor | None:
    n, batch = len(beside[0].examples), beside[0].batch
    if n <= batch:
        return None
    orders = [batch_order(n, steps, batch, *c.identity, "companion", *purpose) for c in beside]
    return torch.as_tensor(np.stack(orders), device=device)


class Weighted:
    """The objective of a stack whose lanes' source examples are weighted.

    Parameters
    ----------
    stack : Stack
    weigh : sequence of Weigh, one a lane
    source : sequence of (Data, integer array), one a lane
        The source and which of its pool are trained on.
    order : Tensor of int64, shape (lanes, steps, batch), or None
        Which of those a step sees; None means all.
    companion : Batches or None
        The other task's.
    seeds : sequence of int, one a lane
    steps : int
        Of the training.
    """

    def __init__(
        self, stack: Stack, weigh: Sequence[Weigh], source: Sequence[tuple[Data, np.ndarray]], order: Tensor | None,
        companion: Batches | None, seeds: Sequence[int], steps: int,
    ):  # fmt: skip
        self.stack, self.companion, self.order = stack, companion, order
        self.joint, spec = weigh[0].joint, weigh[0].spec
        self._weigh, self._source = weigh, source
        n = len(source[0][1])
        self._everything = torch.arange(n, device=stack.device).expand(stack.lanes, -1)
        facts = _facts(
            weigh, source, seeds, steps, n if order is None else order.shape[2], next(stack.network.parameters())
        )
        self.weighting: Weighting = WEIGHTINGS.get(spec.name).function(facts, **spec.arguments)
        self._trace = Trace(stack.lanes, n, steps, stack.device)
        network = stack.network
        self.own_head = network.companion is not None and not self.joint
        blocks = [p for block in network.block_list() for p in block.parameters() if p.requires_grad]
        self.parameters = blocks if self.own_head or self.joint else [*blocks, *network.head.parameters()]
        # What the target's loss depends on and the source's does not.
        apart = network.companion if self.own_head else network.head if self.joint else None
        self.apart = list(apart.parameters()) if apart is not None else []
        self.buffers = list(network.buffers())

    def __call__(self, look_up: Batches, number: int, depth: int, rates: Tensor) -> Tensor:
        """Return what each lane minimises, shape (lanes,)."""
        step = _Step(self, look_up, number, rates)
        losses, weights = self.weighting(step)
        self._trace.add(number, step.positions(), weights, losses)
        total = (weights * losses).sum(1)
        return total + (step.target_loss() if self.joint else step.head_term())

    def positions(self, number: int) -> Tensor:
        """Return which source examples a step sees, shape (lanes, batch)."""
        return self._everything if self.order is None else self.order[:, number]

    def weights(self, lane: int) -> Weights:
        """Return what a lane's weights were."""
        (data, examples), known = self._source[lane], self._weigh[lane].source
        labels, fallbacks = data.y.cpu().numpy()[examples], int(self.weighting.fallbacks[lane])
        kept = self._trace.of(lane)
        return Weights(examples, **kept, harmful=known.harmful[examples], labels=labels, fallbacks=fallbacks)


class _Step:
    """One step, as a weighting sees it (:class:`bench.weighting.base.Step`)."""

    def __init__(self, run: Weighted, main: Batches, number: int, rates: Tensor):
        self.run, self.number, self.rates = run, number, rates
        self.network, self.parameters = run.stack.network, run.parameters
        self._source, self._target = (run.companion, main) if run.joint else (main, run.companion)
        self._apart: Sequence[Tensor] | None = None

    def positions(self, ahead: int = 0) -> Tensor:
        """Return which training examples a batch holds."""
        return self.run.positions(self.number + ahead)

    def losses(self, network: nn.Module | None = None, ahead: int = 0) -> Tensor:
        """Return the source examples' losses."""
        x, y = self._source(self.number + ahead, 0)
        with self._settled(network is None and self.run.joint):
            outputs = self.run.stack.logits(x, companion=self.run.joint, network=network)
            return self._source.rows.head.losses(outputs, y)

    def losses_along(self, direction: Sequence[Tensor], again: bool = False) -> tuple[Tensor, Tensor]:
        """Return the source examples' losses and their derivative along a direction."""
        with self._settled(again), torch.set_grad_enabled(not again):
            return dual_pass(self.network, zip(self.parameters, direction, strict=True), self.losses)

    def meta_loss(self, network: nn.Module | None = None) -> Tensor:
        """Return the target examples' mean losses, summed over lanes."""
        loss = self._target_losses(network).sum()
        if network is not None and self.run.own_head:
            names = [name for name, _ in self.run.stack.network.companion.named_parameters()]
            apart = [getattr(network.companion, name) for name in names]
            self._apart = torch.autograd.grad(loss, apart, retain_graph=True)
        return loss

    def _target_losses(self, network: nn.Module | None = None, moving: bool = False) -> Tensor:
        if self._target is None:
            raise TrialError("this weighting learns from target labels, and there are none")
        x, y = self._target(self.number, 0)
        with self._settled(network is None and not moving):
            logits = self.run.stack.logits(x, companion=self.run.own_head, network=network)
            return self._target.rows.head.losses(logits, y).mean(1)

    def meta_gradient(self) -> list[Tensor]:
        """Return the gradient of the target's loss at the parameters as they are."""
        found = torch.autograd.grad(self._target_losses().sum(), [*self.parameters, *self.run.apart])
        self._apart = found[len(self.parameters) :]
        return list(found[: len(self.parameters)])

    @contextmanager
    def moved(self, gradients: Sequence[Tensor]) -> Iterator[None]:
        """Take a plain gradient step, and take it back."""
        # By `data`: the graph of the source's losses holds these tensors, and finds them as they were.
        values = [p.data for p in self.parameters]
        before = [value.clone() for value in values]
        with torch.no_grad():
            for value, gradient in zip(values, gradients, strict=True):
                rates = self.rates.to(value)
                value.sub_(gradient * (rates if len(rates) == 1 else rates.view(-1, *(1,) * (value.ndim - 1))))
        try:
            yield
        finally:
            torch._foreach_copy_(values, before)

    def target_loss(self) -> Tensor:
        """Return the target's loss for joint training, shape (lanes,); it moves running statistics."""
        return self._target_losses(moving=True)

    def head_term(self) -> Tensor | float:
        """Return zeros whose gradient is that of the target's loss, for the head of its own alone."""
        if not self.run.own_head:
            return 0.0
        if self._apart is None:
            self._apart = torch.autograd.grad(self._target_losses().sum(), self.run.apart)
        term = sum((p * g).sum() for p, g in zip(self.run.apart, self._apart, strict=True))
        # The sum over lanes is what is differentiated; each lane carries its share of the zero.
        return (term - term.detach()) / self.run.stack.lanes

    @contextmanager
    def _settled(self, restore: bool) -> Iterator[None]:
        """Leave running statistics as they were, where the main task's pass alone should move them."""
        # By `data`: a graph that is still needed holds them, and in training mode does not read them.
        buffers = [buffer.data for buffer in self.run.buffers] if restore else []
        before = [buffer.clone() for buffer in buffers]
        yield
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)


def _facts(
    weigh: Sequence[Weigh], source: Sequence[tuple[Data, np.ndarray]], seeds: Sequence[int], steps: int, batch: int,
    like: Tensor,
) -> Facts:  # fmt: skip
    def flat(data: Data, examples: np.ndarray) -> np.ndarray:
        return data.x.take(torch.as_tensor(examples, device=data.y.device)).flatten(1).cpu().numpy()

    def target(lane: int) -> np.ndarray:
        if weigh[lane].unlabelled is None:
            raise TrialError("this weighting looks at the target's inputs, and there are none")
        return flat(*weigh[lane].unlabelled)

    def gathered(values: list[np.ndarray]) -> Tensor:
        return torch.as_tensor(np.stack(values), device=like.device)

    examples = [part for _, part in source]
    return Facts(
        dtype=like.dtype,
        y=gathered([data.y.cpu().numpy()[part] for data, part in source]),
        classes=weigh[0].source.classes,
        harmful=gathered([w.source.harmful[part] for w, part in zip(weigh, examples, strict=True)]),
        domains=gathered([w.source.domains[part] for w, part in zip(weigh, examples, strict=True)]),
        steps=steps,
        batch=batch,
        seeds=seeds,
        inputs=lambda lane: flat(*source[lane]),
        target_inputs=target,
    )
