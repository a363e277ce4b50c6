"""Weighted source examples: the loss of a source model's batches, or of those that a method sees beside.

While a source model is trained, the source is the main task: its batches are weighted, and the target's
examples (the meta set) train a head of their own and nothing else. Where a method sees source examples beside
the target's, theirs is the loss that is weighted.
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
from bench.heads.base import SINGLE_LABEL, Head
from bench.identity import derive
from bench.registry import WEIGHTINGS
from bench.suite.weightings import WeightingSpec
from bench.tasks.base import Task
from bench.training.data import Data
from bench.training.lanes import Lane, Layout, Stream, beside_batches, source_head, stream_of
from bench.training.loop import Batches
from bench.weighting.base import Facts, Weighting
from bench.weighting.dual import dual_pass
from bench.weighting.kept import Trace, Weights

TARGET_HEAD = "target"  # beside a source model's, for the examples that a weighting learns from


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
    meta : Stream or None
        The target's examples in a source model's training; None where the weighting sees no labels.
    beside : bool
        Whether the source is not the main task: it is the lane's first stream of sources.
    unlabelled : (Data, integer array), optional
        The target's examples, for a weighting that looks at its inputs.
    """

    spec: WeightingSpec
    source: SourceFacts
    meta: Stream | None = None
    beside: bool = False
    unlabelled: tuple[Data, np.ndarray] | None = None


def add_head(network: Backbone, name: str, head: Head, classes: Sequence[str], seed: int) -> None:
    """Give a network a head beside its own, for another task's targets."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network.beside[name] = head.module(network.width, classes).to(next(network.parameters()).device)


def meta_set(
    spec: WeightingSpec, data: Data, labelled: np.ndarray, classes: Sequence[str], source_classes: Sequence[str],
    batch: int, identity: tuple[object, ...],
) -> Stream:  # fmt: skip
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
    if spec.own_head:
        return stream_of(data, labelled[:count], batch, identity)
    y = torch.tensor([source_classes.index(name) for name in classes], device=y.device)[y]
    return Stream(data, labelled[:count], y, batch, identity)


def weighted_by(
    stack: Stack, lanes: Sequence[Lane], examples: Sequence[np.ndarray], order: Tensor | None,
    beside: Sequence[Batches], steps: int, layout: Layout, purpose: tuple[str, ...] = (),
) -> Weighted | None:  # fmt: skip
    """Return what weights the source examples of lanes; None where nothing does.

    Parameters
    ----------
    examples : sequence of integer arrays
        Which of each lane's pool are trained on.
    order : Tensor of int64, shape (lanes, steps, batch), or None
        Which of those a step sees; None means all.
    beside : sequence of Batches
        Those of the sources that are seen beside.
    purpose : tuple of str
        What other orders of the same examples it must differ from.
    """
    weigh = [lane.weigh for lane in lanes]
    if weigh[0] is None:
        return None
    stack.freeze(0)
    seeds = [derive("weighting", *lane.identity) for lane in lanes]
    if weigh[0].beside:
        source = [(lane.sources[0].data, lane.sources[0].examples) for lane in lanes]
        return Weighted(stack, weigh, source, beside[0].order, None, seeds, steps)
    meta = None
    if weigh[0].meta is not None:
        meta = beside_batches(stack, [w.meta for w in weigh], steps, layout, purpose)
    source = [(lane.data, part) for lane, part in zip(lanes, examples, strict=True)]
    return Weighted(stack, weigh, source, order, meta, seeds, steps)


class Weighted:
    """The loss of source examples that are weighted.

    Parameters
    ----------
    stack : Stack
    weigh : sequence of Weigh, one a lane
    source : sequence of (Data, integer array), one a lane
        The source and which of its pool are trained on.
    order : Tensor of int64, shape (lanes, steps, batch), or None
        Which of those a step sees; None means all.
    meta : Batches or None
        Of the target, where the source is the main task.
    seeds : sequence of int, one a lane
    steps : int
        Of the training.
    """

    def __init__(
        self, stack: Stack, weigh: Sequence[Weigh], source: Sequence[tuple[Data, np.ndarray]], order: Tensor | None,
        meta: Batches | None, seeds: Sequence[int], steps: int,
    ):  # fmt: skip
        self.stack, self.meta, self.order = stack, meta, order
        self.beside, spec = weigh[0].beside, weigh[0].spec
        self._weigh, self._source = weigh, source
        n = len(source[0][1])
        self._everything = torch.arange(n, device=stack.device).expand(stack.lanes, -1)
        facts = _facts(
            weigh, source, seeds, steps, n if order is None else order.shape[2], next(stack.network.parameters())
        )
        self.weighting: Weighting = WEIGHTINGS.get(spec.name).function(facts, **spec.arguments)
        self._trace = Trace(stack.lanes, n, steps, stack.device)
        network = stack.network
        self.own_head = TARGET_HEAD in network.beside
        blocks = [p for block in network.block_list() for p in block.parameters() if p.requires_grad]
        self.parameters = blocks if self.own_head or self.beside else [*blocks, *network.head.parameters()]
        # What the target's loss depends on and the source's does not.
        apart = network.beside[TARGET_HEAD] if self.own_head else network.head if self.beside else None
        self.apart = list(apart.parameters()) if apart is not None else []

    def __call__(self, looks: Sequence[Batches], number: int, rates: Tensor) -> Tensor:
        """Return each lane's weighted loss, shape (lanes,).

        Parameters
        ----------
        looks : sequence of Batches
            The main task's, then those of the sources that are seen beside.
        """
        step = _Step(self, looks, number, rates)
        losses, weights = self.weighting(step)
        self._trace.add(number, step.positions(), weights, losses)
        total = (weights * losses).sum(1)
        return total if self.beside else total + step.head_term()

    def positions(self, number: int) -> Tensor:
        """Return which source examples a step sees, shape (lanes, batch)."""
        return self._everything if self.order is None else self.order[:, number]

    def weights(self, lane: int) -> Weights:
        """Return what a lane's weights were."""
        (data, examples), known = self._source[lane], self._weigh[lane].source
        labels, fallbacks = _classes_of(data)[examples], int(self.weighting.fallbacks[lane])
        kept = self._trace.of(lane)
        return Weights(examples, **kept, harmful=known.harmful[examples], labels=labels, fallbacks=fallbacks)


