"""What an adaptation is: which parameters above the frozen depth train, and which small new ones are added."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.registry import ADAPTATIONS

if TYPE_CHECKING:
    from torch import nn


class Adaptation(ABC):
    """Chooses what trains among the parameters of the blocks that are not frozen.

    It knows of one network, and neither of where that was copied from, of depths, of lanes nor of what a step
    minimises. Heads always train, and are never asked about. What does not train is equal to the bit
    afterwards, but for running statistics: those of batch normalisation above the frozen depth move as when
    everything trains, since the layers are in training mode.

    The constructor takes the arguments that a suite may give, and raises :class:`bench.BenchError` for values
    that cannot be.
    """

    @abstractmethod
    def trains(self, layer: nn.Module, name: str) -> bool:
        """Whether the parameter `name` of `layer` trains, one of the layer's own: "weight", "bias", ..."""

    def extend(self, block: nn.Module) -> nn.Module:
        """Return a block with new parameters: itself, changed in place, or another module around it.

        It is on the CPU and holds its starting values; random numbers come from torch's generator, which is
        seeded for the block. New parameters learn at the rate of a new head, and should leave what the block
        computes as it is. An adaptation that does this is declared with ``lanes=False``.
        """
        return block


def adaptation(name: str, *, version: int = 1, lanes: bool = True) -> Callable[[type], type]:
    """Register a subclass of :class:`Adaptation` under `name` (decorator).

    Parameters
    ----------
    name : str
        What a suite calls it.
    version : int
        Raise it when its results, or an argument's default, change.
    lanes : bool
        Whether several trainings may share a stack (:mod:`bench.backbones.stack`): for what only chooses.

    Raises
    ------
    BenchError
        For anything else, for one without :meth:`Adaptation.trains`, and for one that adds parameters without
        ``lanes=False``.
    """

    def register(kind: type) -> type:
        if not (isinstance(kind, type) and issubclass(kind, Adaptation)):
            raise BenchError(f'adaptation "{name}": decorate a subclass of bench.Adaptation, not {kind!r}')
        if lanes and kind.extend is not Adaptation.extend:
            raise BenchError(f'adaptation "{name}" adds parameters: declare it with lanes=False')
        if inspect.isabstract(kind):
            raise BenchError(f'adaptation "{name}": {kind.__name__} needs a method trains(layer, name)')
        ADAPTATIONS.register(name, kind, version=version, given=0, lanes=lanes)
        return kind

    return register
