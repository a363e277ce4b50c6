"""What every weighting of source examples must keep, a user's own included: the checks behind ``ntbench check``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.backbones.base import build
from bench.backbones.stack import Stack, values
from bench.errors import BenchError
from bench.identity import generator
from bench.registry import Entry
from bench.suite.weightings import WeightingSpec
from bench.training.data import Data
from bench.training.inputs import Held
from bench.training.lanes import Lane, Layout, rows_of
from bench.training.loop import Batches
from bench.training.protocol import Split
from bench.training.weighted import TARGET_HEAD, SourceFacts, Weigh, add_head, meta_set, weighted_by
from bench.weighting.base import Step

LANES, N, BATCH, META, STEPS, RATE = 2, 40, 16, 12, 4, 0.05
CLASSES = ("a", "b", "c")
SHAPE = (1, 6, 6)


def check_weighting(entry: Entry, arguments: Mapping[str, Any] | None = None) -> list[str]:
    """Run the contract on a weighting.

    In the training of two small networks with batch norm side by side, each step gives a loss with a graph
    and a weight without one for every example; weights are finite and at least 0 and those of a lane
    add up to 1; the network's parameters and running statistics are as they were; the same training gives
    the same weights, and what one lane sees does not change another's.

    Parameters
    ----------
    entry : Entry
    arguments : mapping, optional
        The weighting's own; its defaults without them.

    Returns
    -------
    list of str
        What is wrong, a sentence each; empty when all is well.
    """
    arguments = dict(arguments or {})
    problems = entry.problems(arguments)
    if problems:
        return problems
    meta = entry.meta
    spec = WeightingSpec(
        entry.name, entry.name, arguments, entry.version, meta.get("learns_from"), meta.get("judges")
    )  # fmt: skip
    try:
        if meta.get("check") is not None:
            meta["check"](**arguments)
        first, again, other = _Watched(spec), _Watched(spec), _Watched(spec, spoilt=True)
    except BenchError as error:
        return [str(error)]
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
    found = first.problems
    if not found:
        if not all(torch.equal(a, b) for a, b in zip(first.seen, again.seen, strict=True)):
            found.append("the same training twice gives different weights; draw from generators seeded by facts.seeds")
        elif not all(torch.allclose(a[0], b[0], atol=1e-6) for a, b in zip(first.seen, other.seen, strict=True)):
            found.append("the weights of one lane change with the examples of another")
    return list(dict.fromkeys(found))


class _Watched:
    """A short training whose weighting is looked at in every step.

    Attributes
    ----------
    seen : list of Tensor, shape (lanes, batch)
        Each step's weights.
    problems : list of str
    """

    def __init__(self, spec: WeightingSpec, spoilt: bool = False):
        self.seen: list[Tensor] = []
        self.problems: list[str] = []
        lanes = [_lane(spec, number, spoilt and number > 0) for number in range(LANES)]
        stack = Stack(lanes[0].network, LANES)
        stack.load([values(lane.network) for lane in lanes])
        stack.freeze(0)
        examples = [lane.split.train for lane in lanes]
        order = np.stack([generator("contract", i).integers(0, N, (STEPS, BATCH)) for i in range(LANES)])
        batches = torch.as_tensor(order)
        run = weighted_by(stack, lanes, examples, batches, (), STEPS, Layout(LANES))
        rows = rows_of([(lane.data.x, lane.split.train) for lane in lanes], [lane.data.y for lane in lanes], 0,
                       Layout(LANES))  # fmt: skip
        look_up, rates = Batches(stack, rows, batches), torch.full((LANES,), RATE, dtype=torch.float64)
        self._run, self._weighting = run, run.weighting
        run.weighting = self
        for number in range(STEPS):
            parameters = list(stack.network.parameters())
            total = run([look_up], number, rates).sum()
            if self.problems:
                return
            for value, slope in zip(parameters, torch.autograd.grad(total, parameters), strict=True):
                value.data -= RATE * slope

    def __call__(self, step: Step) -> tuple[Tensor, Tensor]:
        """Weight a step's examples, and check what comes."""
        kept = [*step.network.parameters()]
        before = [value.detach().clone() for value in kept]
        losses, weights = self._weighting(step)
        if any(not torch.equal(a, b) for a, b in zip(before, kept, strict=True)):
            self.problems.append("it leaves the network's parameters changed")
        shape = (LANES, BATCH)
        for name, value in (("losses", losses), ("weights", weights)):
            if not isinstance(value, Tensor) or value.shape != shape:
                got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise BenchError(f"returns {name} of shape {got}, not (lanes, batch) = {shape}")
        self.seen.append(weights.detach().clone())
        if not losses.requires_grad:
            self.problems.append("its losses have no graph, so that nothing can be trained on them")
        if weights.requires_grad:
            self.problems.append("its weights have a graph; detach them")
        if not torch.isfinite(weights).all() or (weights < 0).any():
            self.problems.append("a weight is negative or not finite")
        elif not torch.allclose(weights.sum(1), torch.ones(LANES, dtype=weights.dtype), atol=1e-4):
            self.problems.append("the weights of a lane do not add up to 1; use `normalised`")
        return losses, weights.detach()


def _lane(spec: WeightingSpec, number: int, spoilt: bool) -> Lane:
    source, target = _data(number, N, spoilt), _data(100 + number, META, spoilt)
    harmful = np.arange(N) < N // 4
    network = build("cnn", SHAPE, len(CLASSES), number, 50 + number, channels=[4, 5], norm="batch").double()
    meta, labelled = None, np.arange(META)
    if spec.learns_from == "labels":
        meta = meta_set(spec, target, labelled, CLASSES, CLASSES, META, ("contract", number))
        if spec.own_head:
            add_head(network, TARGET_HEAD, target.head, CLASSES, 200 + number)
            network.beside.double()
    weigh = Weigh(
        spec, SourceFacts(len(CLASSES), harmful, np.arange(N) % 2), meta, unlabelled=(target, labelled)
    )  # fmt: skip
    return Lane(network, source, Split(np.arange(N), np.arange(0)), N, number, place=number, weigh=weigh)


def _data(seed: int, n: int, spoilt: bool) -> Data:
    rng = generator("contract", seed)
    y = np.arange(n) % len(CLASSES)
    x = rng.normal(size=(n, *SHAPE)) + y.reshape(-1, 1, 1, 1)
    if spoilt:
        x = 0.5 * x[::-1].copy()
    values, labels = torch.as_tensor(x), torch.as_tensor(y)
    return Data(Held(values), labels, Held(values), labels, f"contract {seed}", ("contract", seed))
