"""Losses and their derivative along a direction of the parameters, by one forward pass on dual numbers.

One-step weighting (Ren et al., 2018) knows the direction before the training's own forward pass, so that torch's
forward mode gives the losses, with the graph for ``backward``, and the tangents together. Four layers that most
of a convolutional network's time goes into are given here with tangents that keep no graph and no memory: torch's
own keep both until ``backward``, and its derivative of batch normalisation takes a dozen passes over the features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function, forward_ad
from torch.func import functional_call
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.utils import _pair
from torch.overrides import TorchFunctionMode

from bench.errors import TrialError

aten = torch.ops.aten


def dual_pass(
    network: nn.Module, directions: Iterable[tuple[Tensor, Tensor]], losses: Callable[[], Tensor]
) -> tuple[Tensor, Tensor]:
    """Return what `losses` returns, with its graph, and its derivative along directions, without one.

    Parameters
    ----------
    network : Module
        That `losses` calls.
    directions : iterable of (Tensor, Tensor)
        Parameters of the network, each with a direction of its shape. Of those that are not named it is zero.
    losses : callable

    Raises
    ------
    TrialError
        Where an operation has no forward derivative; it is named.
    """
    known = {id(parameter): direction for parameter, direction in directions}
    with forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no forward derivative
        duals = {
            f"network.{name}": forward_ad.make_dual(p, known[id(p)])
            for name, p in network.named_parameters()
            if id(p) in known
        }
        try:
            with _Layers():
                out = functional_call(_Call(network, losses), duals, ())
        except NotImplementedError as error:
            why = str(error).splitlines()[0].rstrip(".")
            raise TrialError(f'no forward derivative ({why}); engine = "higher" serves') from error
        value, tangent = forward_ad.unpack_dual(out)
        return value, torch.zeros_like(value) if tangent is None else tangent.detach()


class _Call(nn.Module):
    """A function that calls a network, as a module whose parameters can be exchanged."""

    def __init__(self, network: nn.Module, call: Callable[[], Tensor]):
        super().__init__()
        self.network, self._call = network, call

    def forward(self) -> Tensor:
        return self._call()


class _Layers(TorchFunctionMode):
    """Computes four layers by the functions below, and all else as ever."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        """Compute."""
        kwargs = kwargs or {}
        by = _BY.get(func)
        x = args[0] if args else None
        # Under autocast operations choose their types for themselves.
        if by is not None and isinstance(x, Tensor) and not torch.is_autocast_enabled(x.device.type):
            given = by(*args, **kwargs)
            if given is not None:
                return given
        return func(*args, **kwargs)


class _Convolution(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor | None, *geometry: Any) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.geometry, ctx.bias = geometry, None if b is None else b.shape
        ctx.now = x.detach(), w.detach()  # without their tangents, which a saved tensor would keep
        ctx.save_for_backward(*ctx.now)
        return aten.convolution(x, w, b, *geometry)

    @staticmethod
    @torch.no_grad()
    def jvp(ctx: Any, t_x: Tensor | None, t_w: Tensor | None, t_b: Tensor | None, *_: Any) -> Tensor:
        x, w = ctx.__dict__.pop("now")
        part = None
        if t_w is not None or t_x is None:
            part = aten.convolution(x, torch.zeros_like(w) if t_w is None else t_w, t_b, *ctx.geometry)
            t_b = None
        if t_x is None:
            return part
        through = aten.convolution(t_x, w, t_b, *ctx.geometry)
        return through if part is None else part.add_(through)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        wanted = list(ctx.needs_input_grad[:3])
        found = aten.convolution_backward(gradient, *ctx.saved_tensors, ctx.bias, *ctx.geometry, wanted)
        return (*found, *(None,) * 6)


class _BatchNorm(Function):
    """Ioffe and Szegedy (2015), differentiated through the batch's mean and variance in training mode.

    With r the inverse deviation, h the normalised input and T its tangent, all of a channel:
    w r (T - mean(T) - h mean(h T)) + dw h + db. The two means are what the backward of the operation sums.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Tensor, b: Tensor, mean: Tensor, variance: Tensor, training: bool, momentum: float,
        eps: float,
    ) -> Tensor:  # fmt: skip
        ctx.set_materialize_grads(False)
        out, *own = aten.native_batch_norm(x, w, b, mean, variance, training, momentum, eps)
        ctx.options, x, w = (training, eps), x.detach(), w.detach()
        ctx.now = x, w, *(own if training else (mean.clone(), (variance + eps).rsqrt()))
        ctx.save_for_backward(x, w, mean, variance, *own)
        return out

    @staticmethod
    @torch.no_grad()
    def jvp(ctx: Any, t_x: Tensor | None, t_w: Tensor | None, t_b: Tensor | None, *_: Any) -> Tensor:
        x, w, mean, inverse = ctx.__dict__.pop("now")
        training, eps = ctx.options
        variance, scale = inverse.double().pow(-2).sub(eps).to(inverse), w * inverse
        slope = torch.zeros_like(mean) if t_w is None else t_w
        shift = torch.zeros_like(mean) if t_b is None else t_b
        if training and t_x is not None:
            sums = (t_x, x, w, None, None, mean, inverse, True, eps, [False, True, True])
            _, along, total = aten.native_batch_norm_backward(*sums)
            per = x.numel() // x.shape[1]
            slope, shift = slope - scale * along / per, shift - scale * total / per
        part = aten.native_batch_norm(x, slope, shift, mean, variance, False, 0.0, eps)[0]
        return part if t_x is None else part.addcmul_(t_x, scale.view(1, -1, *(1,) * (x.ndim - 2)))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        wanted = list(ctx.needs_input_grad[:3])
        found = aten.native_batch_norm_backward(gradient, *ctx.saved_tensors, *ctx.options, wanted)
        return (*found, *(None,) * 5)


