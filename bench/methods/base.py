"""What a method is, and what it sees of a training."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from bench.errors import BenchError
from bench.registry import METHODS

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class Batch(Protocol):
    """A step's examples of one task.

    Of a method that is declared with ``lanes=True`` every tensor has a leading axis of lanes, and losses are
    one a lane; of any other there is none, and losses are scalars. Blocks are counted from 1, as the rows do.

    Attributes
    ----------
    inputs : Tensor, shape (N, ...), or a mapping of tensors
        What goes into the first block that is not frozen.
    targets : Tensor, shape (N, ...)
        As the head takes them; of unlabelled examples there are none.
    outputs : Tensor, shape (N, K)
        Of the head for these examples: that of their own task.
    """

    inputs: Any
    targets: Any
    outputs: Any

    def features(self, block: int | None = None) -> Any:
        """Return what a block makes of the examples, by default the last: shape (N, ...).

        Only of blocks that are not frozen, and of the last frozen one (0 where none is: the inputs).
        """

    def loss(self) -> Tensor:
        """Return the head's mean loss, or the sum of those that the network returns, where the head has none.

        A source's examples are weighted as the suite's `weighting` says.
        """

    def losses(self) -> Tensor:
        """Return the head's loss of each example, shape (N,)."""

    def returned(self) -> Mapping[str, Tensor]:
        """Return the losses that the network itself gives, by ``losses(features, targets)`` of its head's module."""

    def source_features(self, block: int | None = None) -> Any:
        """Return what a block of the source model makes of the same examples, without a gradient."""

    def source_outputs(self) -> Any:
        """Return the source model's own outputs for the same examples, without a gradient."""


class Moved(Protocol):
    """A parameter that was copied from the source model.

    Attributes
    ----------
    name : str
        In the network: "blocks.b1.0.weight".
    now : Tensor
        Its values, with a gradient where it trains.
    start : Tensor
        Those that were copied.
    """

    name: str
    now: Tensor
    start: Tensor


class Training(Protocol):
    """A training, as a method may look at it before the first step and after the last.

    Attributes
    ----------
    network : nn.Module
        The target's, a :class:`bench.Backbone`.
    source : nn.Module or None
        The source model, which never changes; None where nothing is copied, and in lanes.
    modules : mapping of str to Module
        Those that the method owns.
    steps : int
        Of the training.
    generator : torch.Generator
        For random numbers, seeded by the trial.
    """

    network: nn.Module
    source: nn.Module | None
    modules: Mapping[str, nn.Module]
    steps: int
    generator: torch.Generator

    def copied(self) -> Sequence[Moved]:
        """Return the copied parameters that train."""

    def fresh(self) -> Sequence[Tensor]:
        """Return the parameters that train and were not copied: new blocks and the head."""

    def labelled(self) -> Sequence[Batch]:
        """Return all labelled training examples, in batches."""


class Step(Training, Protocol):
    """One step of a training.

    Attributes
    ----------
    number : int
        Counted from 0.
    batch : Batch
        Of the labelled examples: the target's, or the source's where a source model is trained.
    sources : sequence of Batch
        Of each source, for methods that ask for them. They do not move running statistics.
    unlabelled : Batch
        Of target examples without labels, for methods that ask for them; likewise.
    """

    number: int
    batch: Batch
    sources: Sequence[Batch]
    unlabelled: Batch

    def outputs_of(self, inputs: Any) -> Any:
        """Return the network's outputs for other inputs than the batch's, of its form (:attr:`Batch.inputs`)."""

    def loss_of(self, outputs: Any, targets: Any) -> Tensor:
        """Return the head's mean loss of other outputs than the batch's."""


class Method(ABC):
    """Says what a step minimises. It is made anew for each training.

    It is written for one network and knows of no depths, grids of learning rates or seeds. The constructor takes
    the arguments that a suite may give, and raises :class:`bench.BenchError` for values that cannot be.
    """

    def modules(self, width: int, classes: Sequence[str]) -> Mapping[str, nn.Module]:
        """Return modules with parameters of the method's own, such as a discriminator of `width` features.

        They learn at the rate of a new head; random numbers come from torch's generator, which is seeded for
        the trial.
        """
        return {}

    def rate(self, name: str) -> float:
        """Return the factor of the learning rate of a parameter, by its name in the network; 0 leaves it alone."""
        return 1.0

    def prepare(self, training: Training) -> None:  # noqa: B027
        """Compute what is needed once, before the first step."""

    @abstractmethod
    def loss(self, step: Step) -> Tensor:
        """Return what the step minimises."""

    def finish(self, training: Training) -> None:  # noqa: B027
        """Change the network's values in place where a training may end: before each look at validation data.

        The model that is looked at, and kept, is the changed one; training goes on from the values before.
        """


def method(
    name: str, *, version: int = 1, lanes: bool = False, sources: bool = False, unlabelled: bool = False,
    copied: bool = False, kinds: Sequence[str] = (),
) -> Callable[[type], type]:  # fmt: skip
    """Register a subclass of :class:`Method` under `name` (decorator).

    Parameters
    ----------
    name : str
        What a suite calls it.
    version : int
        Raise it when its results, or an argument's default, change.
    lanes : bool
        Whether several trainings may share a stack: tensors then have a leading axis of lanes, over which
        nothing may be summed. Without it, trainings run one at a time and the method need not know.
    sources, unlabelled : bool
        Whether it takes batches of the sources' examples, and of target examples without their labels.
    copied : bool
        Whether it only makes a difference to copied blocks that train: elsewhere it is not run.
    kinds : sequence of str
        The kinds of task that it serves; all by default.

    Raises
    ------
    BenchError
        For anything else, for one without :meth:`Method.loss`, and for one in lanes with modules of its own.
    """

    def register(cls: type) -> type:
        if not (isinstance(cls, type) and issubclass(cls, Method)):
            raise BenchError(f'method "{name}": decorate a subclass of bench.Method, not {cls!r}')
        if inspect.isabstract(cls):
            raise BenchError(f'method "{name}": {cls.__name__} needs a method loss(step)')
        if lanes and cls.modules is not Method.modules:
            raise BenchError(f'method "{name}" has modules of its own: leave lanes=True out')
        METHODS.register(
            name, cls, version=version, given=0, lanes=lanes, sources=sources, unlabelled=unlabelled, copied=copied,
            kinds=tuple(kinds),
        )  # fmt: skip
        return cls

    return register
