"""What a method sees of a training (:mod:`bench.methods.base`): its batches, the network and where that began."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.backbones.stack import Stack
from bench.errors import BenchError
from bench.heads.base import Head
from bench.identity import derive
from bench.methods.base import Method
from bench.registry import METHODS
from bench.training.inputs import CHUNK
from bench.training.lanes import Lane, Layout, beside_batches, source_head
from bench.training.loop import Batches, Rows
from bench.training.weighted import Weighted, weighted_by
from bench.triangle import How


@dataclass(frozen=True)
class Moved:
    """A parameter that was copied: see :class:`bench.methods.base.Moved`."""

    name: str
    now: Tensor
    start: Tensor


class Batch:
    """A step's examples of one task: see :class:`bench.methods.base.Batch`.

    Parameters
    ----------
    find : callable
        To inputs at the cut `depth`, as the stack takes them, and targets with an axis of lanes.
    head : Head
        Of the targets' kind.
    beside : str or None
        The head that reads them, where it is not the main one.
    settle : bool
        Whether running statistics stay as they are.
    """

    def __init__(
        self, course: Course, find: Callable[[], tuple[Any, Any]], depth: int, head: Head, beside: str | None = None,
        settle: bool = False,
    ):  # fmt: skip
        self._course, self._find, self._depth, self._head = course, find, depth, head
        self._beside, self._settle, self._stack = beside, settle, course.stack

    @cached_property
    def _found(self) -> tuple[Any, Any]:
        return self._find()

    @cached_property
    def _known(self) -> dict[int, Any]:
        """Activations at each cut that has been reached."""
        return {self._depth: self._found[0]}

    def _reach(self, block: int) -> Any:
        if block < self._depth:
            raise BenchError(f"features of block {block} cannot be had: the first {self._depth} blocks are frozen")
        if block not in self._known:
            with self._stack.settled(self._settle):
                for place in range(max(self._known), block):
                    self._known[place + 1] = self._stack.network.run_blocks(self._known[place], place, place + 1)
        return self._known[block]

    @cached_property
    def _outputs(self) -> Any:
        """Outputs with an axis of lanes."""
        network = self._stack.network
        module = network.head if self._beside is None else network.beside[self._beside]
        return self._stack.with_lanes(module(self._reach(network.depth)))

    @property
    def inputs(self) -> Any:
        """What goes into the first block that is not frozen."""
        return self._course.plain(self._stack.by_lane(self._found[0]))

    @property
    def targets(self) -> Any:
        """Targets as the head takes them."""
        return self._course.plain(self._found[1])

    @property
    def outputs(self) -> Any:
        """Outputs of the head for these examples."""
        return self._course.plain(self._outputs)

    def features(self, block: int | None = None) -> Any:
        """Return what a block makes of the examples, by default the last."""
        found = self._reach(self._stack.depth if block is None else block)
        return self._course.plain(self._stack.by_lane(found))

    def loss(self) -> Tensor:
        """Return the mean loss, weighted where the examples are."""
        course = self._course
        if course.weighted is not None and course.weighs(self._beside):
            return course.plain(course.weighted(course.looks, course.number, course.rates))
        if not self._head.has_loss:
            return course.plain(sum(self.returned().values()).unsqueeze(0))
        return course.plain(self._head.loss(self._outputs, self._found[1]))

    def losses(self) -> Tensor:
        """Return each example's loss."""
        return self._course.plain(self._head.losses(self._outputs, self._found[1]))

    def returned(self) -> Mapping[str, Tensor]:
        """Return the losses that the network itself gives."""
        module = self._stack.network.head
        if not hasattr(module, "losses"):
            raise BenchError(f"the network returns no losses: its head is {type(module).__name__}, without `losses`")
        # Of one network: heads whose losses are their own are never stacked.
        return module.losses(self._reach(self._stack.depth), self._found[1][0])

    @torch.no_grad()
    def source_features(self, block: int | None = None) -> Any:
        """Return what a block of the source model makes of the examples."""
        return self._course.demand_source().run_blocks(self._found[0], self._depth, block)

    @torch.no_grad()
    def source_outputs(self) -> Any:
        """Return the source model's outputs."""
        return self._course.demand_source()(self._found[0], start=self._depth)


