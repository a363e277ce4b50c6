"""How tangents pass operations: the derivative of what torch computed, from what it computed.

A rule is called when an operation has been recorded. It returns a function that maps the tangents of the
arguments to those of the results, and the tensors that this function will read. What has no rule here or in
:mod:`bench.weighting.tape_layers` goes through torch's own forward-mode derivatives, which compute the
operation once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from bench.weighting.operations import Operation, active, cannot

aten = torch.ops.aten

# From the tangents of all arguments (None: it does not depend on the direction) to those of the results.
# Tangents that come in may belong to others and are not changed.
Push = Callable[..., Any]
# Tensors that a push reads; they must not be overwritten before it has run.
Held = tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Rule:
    """A rule, and whether it reads the first argument (of which a copy is kept where it is overwritten)."""

    make: Callable[[Operation, list[Any], Any], tuple[Push, Held]]
    reads_first: Callable[[list[Any]], bool]


_RULES: dict[str, Rule] = {}


def rule(*names: str, reads_first: bool | Callable[[list[Any]], bool] = False) -> Callable:
    """Register a rule for operations, in place or not.

    Parameters
    ----------
    *names : str
        Without "aten::" and the underscore of those in place.
    reads_first : bool or callable
        Whether the push reads the first argument, or a function of the arguments that says so.
    """
    reads = reads_first if callable(reads_first) else lambda args: reads_first

    def register(make: Callable) -> Callable:
        for name in names:
            _RULES[f"aten::{name}"] = Rule(make, reads)
        return make

    return register


def rule_for(operation: Operation) -> Rule:
    """Return the rule for an operation; torch's forward mode where there is none."""
    return _RULES.get(operation.name, _FALLBACK)


def tensors(values: Iterable[Any]) -> Held:
    """Return the tensors among arguments, those in lists too."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += [part for part in value if isinstance(part, Tensor)]
    return tuple(found)


def plus(fresh: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Add two tangents, the first of which nobody else holds."""
    if fresh is None or other is None:
        return other if fresh is None else fresh
    return fresh.add_(other)


# --- torch's own forward mode, for whatever has no rule -----------------------------------------------------


def forward_mode(operation: Operation, args: list[Any], out: Any) -> tuple[Push, Held]:
    """Compute the operation once more, on dual numbers."""
    if torch.Tag.nondeterministic_seeded in operation.func.tags:
        return refuse(operation.name, "it draws random numbers"), ()

    def push(*tangents: Any) -> Any:
        with forward_ad.dual_level():
            try:
                result = operation(*(_dual(value, tangent) for value, tangent in zip(args, tangents, strict=True)))
            except NotImplementedError as error:
                raise cannot(operation.name, "torch has none") from error
            if isinstance(result, Tensor):
                return forward_ad.unpack_dual(result).tangent
            return [forward_ad.unpack_dual(r).tangent if isinstance(r, Tensor) else None for r in result]

    return push, tensors(args)


def _dual(value: Any, tangent: Any) -> Any:
    if isinstance(tangent, list | tuple):
        return [_dual(one, other) for one, other in zip(value, tangent, strict=True)]
    if tangent is None:
        return value.detach() if isinstance(value, Tensor) else value
    return forward_ad.make_dual(value.detach(), tangent)


def refuse(name: str, why: str) -> Push:
    """Return a push that says what cannot be done, where a tangent does arrive."""

    def push(*_: Any) -> Any:
        raise cannot(name, why)

    return push


_FALLBACK = Rule(forward_mode, lambda args: True)


# --- linear functions --------------------------------------------------------------------------------------


@rule(
    "t", "transpose", "permute", "unsqueeze", "squeeze", "select", "slice", "expand", "neg", "flip", "roll", "mean",
    "sum", "index", "index_select", "gather", "avg_pool2d", "_adaptive_avg_pool2d", "upsample_nearest2d",
    "upsample_bilinear2d", "upsample_bicubic2d", "cumsum", "diagonal", "unfold", "im2col", "pixel_shuffle",
    "pixel_unshuffle", "reflection_pad2d", "replication_pad2d", "repeat", "split", "split_with_sizes", "unbind",
    "tril", "triu", "alias", "_to_copy", "embedding", "native_channel_shuffle",
)  # fmt: skip
def _linear(operation: Operation, args: list[Any], out: Any) -> tuple[Push, Held]:
    """Linear in the first argument, the only one through which a gradient flows."""
    rest = args[1:]
    if any(active(value) for value in rest):
        return forward_mode(operation, args, out)
    return lambda tangent, *_: operation(tangent, *rest), tensors(rest)


@rule("view", "_unsafe_view", "_reshape_alias", "clone", "contiguous")
def _same_elements(operation: Operation, args: list[Any], out: Tensor) -> tuple[Push, Held]:
    """The same elements in another shape; a tangent may be laid out unlike its tensor."""
    shape = out.shape
    if out.dtype != args[0].dtype:
        return refuse(operation.name, "it reads bits as another type"), ()
    return lambda tangent, *_: tangent.reshape(shape), ()


