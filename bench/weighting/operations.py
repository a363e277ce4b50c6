"""What the tape must know of an operation of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.errors import TrialError

# Gradients do not pass these.
_STOPS = frozenset({"aten::detach", "aten::detach_"})


class Operation:
    """An operation of torch: its name, its arguments, and whose memory it writes or shares.

    Attributes
    ----------
    func : OpOverload
    name : str
        Such as "aten::add_".
    defaults : tuple
        Of each argument.
    keywords : tuple of str
        Arguments by keyword only, which are the last.
    stops : bool
        Gradients do not pass.
    writes : bool
        It changes its first argument, and returns it.
    views : bool
        What it returns shares the first argument's memory.
    """

    __slots__ = ("_form", "_names", "defaults", "func", "keywords", "name", "stops", "views", "writes")

    def __init__(self, func: Any):
        schema = func._schema
        self.func, self.name = func, schema.name
        self._names = tuple(a.name for a in schema.arguments)
        self.defaults = tuple(a.default_value for a in schema.arguments)
        self.keywords = tuple(a.name for a in schema.arguments if a.kwarg_only)
        self.stops = self.name in _STOPS
        self.writes = any(a.alias_info is not None and a.alias_info.is_write for a in schema.arguments)
        self.views = not self.writes and any(r.alias_info is not None for r in schema.returns)
        self._form: Operation | None = None

    @classmethod
    def of(cls, func: Any) -> Operation:
        """Describe one of torch's operations, which live as long as torch."""
        found = _DESCRIBED.get(id(func))
        if found is None:
            found = _DESCRIBED[id(func)] = cls(func)
        return found

    def complete(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """Return the arguments in order, defaults included."""
        count = len(args)
        if kwargs:
            rest = zip(self._names[count:], self.defaults[count:], strict=True)
            return [*args, *(kwargs.get(name, default) for name, default in rest)]
        return [*args, *self.defaults[count:]]

    def named(self, full: Sequence[Any]) -> dict[str, Any]:
        """Return complete arguments by name."""
        return dict(zip(self._names, full, strict=True))

    def __call__(self, *full: Any) -> Any:
        """Compute from complete arguments."""
        split = len(full) - len(self.keywords)
        return self.func(*full[:split], **dict(zip(self.keywords, full[split:], strict=True)))

    @property
    def functional(self) -> Operation | None:
        """What computes anew what this one, in place, leaves in its first argument; None where nothing does."""
        if self._form is None and self.name.endswith("_"):
            packet = getattr(torch.ops.aten, self.name.partition("::")[2].removesuffix("_"), None)
            func = getattr(packet, self.func._overloadname, None)
            if func is not None and len(func._schema.arguments) == len(self.defaults):
                self._form = Operation.of(func)
        return self._form


_DESCRIBED: dict[int, Operation] = {}


def cannot(name: str, why: str) -> TrialError:
    """Build the error for an operation that tangents do not pass."""
    return TrialError(f'no forward derivative of "{name}": {why}; engine = "higher" serves')


def active(value: Any) -> bool:
    """Whether an argument, or part of a list, is a tensor through which a gradient flows."""
    if isinstance(value, Tensor):
        return value.requires_grad
    return isinstance(value, list | tuple) and any(isinstance(v, Tensor) and v.requires_grad for v in value)