def own_modules(lane: Lane, classes: Sequence[str], *identity: object) -> None:
    """Give a lane's network the modules that its method owns, seeded by `identity`."""
    network = lane.network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive("method", *identity))
        made = METHODS.get(lane.how.name).function(**lane.how.arguments).modules(network.width, classes)
    for name, module in made.items():
        network.beside[name] = module.to(next(network.parameters()).device)
    lane.owned = tuple(made)


class Course:
    """One training of a stack by one method: what it minimises, step by step.

    Parameters
    ----------
    stack : Stack
        With its values as training finds them.
    lanes : sequence of Lane
    how : How
    examples : sequence of integer arrays, one a lane
        Which of the pool are trained on.
    order : Tensor of int64, shape (lanes, steps, batch), or None
        Which of those a step sees; None means all.
    steps : int
    initial : sequence of sequences of Tensor, one a lane
        The values that it starts from, in the order of a network's state dict; they never change.
    purpose : tuple of str
        What other orders of the same examples it must differ from.
    """

    def __init__(
        self, stack: Stack, lanes: Sequence[Lane], how: How, examples: Sequence[np.ndarray], order: Tensor | None,
        steps: int, layout: Layout, initial: Sequence[Sequence[Tensor]], purpose: tuple[str, ...] = (),
    ):  # fmt: skip
        self.stack, self.network, self.steps, self.how = stack, stack.network, steps, how
        self.entry = METHODS.get(how.name)
        self.method: Method = self.entry.function(**how.arguments)
        self.source = lanes[0].frozen.network if stack.lanes == 1 and lanes[0].frozen else None
        self.modules = {name: self.network.beside[name] for name in lanes[0].owned}
        self._lanes, self._purpose = lanes, purpose
        streams = [*zip(*(lane.sources for lane in lanes), strict=True)]
        self._beside = [beside_batches(stack, stream, steps, layout, purpose) for stream in streams]
        free = [lane.unlabelled for lane in lanes]
        self._free = None if free[0] is None else beside_batches(stack, free, steps, layout, purpose)
        self.weighted: Weighted | None = weighted_by(
            stack, lanes, examples, order, self._beside, steps, layout, purpose
        )
        self._initial = initial
        self._copies: dict[int, list[tuple[str, Tensor, bool]]] = {}
        self._prepared = False
        self._generator: torch.Generator | None = None

    # --- what the engine calls ---------------------------------------------------------------------

    def __call__(self, look_up: Batches, number: int, depth: int, rates: Tensor) -> Tensor:
        """Return what each lane minimises in a step, shape (lanes,)."""
        self._begin(look_up, number, depth, rates)
        if not self._prepared:
            self._prepared = True
            self._guarded(self.method.prepare)
        return self._loss()

    def _begin(self, look_up: Batches, number: int, depth: int, rates: Tensor) -> None:
        self.number, self.rates, self.looks, self._depth = number, rates, [look_up, *self._beside], depth
        self.batch = self._batch(look_up)
        self.sources = tuple(self._batch(look, source_head(i), True) for i, look in enumerate(self._beside))
        self._unlabelled = None if self._free is None else self._batch(self._free, settle=True)

    def _batch(self, look_up: Batches, beside: str | None = None, settle: bool = False) -> Batch:
        number, depth = self.number, self._depth
        return Batch(self, lambda: look_up(number, depth), depth, look_up.rows.head, beside, settle)

    def _loss(self) -> Tensor:
        loss = self._guarded(self.method.loss)
        shape = (self.stack.lanes,) if self.how.lanes else ()
        if not isinstance(loss, Tensor) or loss.shape != shape:
            got = f"of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
            mean = "; take the mean over examples" if isinstance(loss, Tensor) and loss.ndim > len(shape) else ""
            raise BenchError(f'method "{self.how.name}": its loss is {got}, not a tensor of shape {shape}{mean}')
        return loss if self.how.lanes else loss.unsqueeze(0)

    @torch.no_grad()
    def validate(self, rows: Rows, depth: int) -> list[float]:
        """Return the lanes' losses of validation examples, where their kind has none of its own."""
        was_training, kept = self.network.training, self._generator
        self.network.eval()
        self._generator = None
        self._begin(Batches(self.stack, rows, None), 0, depth, self.rates)
        losses = self._loss().tolist()
        self._generator = kept
        self.network.train(was_training)
        return losses

    @property
    def finishes(self) -> bool:
        """Whether the method changes values where a training may end."""
        return type(self.method).finish is not Method.finish

    @torch.no_grad()
    def finish(self) -> None:
        """Let the method change the values."""
        self._guarded(self.method.finish)

    def weighs(self, beside: str | None) -> bool:
        """Whether the examples that a head reads are those that are weighted."""
        return beside == (source_head(0) if self.weighted.beside else None)

    def _guarded(self, function: Callable[[Any], Any]) -> Any:
        """Call a method's function; say of a plug-in's which of its lines raised what."""
        with self.entry.blamed(passing=(torch.OutOfMemoryError,)):
            return function(self)

    # --- what the method sees ----------------------------------------------------------------------

    @property
    def unlabelled(self) -> Batch:
        """Target examples without labels."""
        if self._unlabelled is None:
            raise BenchError(f'method "{self.how.name}" was not declared with unlabelled=True')
        return self._unlabelled

    @property
    def generator(self) -> torch.Generator:
        """Random numbers of the trial; a method in lanes would mix them."""
        if self.how.lanes:
            raise BenchError(f'method "{self.how.name}" draws random numbers: leave lanes=True out')
        if self._generator is None:
            self._generator = torch.Generator().manual_seed(derive("method", *self._lanes[0].identity, *self._purpose))
        return self._generator

    def outputs_of(self, inputs: Any) -> Any:
        """Return outputs for what goes into the first block that is not frozen."""
        laned = inputs if self.how.lanes else inputs.unsqueeze(0)
        return self.plain(self.stack.outputs(self.stack.arrange(laned), self._depth))

    def loss_of(self, outputs: Any, targets: Any) -> Tensor:
        """Return the head's mean loss of outputs."""
        head = self.looks[0].rows.head
        if self.how.lanes:
            return head.loss(outputs, targets)
        return head.loss(outputs.unsqueeze(0), targets.unsqueeze(0))[0]

    def copied(self) -> list[Moved]:
        """Return the copied parameters that train."""
        return [
            Moved(name, *map(self.plain, map(self._laned, (value, self._started[name]))))
            for name, value, copied in self._trained()
            if copied
        ]

    def fresh(self) -> list[Tensor]:
        """Return the parameters that train and were not copied."""
        return [self.plain(self._laned(value)) for _, value, copied in self._trained() if not copied]

    def labelled(self) -> Iterator[Batch]:
        """Yield all labelled training examples, in batches."""
        rows, depth = self.looks[0].rows, self._depth
        for index in torch.arange(rows.index.shape[1], device=rows.index.device).split(CHUNK):
            look_up = Batches(self.stack, rows, index.expand(self.stack.lanes, 1, -1))
            yield Batch(self, lambda look_up=look_up: look_up(0, depth), depth, rows.head, settle=True)

    def demand_source(self) -> nn.Module:
        """Return the source model."""
        if self.source is None:
            raise BenchError(f'method "{self.how.name}" asks for a source model, and there is none')
        return self.source

    def plain(self, values: Any) -> Any:
        """Leave the axis of lanes out for a method that is written for one network."""
        return values if self.how.lanes else values[0]

    def _laned(self, values: Tensor) -> Tensor:
        return values if self.stack.lanes > 1 else values.unsqueeze(0)

    @cached_property
    def _started(self) -> dict[str, Tensor]:
        """What each tensor started from."""
        together = zip(*self._initial, strict=True)
        values = (lanes[0] if self.stack.lanes == 1 else torch.stack(lanes) for lanes in together)
        return dict(zip(self.network.state_dict(), values, strict=True))

    def _trained(self) -> list[tuple[str, Tensor, bool]]:
        """Return the parameters above the cut that train and are the model's own, and whether each was copied."""
        if self._depth not in self._copies:
            self._copies[self._depth] = [
                (name, value, self._is_copied(name))
                for name, value in self.network.named_parameters()
                if value.requires_grad and not name.startswith("beside.")
            ]
        return self._copies[self._depth]

    def _is_copied(self, name: str) -> bool:
        start, added = self._lanes[0].start, self.network.added
        if name.startswith("head."):
            return start.head
        return name not in added and name.split(".")[1] in [*self.network.blocks][: start.blocks]
