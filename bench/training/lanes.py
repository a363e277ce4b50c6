"""Models that are trained side by side, and the examples that each of them reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from bench.backbones.base import Backbone
from bench.backbones.stack import Stack, values
from bench.heads.base import SINGLE_LABEL, Head, head_of
from bench.training.cuts import Frozen
from bench.training.data import Data
from bench.training.inputs import Inputs, join
from bench.training.judge import Judge, Look
from bench.training.loop import Batches, Rows, Start, outputs
from bench.training.protocol import Split, batch_order
from bench.triangle import PLAIN, How

if TYPE_CHECKING:
    from bench.training.weighted import Weigh

T = TypeVar("T")
SCRATCH = Start()


@dataclass(frozen=True)
class Layout:
    """How trainings are put together; no result depends on `memory`.

    Attributes
    ----------
    lanes : int
        How many share a stack. What is short of it is padded, and every lane has a place of its own, so
        that it is computed in the same way whatever its company.
    memory : int
        Bytes up to which different lanes' inputs are copied together.
    """

    lanes: int = 1
    memory: int = 2**30


@dataclass(frozen=True, eq=False)
class Stream:
    """Examples that a lane sees beside those of its own task.

    Attributes
    ----------
    data : Data
    examples : integer array, shape (n,)
        Which of its pool.
    y : Tensor, shape (n, ...)
        Their targets, as the head through which they are seen takes them.
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


def stream_of(data: Data, examples: np.ndarray, batch: int, identity: tuple[object, ...]) -> Stream:
    """Return examples of a task's pool as they are seen beside, their targets in units of their own spread."""
    y = data.y[torch.as_tensor(examples, device=data.y.device)]
    scale = data.head.scale(y) if len(examples) else None
    return Stream(data, examples, y if scale is None else (y - scale[0]) / scale[1], batch, identity)


def source_head(number: int) -> str:
    """Name the head for the labels of a source, counted from 0, that is seen beside."""
    return f"source {number + 1}"


@dataclass(eq=False)
class Lane:
    """One model to fit: a trial's, or a source model.

    Attributes
    ----------
    network : Backbone
        Its initial values, and after a fit the best ones on validation.
    size, seed : int
        With the data, what batches and random numbers are seeded by.
    frozen : Frozen, optional
        Where activations at the cut are found; without it, frozen blocks are run anew each step.
    place : int
        Where it stands in a stack, counted round: what lies at another place of a vector register may be
        rounded in another way.
    how : How
        What its training minimises: the same for all lanes of a stack.
    sources : tuple of Stream
        Whose examples the method sees beside, each through a head of its own (:func:`source_head`).
    unlabelled : Stream, optional
        Target examples that it sees without their labels.
    owned : tuple of str
        Modules beside the network that are the method's own.
    weigh : Weigh, optional
        How source examples are weighted, where they are not all alike.
    """

    network: Backbone
    data: Data
    split: Split
    size: int
    seed: int
    start: Start = SCRATCH
    frozen: Frozen | None = None
    place: int = 0
    how: How = PLAIN
    sources: tuple[Stream, ...] = ()
    unlabelled: Stream | None = None
    owned: tuple[str, ...] = ()
    weigh: Weigh | None = None

    @property
    def identity(self) -> tuple[str, int, int]:
        """What batches and random numbers are seeded by: a strategy never enters."""
        return (self.data.fingerprint, self.size, self.seed)

    @cached_property
    def scale(self) -> tuple[Tensor, Tensor] | None:
        """Offset and unit of the training targets, where their kind has one; see :meth:`bench.Head.scale`."""
        if not len(self.split.train):
            return None
        return self.data.head.scale(self.data.y[torch.as_tensor(self.split.train, device=self.data.y.device)])

    def targets(self, examples: np.ndarray) -> Tensor:
        """Return the targets of pool examples, as the model is trained on them."""
        return self.scaled(self.data.y[torch.as_tensor(examples, device=self.data.y.device)])

    def scaled(self, values: Tensor) -> Tensor:
        """Return targets, or outputs in the targets' own units, in those that the model is trained in."""
        return values if self.scale is None else (values - self.scale[0]) / self.scale[1]

    def unscaled(self, values: Tensor) -> Tensor:
        """Undo :meth:`scaled`."""
        return values if self.scale is None else values * self.scale[1] + self.scale[0]

    @cached_property
    def _row_of(self) -> np.ndarray:
        """Where each example of the pool stands among the rows at a cut."""
        place = np.empty(len(self.frozen.order), np.int64)
        place[self.frozen.order] = np.arange(len(place))
        return place

    def at(self, depth: int, examples: np.ndarray) -> tuple[Inputs, np.ndarray]:
        """Return inputs at the cut `depth`, and which of their rows the given pool examples are."""
        return (self.frozen.pool(depth), self._row_of[examples]) if depth else (self.data.x, examples)

    def test_at(self, depth: int, further: str | None = None) -> tuple[Inputs, Any]:
        """Return inputs at the cut `depth` and targets of the test set, or of a further one."""
        x, y = self.data.further[further] if further else (self.data.x_test, self.data.y_test)
        return self.frozen.test(depth, further) if depth else x, y


