"""Registering backbones without importing torch, so that a plan stays light."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.errors import BenchError, DataError
from bench.identity import canonical
from bench.registry import BACKBONES


def backbone(
    name: str,
    *,
    depth: int | Callable[..., int] | None = None,
    version: int = 1,
    lanes: Callable[[tuple[int, ...], str], int] | None = None,
    integers: bool = False,
    refuses: Callable[..., str | None] | None = None,
    inputs: Sequence[str] = (),
    **meta: Any,
) -> Callable:
    """Register a function from an input's shape and its own arguments to a network without a head (decorator).

    The function returns a ``torch.nn.Sequential``, or a list of modules, of which each with weights is a block
    (:func:`bench.backbones.base.of_modules`); or a :class:`~bench.backbones.base.Backbone`, where blocks are to
    have names or inputs other constants. The harness adds the head.

    Parameters
    ----------
    name : str
    depth : int or callable, optional
        Number of blocks L, or a function from the backbone's arguments to it: with it, a plan needs no
        torch. Without it, the blocks are counted in a network that is built without memory.
    version : int
        Raise it when the network changes: rows of the old version are then no longer reused.
    lanes : callable, optional
        For a backbone made of layers that :class:`bench.backbones.stack.Stack` can put side by side: from
        the shape of an input and the machine ("cpu" or "cuda") to how many trainings to stack, as
        measured. Without it, one is trained after the other.
    integers : bool
        Whether it takes token ids, int64 of shape (N, T), instead of numbers.
    refuses : callable, optional
        From the shape of an input, and the backbone's arguments, to why it cannot be taken, or None: known
        without building the network.
    inputs : sequence of str
        For a backbone whose first block takes a mapping of tensors: the names that it needs there, such as
        ("ids", "mask"). Its function then gets the shapes as a dict. Such trainings run one after the other.

    Raises
    ------
    BenchError
        For lanes and a mapping together.
    """
    if inputs and lanes is not None:
        raise BenchError(f'backbone "{name}": inputs that are mappings run one at a time; declare it without lanes')

    def register(function: Callable) -> Callable:
        known = depth if depth is not None else _counted(name)
        facts = {"depth": known, "lanes": lanes, "integers": integers, "refuses": refuses, **meta}
        facts["inputs"] = (inputs,) if isinstance(inputs, str) else tuple(inputs)
        BACKBONES.register(name, function, version=version, given=1, **facts)
        return function

    return register


def _counted(name: str) -> Callable[..., int]:
    """Return a function that counts the blocks of a backbone that does not declare them."""
    known: dict[str, int] = {}

    def depth(**arguments: Any) -> int:
        from bench.backbones.trial_shapes import first_built

        key = canonical(arguments)
        if key not in known:
            try:
                known[key] = first_built(name, arguments)[1].depth
            except DataError as error:
                raise DataError(f'backbone "{name}" {error}') from error
        return known[key]

    return depth
