"""What every method must keep, a user's own included: the checks behind ``ntbench check``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.backbones.base import Backbone, build
from bench.backbones.stack import values
from bench.errors import BenchError
from bench.heads.base import SINGLE_LABEL, head_of
from bench.identity import canonical, generator
from bench.registry import Entry
from bench.suite.model import Recipe
from bench.training.cuts import Cuts, Frozen
from bench.training.data import Data
from bench.training.fit import fit
from bench.training.inputs import Held
from bench.training.judge import Judge
from bench.training.lanes import Lane, Layout, source_head, stream_of
from bench.training.loop import Start
from bench.training.protocol import Split
from bench.training.step import own_modules
from bench.training.weighted import add_head
from bench.triangle import How, Phase

LANES, N, SHAPE, CLASSES, BATCH, STEPS = 2, 36, (2, 6, 6), ("a", "b", "c"), 12, 6
KINDS = (SINGLE_LABEL, "multi-label", "regression")  # for which there are toy data
_RECIPE = Recipe(steps=STEPS, batch_size=BATCH, learning_rates=(0.05,), checkpoints=2, early_stopping=False)


def check_method(entry: Entry, arguments: Mapping[str, Any] | None = None) -> list[str]:
    """Run the contract on a method.

    On a small network with batch norm, copied from another: it is made from its arguments; its loss is a finite
    tensor of the right shape whose descent changes the network; the same training twice gives the same values to
    the bit; the source model stays as it is; and in lanes, each gives what it gives alone.

    Parameters
    ----------
    entry : Entry
        Of a kind of task among :data:`KINDS`.
    arguments : mapping, optional
        The method's own; its defaults without them.

    Returns
    -------
    list of str
        What is wrong, a sentence each; empty when all is well.
    """
    arguments = dict(arguments or {})
    if problems := entry.problems(arguments):
        return problems
    how = How(entry.name, canonical(arguments), entry.version, **entry.meta)
    kind = next((kind for kind in KINDS if kind in (how.kinds or KINDS)), SINGLE_LABEL)
    try:
        first, again = ([_trained(how, kind, [i], 1)[0] for i in range(LANES)] for _ in range(2))
        together = _trained(how, kind, [*range(LANES)], LANES) if how.lanes else first
    except BenchError as error:
        return [str(error)]
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
    found = list(dict.fromkeys(problem for lane in (*first, *together) for problem in lane.problems))
    if not found and not all(torch.equal(a.values, b.values) for a, b in zip(first, again, strict=True)):
        found.append("the same training twice gives different values; draw random numbers from step.generator")
    if not found and not all(
        torch.allclose(a.values, b.values, atol=1e-6) for a, b in zip(first, together, strict=True)
    ):
        found.append("a lane gives other values than the same training alone; leave lanes=True out")
    return found


class _Outcome:
    """What came of one lane."""

    def __init__(self, lane: Lane, before: Tensor, source: Tensor, error: BenchError | None):
        self.values = _flat(lane.network)
        self.problems = [str(error)] if error else []
        if torch.equal(_parameters(lane.network), before):
            self.problems.append("training with it changes nothing")
        if not torch.equal(_flat(lane.frozen.network), source):
            self.problems.append("it changes the source model")


def _trained(how: How, kind: str, numbers: list[int], width: int) -> list[_Outcome]:
    lanes = [_lane(how, kind, number) for number in numbers]
    before = [(_parameters(lane.network), _flat(lane.frozen.network)) for lane in lanes]
    fitted = fit(lanes, (Phase(0),), _RECIPE, Layout(width), judge=Judge.of(kind, None, CLASSES))
    return [_Outcome(lane, *values, f.error) for lane, values, f in zip(lanes, before, fitted, strict=True)]


def _parameters(network: Backbone) -> Tensor:
    """Return what descent moves: running statistics move whatever the loss is."""
    return torch.cat([value.detach().flatten() for value in network.parameters()])


def _flat(network: Backbone) -> Tensor:
    return torch.cat([tensor.double().flatten() for tensor in values(network)])


def _lane(how: How, kind: str, number: int) -> Lane:
    head, data, other = head_of(kind), _data(kind, number), _data(kind, 50 + number)
    network, source = (
        build(
            "cnn", SHAPE, lambda width: head.module(width, CLASSES), number, seed, channels=[4, 5], norm="batch"
        ).double()
        for seed in (100 + number, 200 + number)
    )
    order, split = np.arange(N), Split(np.arange(18), np.arange(18, 24))
    frozen = Frozen(Cuts(2**20), "contract", source.eval().requires_grad_(False), data, order, number, N)
    start = Start(network.depth, lr=0.1)
    lane = Lane(network, data, split, 24, number, start, frozen, number, how)
    if how.sources:
        lane.sources = (stream_of(other, order, BATCH, ("contract", number)),)
        add_head(network, source_head(0), head, CLASSES, 300 + number)
    if how.unlabelled:
        lane.unlabelled = stream_of(data, order[24:], BATCH, ("contract unlabelled", number))
    own_modules(lane, CLASSES, number)
    network.beside.double()
    return lane


def _data(kind: str, seed: int) -> Data:
    rng, labels = generator("contract", seed), np.arange(N) % len(CLASSES)
    x = torch.as_tensor(rng.normal(size=(N, *SHAPE)) + labels.reshape(-1, 1, 1, 1))
    hot = np.eye(len(CLASSES))[labels]
    y = {SINGLE_LABEL: labels, "multi-label": hot.astype(bool), "regression": hot + 0.1 * rng.normal(size=hot.shape)}
    targets = torch.as_tensor(y[kind])
    return Data(Held(x), targets, Held(x), targets, f"contract {seed}", ("contract", seed), head_of(kind))