@rule("as_strided")
def _as_strided(operation: Operation, args: list[Any], out: Tensor) -> tuple[Push, Held]:
    """A view by strides, which torch also uses to restate the strides of dimensions of size 1."""
    (x, size, stride, offset), shape = args, out.shape
    kept = list(size) == list(x.shape) and offset in (None, x.storage_offset())
    if not kept or any(n > 1 and a != b for n, a, b in zip(size, stride, x.stride(), strict=True)):
        return forward_mode(operation, args, out)
    return lambda tangent, *_: tangent.reshape(shape), ()


@rule("constant_pad_nd")
def _pad(operation: Operation, args: list[Any], out: Tensor) -> tuple[Push, Held]:
    pad = args[1]
    return lambda tangent, *_: aten.constant_pad_nd(tangent, pad), ()


@rule("nll_loss_forward", "nll_loss2d_forward")
def _likelihood(operation: Operation, args: list[Any], out: Any) -> tuple[Push, Held]:
    rest = args[1:]
    return lambda tangent, *_: (operation(tangent, *rest)[0], None), tensors(rest)


@rule("cat", "stack")
def _join(operation: Operation, args: list[Any], out: Tensor) -> tuple[Push, Held]:
    parts, dim = args
    like = [(part.shape, part.dtype, part.device) for part in parts]

    def push(tangents: Sequence[Tensor | None], *_: Any) -> Tensor:
        whole = [
            torch.zeros(shape, dtype=dtype, device=device) if tangent is None else tangent
            for tangent, (shape, dtype, device) in zip(tangents, like, strict=True)
        ]
        return operation(whole, dim)

    return push, ()


@rule("add", "sub", "rsub")
def _sum(operation: Operation, args: list[Any], out: Tensor) -> tuple[Push, Held]:
    *_, alpha = args
    one, other = {"aten::add": (1, alpha), "aten::sub": (1, -alpha), "aten::rsub": (-alpha, 1)}[operation.name]
    shape, dtype = out.shape, out.dtype

    def push(x: Tensor | None, y: Tensor | None, *_: Any) -> Tensor:
        if x is not None and y is not None:
            return torch.add(x if one == 1 else one * x, y, alpha=other)
        tangent, factor = (y, other) if x is None else (x, one)
        tangent = tangent.to(dtype).expand(shape)
        return tangent if factor == 1 else factor * tangent

    return push, ()


@rule("copy")
def _copy(operation: Operation, args: list[Any], out: Tensor) -> tuple[Push, Held]:
    shape, dtype, device = args[0].shape, args[0].dtype, args[0].device

    def push(_: Tensor | None, source: Tensor | None, *__: Any) -> Tensor | None:
        return None if source is None else source.to(device, dtype).expand(shape)

    return push, ()


@rule("zero", "fill")
def _constant(operation: Operation, args: list[Any], out: Tensor) -> tuple[Push, Held]:
    if any(active(value) for value in args[1:]):
        return forward_mode(operation, args, out)
    return lambda *_: None, ()


# --- products ----------------------------------------------------------------------------------------------


@rule("mul", "mm", "bmm", "dot", "mv", reads_first=lambda args: active(args[1]))
def _product(operation: Operation, args: list[Any], out: Tensor) -> tuple[Push, Held]:
    x, y = (value if active(other) else None for value, other in zip(args[:2], reversed(args[:2]), strict=True))

    def push(t_x: Tensor | None, t_y: Tensor | None) -> Tensor:
        part = None if t_x is None else operation(t_x, y)
        return part if t_y is None else plus(operation(x, t_y), part)

    return push, tensors((x, y))


@rule("div", reads_first=lambda args: active(args[1]))
def _quotient(operation: Operation, args: list[Any], out: Tensor) -> tuple[Push, Held]:
    _, y, *how = args
    if active(y) or any(mode is not None for mode in how):
        return forward_mode(operation, args, out)
    return lambda tangent, *_: tangent / y, tensors((y,))


@rule("addmm", "baddbmm")
def _affine(operation: Operation, args: list[Any], out: Tensor) -> tuple[Push, Held]:
    _, x, y, *scales = args
    beta, alpha = scales if len(scales) == 2 else (None, None)
    if (beta, alpha) != (1, 1):
        return forward_mode(operation, args, out)
    times = torch.bmm if x.ndim == 3 else torch.mm
    x, y, shape = (x if active(y) else None), (y if active(x) else None), out.shape

    def push(t_bias: Tensor | None, t_x: Tensor | None, t_y: Tensor | None, *_: Any) -> Tensor:
        total = t_bias
        for one, other in ((t_x, y), (x, t_y)):
            if one is not None and other is not None:
                total = times(one, other) if total is None else operation(total, one, other, 1, 1)
        return total.expand(shape)

    return push, tensors((x, y))
