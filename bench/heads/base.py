"""What a head is: everything that follows from a task's kind."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bench.errors import BenchError
from bench.registry import HEADS
from bench.trial import SINGLE_LABEL

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["SINGLE_LABEL", "Head", "head", "head_of"]


class Head(ABC):
    """Reads a network's features as a kind of task wants them: targets, outputs, loss and predictions.

    It holds no state, and works on several networks of one shape at once: outputs have a leading axis of lanes.

    Attributes
    ----------
    kind : str
        What it is registered for.
    metric : str
        The primary metric where a suite names none.
    lanes : bool
        Whether outputs and targets are tensors, so that several trainings can share a stack.
    has_loss : bool
        Whether outputs in evaluation mode have a loss: those of a detector have none. Where a kind has neither
        that nor predictions to score (`metric` is empty), validation looks at the method's own loss.
    convex : bool
        Whether the module is one linear layer, and the loss convex and twice differentiable in its outputs, so
        that heads on frozen features can be solved.
    """

    kind: ClassVar[str]
    metric: ClassVar[str]
    lanes: ClassVar[bool] = True
    has_loss: ClassVar[bool] = True
    convex: ClassVar[bool] = False

    @abstractmethod
    def targets(self, y: Any, classes: Sequence[str], where: str) -> Any:
        """Return targets as a task keeps them, N in all.

        Raises
        ------
        DataError
            For what cannot be targets of this kind, with what `where` calls the data.
        """

    @abstractmethod
    def strata(self, y: Any) -> np.ndarray:
        """Return what splits are stratified by: int64, shape (N,)."""

    @abstractmethod
    def outputs(self, classes: Sequence[str]) -> int:
        """Return how many values the head gives for an example."""

    def module(self, width: int, classes: Sequence[str]) -> nn.Module:
        """Return what turns features, of shape (N, `width`), to outputs; its values are drawn anew."""
        from torch import nn

        return nn.Linear(width, self.outputs(classes))

    @abstractmethod
    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return each example's loss, shape (lanes, N)."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return each lane's mean loss, shape (lanes,)."""
        return self.losses(outputs, targets).mean(1)

    @abstractmethod
    def predict(self, outputs: Tensor) -> Any:
        """Return what is predicted, as targets are: a leading axis of lanes, then N examples."""

    def scores(self, outputs: Tensor) -> Any:
        """Return what metrics read besides predictions: log-probabilities, or the values themselves."""
        return outputs

    @abstractmethod
    def constant_loss(self, targets: Tensor) -> float:
        """Return the least mean loss of one prediction for all examples."""

    def scale(self, targets: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return offset and unit that a model is trained in, by its training targets; None where targets have none."""
        return None


def head(kind: str, *, version: int = 1) -> Callable[[type], type]:
    """Register a subclass of :class:`Head` for a kind of task (decorator).

    Parameters
    ----------
    kind : str
        What tasks say they are.
    version : int
        Raise it when its results change.

    Raises
    ------
    BenchError
        For anything else, and for one that lacks a method.
    """

    def register(cls: type) -> type:
        if not (isinstance(cls, type) and issubclass(cls, Head)):
            raise BenchError(f'head "{kind}": decorate a subclass of bench.Head, not {cls!r}')
        if inspect.isabstract(cls):
            raise BenchError(
                f'head "{kind}": {cls.__name__} needs the methods {", ".join(sorted(cls.__abstractmethods__))}'
            )
        cls.kind = kind
        HEADS.register(kind, cls, version=version, given=0)
        return cls

    return register


def head_of(kind: str) -> Head:
    """Return the head of a kind of task.

    Raises
    ------
    UnknownName
        With the nearest match.
    """
    return HEADS.get(kind).function()