class _Relu(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, inplace: bool) -> Tensor:
        out = x.clamp_min_(0) if inplace else x.clamp_min(0)
        if inplace:
            ctx.mark_dirty(x)
        ctx.inplace, ctx.now = inplace, out.detach()
        ctx.save_for_backward(ctx.now)
        return out

    @staticmethod
    @torch.no_grad()
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        kept = aten.threshold_backward(tangent, ctx.__dict__.pop("now"), 0)
        return tangent.copy_(kept) if ctx.inplace else kept

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        return aten.threshold_backward(gradient, *ctx.saved_tensors, 0), None


class _MaxPool(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *geometry: Any) -> Tensor:
        out, indices = aten.max_pool2d_with_indices(x, *geometry)
        ctx.geometry, ctx.now = geometry, indices
        ctx.save_for_backward(x.detach(), indices)
        return out

    @staticmethod
    @torch.no_grad()
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        indices = ctx.__dict__.pop("now")
        if indices.ndim != 4 or not indices.is_contiguous(memory_format=torch.channels_last):
            return tangent.flatten(-2).gather(-1, indices.flatten(-2)).view(indices.shape)
        # Laid out as the tensor itself is: what follows is several times faster for it.
        where = indices.permute(0, 2, 3, 1)
        found = tangent.permute(0, 2, 3, 1).flatten(1, 2).gather(1, where.flatten(1, 2))
        return found.view(where.shape).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        x, indices = ctx.saved_tensors
        found = aten.max_pool2d_with_indices_backward(gradient, x, *ctx.geometry, indices)
        return (found, *(None,) * 5)


# How torch's functions are called, brought to the form of those above; None where that form does not hold it.


def _conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:  # fmt: skip
    if isinstance(padding, str) or input.ndim != 4:
        return None
    return _Convolution.apply(
        input, weight, bias, _pair(stride), _pair(padding), _pair(dilation), False, (0, 0), groups
    )


def _batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float | None = 0.1, eps: float = 1e-5,
) -> Tensor | None:  # fmt: skip
    if any(t is None for t in (running_mean, running_var, weight, bias)):
        return None
    return _BatchNorm.apply(input, weight, bias, running_mean, running_var, training, momentum, eps)


def _relu(input: Tensor, inplace: bool = False) -> Tensor | None:
    return _Relu.apply(input, inplace)


def _max_pool(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | None:  # fmt: skip
    if return_indices:
        return None
    kernel = _pair(kernel_size)
    moved = kernel if stride is None or stride == [] else _pair(stride)
    return _MaxPool.apply(input, kernel, moved, _pair(padding), _pair(dilation), ceil_mode)


_BY: dict[Any, Callable[..., Tensor | None]] = {
    functional.conv2d: _conv2d,
    functional.batch_norm: _batch_norm,
    functional.relu: _relu,
    functional.max_pool2d: _max_pool,
}