def stacked(jobs: Iterable[tuple[int, T]], lanes: int) -> list[list[T | None]]:
    """Put jobs, each with its place counted round, on as few stacks as their places allow.

    Returns
    -------
    list of lists of length `lanes`
        With None where a place stays free; no stack is empty.
    """
    stacks: list[list[T | None]] = []
    height = [0] * lanes
    for place, job in jobs:
        lane = place % lanes
        if height[lane] == len(stacks):
            stacks.append([None] * lanes)
        stacks[height[lane]][lane] = job
        height[lane] += 1
    return stacks


def padded(stack: Sequence[T | None]) -> list[T]:
    """Fill the free places of a stack with its first job: what they compute is thrown away."""
    first = next(job for job in stack if job is not None)
    return [first if job is None else job for job in stack]


def rows_of(
    found: Sequence[tuple[Inputs, np.ndarray]],
    y: Sequence[Tensor],
    depth: int,
    layout: Layout,
    head: Head | None = None,
) -> Rows:
    """Put the lanes' inputs (with their rows) and targets of one kind (single labels by default) together."""
    inputs, begins = join([part for part, _ in found], layout.memory)
    index = np.stack([rows + begin for (_, rows), begin in zip(found, begins, strict=True)])
    head = head or head_of(SINGLE_LABEL)
    targets = torch.stack(list(y)) if isinstance(y[0], Tensor) else [part.examples for part in y]
    return Rows(inputs, torch.as_tensor(index, device=y[0].device), targets, depth, head)


def beside_batches(
    stack: Stack, streams: Sequence[Stream], steps: int, layout: Layout, purpose: tuple[str, ...] = ()
) -> Batches:
    """Return the batches of examples that are seen beside, one stream a lane, from the input up."""
    rows = rows_of([(s.data.x, s.examples) for s in streams], [s.y for s in streams], 0, layout, streams[0].data.head)
    n, batch = len(streams[0].examples), streams[0].batch
    if n <= batch:
        return Batches(stack, rows, None)
    orders = [batch_order(n, steps, batch, *s.identity, "companion", *purpose) for s in streams]
    return Batches(stack, rows, torch.as_tensor(np.stack(orders), device=stack.device))


@dataclass(frozen=True)
class Tested:
    """What a look at the test set says of one model.

    Attributes
    ----------
    look : Look
        Its score, loss and accuracy.
    predicted : Tensor, shape (N, ...)
        As targets are.
    correct : bool Tensor, shape (N,), or None
        Which examples were right; None for other kinds than single labels.
    scores : float16 Tensor, shape (N, ...), or None
        Log-probabilities, or whatever the head's scores are, on the CPU; None where they were not asked for.
    """

    look: Look
    predicted: Tensor
    correct: Tensor | None = None
    scores: Tensor | None = None


def evaluate(
    lanes: Sequence[Lane], depth: int, layout: Layout, judge: Judge | None = None, scores: bool = False,
    further: str | None = None,
) -> list[Tested]:  # fmt: skip
    """Look at the test set with every lane's network, whose head gives the targets' own units.

    Parameters
    ----------
    lanes : sequence of Lane
        Of one target, with networks of one shape.
    depth : int
        How many blocks are as in the source model, so that what they make of the data is known.
    judge : Judge, optional
        By accuracy alone by default.
    scores : bool
        Whether those of every example are wanted too.
    further : str, optional
        The name of another test set than the first.
    """
    judge, head = judge or Judge.of(), lanes[0].data.head
    stack = Stack(lanes[0].network, layout.lanes)
    depth = depth if all(lane.frozen for lane in lanes) else 0
    results: dict[int, Tested] = {}
    for placed in stacked([(lane.place, i) for i, lane in enumerate(lanes)], layout.lanes):
        part = [lanes[i] for i in padded(placed)]
        stack.load([values(lane.network) for lane in part])
        found, y = zip(*(lane.test_at(depth, further) for lane in part), strict=True)
        rows = rows_of([(x, np.arange(len(x))) for x in found], y, depth, layout, head)
        output = outputs(stack, rows)
        predicted = head.predict(output)
        chosen = [lane for lane, i in enumerate(placed) if i is not None]
        for lane, look in judge.test(output, rows.y, part, chosen).items():
            i = placed[lane]
            right = predicted[lane] == rows.y[lane] if head.kind == SINGLE_LABEL else None
            wanted = scores and isinstance(output, Tensor)
            kept = head.scores(output[lane : lane + 1].float())[0].half().cpu() if wanted else None
            results[i] = Tested(look, predicted[lane], right, kept)
    return [results[i] for i in range(len(lanes))]