class _Step:
    """One step, as a weighting sees it (:class:`bench.weighting.base.Step`)."""

    def __init__(self, run: Weighted, looks: Sequence[Batches], number: int, rates: Tensor):
        self.run, self.number, self.rates = run, number, rates
        self.network, self.parameters = run.stack.network, run.parameters
        self._source, self._target = (looks[1], looks[0]) if run.beside else (looks[0], run.meta)
        self._heads = (source_head(0), None) if run.beside else (None, TARGET_HEAD if run.own_head else None)
        self._apart: Sequence[Tensor] | None = None

    def positions(self, ahead: int = 0) -> Tensor:
        """Return which training examples a batch holds."""
        return self.run.positions(self.number + ahead)

    def losses(self, network: nn.Module | None = None, ahead: int = 0) -> Tensor:
        """Return the source examples' losses."""
        x, y = self._source(self.number + ahead, 0)
        with self.run.stack.settled(network is None and self.run.beside):
            outputs = self.run.stack.outputs(x, head=self._heads[0], network=network)
            return self._source.rows.head.losses(outputs, y)

    def losses_along(self, direction: Sequence[Tensor], again: bool = False) -> tuple[Tensor, Tensor]:
        """Return the source examples' losses and their derivative along a direction."""
        with self.run.stack.settled(again), torch.set_grad_enabled(not again):
            return dual_pass(self.network, zip(self.parameters, direction, strict=True), self.losses)

    def meta_loss(self, network: nn.Module | None = None) -> Tensor:
        """Return the target examples' mean losses, summed over lanes."""
        loss = self._target_losses(network).sum()
        if network is not None and self.run.own_head:
            names = [name for name, _ in self.run.stack.network.beside[TARGET_HEAD].named_parameters()]
            apart = [getattr(network.beside[TARGET_HEAD], name) for name in names]
            self._apart = torch.autograd.grad(loss, apart, retain_graph=True)
        return loss

    def _target_losses(self, network: nn.Module | None = None) -> Tensor:
        if self._target is None:
            raise TrialError("this weighting learns from target labels, and there are none")
        x, y = self._target(self.number, 0)
        with self.run.stack.settled(network is None):
            outputs = self.run.stack.outputs(x, head=self._heads[1], network=network)
            return self._target.rows.head.losses(outputs, y).mean(1)

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

    def head_term(self) -> Tensor | float:
        """Return zeros whose gradient is that of the target's loss, for the head of its own alone."""
        if not self.run.own_head:
            return 0.0
        if self._apart is None:
            self._apart = torch.autograd.grad(self._target_losses().sum(), self.run.apart)
        term = sum((p * g).sum() for p, g in zip(self.run.apart, self._apart, strict=True))
        # The sum over lanes is what is differentiated; each lane carries its share of the zero.
        return (term - term.detach()) / self.run.stack.lanes


def _classes_of(data: Data) -> np.ndarray:
    """Return the class of each example, shape (N,); zeros where a task has none."""
    return data.y.cpu().numpy() if data.head.kind == SINGLE_LABEL else np.zeros(len(data.y), np.int64)


def _facts(
    weigh: Sequence[Weigh], source: Sequence[tuple[Data, np.ndarray]], seeds: Sequence[int], steps: int, batch: int,
    like: Tensor,
) -> Facts:  # fmt: skip
    def flat(data: Data, examples: np.ndarray) -> np.ndarray:
        x = data.x.take(torch.as_tensor(examples, device=data.y.device))
        if not isinstance(x, Tensor):
            raise TrialError(f"this weighting looks at inputs in one tensor; these are a mapping of {', '.join(x)}")
        return x.flatten(1).cpu().numpy()

    def target(lane: int) -> np.ndarray:
        if weigh[lane].unlabelled is None:
            raise TrialError("this weighting looks at the target's inputs, and there are none")
        return flat(*weigh[lane].unlabelled)

    def gathered(values: list[np.ndarray]) -> Tensor:
        return torch.as_tensor(np.stack(values), device=like.device)

    examples = [part for _, part in source]
    return Facts(
        dtype=like.dtype,
        y=gathered([_classes_of(data)[part] for data, part in source]),
        classes=weigh[0].source.classes,
        harmful=gathered([w.source.harmful[part] for w, part in zip(weigh, examples, strict=True)]),
        domains=gathered([w.source.domains[part] for w, part in zip(weigh, examples, strict=True)]),
        steps=steps,
        batch=batch,
        seeds=seeds,
        inputs=lambda lane: flat(*source[lane]),
        target_inputs=target,
    )
