"""How tangents pass what networks are made of: convolutions, normalisation, pooling, attention, activations."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from bench.weighting.operations import Operation, active
from bench.weighting.tape_rules import Held, Push, aten, plus, refuse, rule, tensors


@rule("convolution")
def _convolution(operation: Operation, args: list[Any], out: Tensor) -> tuple[Push, Held]:
    x, w, _, *geometry = args
    x, w, shape = (x if active(w) else None), (w if active(x) else None), out.shape

    def push(t_x: Tensor | None, t_w: Tensor | None, t_bias: Tensor | None, *_: Any) -> Tensor:
        if t_x is None and t_w is None:
            return t_bias.view(1, -1, *(1,) * (len(shape) - 2)).expand(shape)
        if t_w is None:
            return aten.convolution(t_x, w, t_bias, *geometry)
        part = aten.convolution(x, t_w, t_bias, *geometry)
        return part if t_x is None else part.add_(aten.convolution(t_x, w, None, *geometry))

    return push, tensors((x, w))


@rule("relu")
def _relu(operation: Operation, args: list[Any], out: Tensor) -> tuple[Push, Held]:
    return lambda tangent: aten.threshold_backward(tangent, out, 0), (out,)


@rule("sigmoid")
def _sigmoid(operation: Operation, args: list[Any], out: Tensor) -> tuple[Push, Held]:
    return lambda tangent: aten.sigmoid_backward(tangent, out), (out,)


@rule("tanh")
def _tanh(operation: Operation, args: list[Any], out: Tensor) -> tuple[Push, Held]:
    return lambda tangent: aten.tanh_backward(tangent, out), (out,)


@rule("hardtanh", "hardswish", "hardsigmoid", "silu", "gelu", reads_first=True)
def _elementwise(operation: Operation, args: list[Any], out: Tensor) -> tuple[Push, Held]:
    """A function of each element: the derivative, times the gradient or the tangent, is torch's backward."""
    backward, x = getattr(aten, f"{operation.name.partition('::')[2]}_backward"), args[0]
    split = len(args) - len(operation.keywords)
    rest, named = args[1:split], dict(zip(operation.keywords, args[split:], strict=True))
    return lambda tangent, *_: backward(tangent, x, *rest, **named), (x,)


@rule("exp")
def _exp(operation: Operation, args: list[Any], out: Tensor) -> tuple[Push, Held]:
    return lambda tangent: tangent * out, (out,)


@rule("_log_softmax")
def _log_softmax(operation: Operation, args: list[Any], out: Tensor) -> tuple[Push, Held]:
    dim = args[1]

    def push(tangent: Tensor, *_: Any) -> Tensor:
        return tangent - (out.exp() * tangent).sum(dim, keepdim=True)

    return push, (out,)


@rule("_softmax")
def _softmax(operation: Operation, args: list[Any], out: Tensor) -> tuple[Push, Held]:
    dim = args[1]
    # The Jacobian is symmetric, so that pulling a gradient back and pushing a tangent on are the same.
    return lambda tangent, *_: aten._softmax_backward_data(tangent, out, dim, out.dtype), (out,)


@rule("max_pool2d_with_indices")
def _max_pool(operation: Operation, args: list[Any], out: Any) -> tuple[Push, Held]:
    indices = out[1]
    last = indices.ndim == 4 and indices.is_contiguous(memory_format=torch.channels_last)

    def push(tangent: Tensor, *_: Any) -> tuple[Tensor, None]:
        if not last:
            return tangent.flatten(-2).gather(-1, indices.flatten(-2)).view(indices.shape), None
        # Laid out as the tensor itself is: what follows is several times faster for it.
        where = indices.permute(0, 2, 3, 1)
        found = tangent.permute(0, 2, 3, 1).flatten(1, 2).gather(1, where.flatten(1, 2))
        return found.view(where.shape).permute(0, 3, 1, 2), None

    return push, (indices,)


@rule("native_dropout")
def _dropout(operation: Operation, args: list[Any], out: Any) -> tuple[Push, Held]:
    mask, p = out[1], args[1]
    return lambda tangent, *_: (tangent * mask * (1 / (1 - p) if p < 1 else 0.0), None), (mask,)


@rule("native_batch_norm", "cudnn_batch_norm")
def _batch_norm(operation: Operation, args: list[Any], out: Any) -> tuple[Push, Held]:
    """Ioffe and Szegedy (2015), differentiated through the batch's mean and variance in training mode.

    With r the inverse deviation, h the normalised input and T its tangent, all of a channel:
    w r (T - mean(T) - h mean(h T)) + dw h + db. The two means are what the backward of the operation sums.
    """
    x, w, _, mean, variance, training, _, eps = args
    mean, inverse = out[1:3] if training else (mean.clone(), (variance + eps).rsqrt())  # running ones move on
    each = (1, -1) + (1,) * (x.ndim - 2)

    def push(t_x: Tensor | None, t_w: Tensor | None, t_bias: Tensor | None, *_: Any) -> tuple[Tensor, ...]:
        variance, scale = inverse.double().pow(-2).sub(eps).to(inverse), inverse if w is None else w * inverse
        slope = torch.zeros_like(mean) if t_w is None else t_w
        shift = torch.zeros_like(mean) if t_bias is None else t_bias
        if training and t_x is not None:
            sums = (t_x, x, w, None, None, mean, inverse, True, eps, [False, True, True])
            _, along, total = aten.native_batch_norm_backward(*sums)
            per = x.numel() // x.shape[1]
            slope, shift = slope - scale * along / per, shift - scale * total / per
        part = aten.native_batch_norm(x, slope, shift, mean, variance, False, 0.0, eps)[0]
        return (part if t_x is None else part.addcmul_(t_x, scale.view(each).to(t_x.dtype)), *(None,) * (len(out) - 1))

    return push, tensors((x, w))


@rule("native_layer_norm")
def _layer_norm(operation: Operation, args: list[Any], out: Any) -> tuple[Push, Held]:
    """Ba et al. (2016): the same of each example; the Jacobian without weights is symmetric."""
    x, shape, w, _, eps = args
    _, mean, inverse = out

    def push(t_x: Tensor | None, _: Any, t_w: Tensor | None, t_bias: Tensor | None, *__: Any) -> tuple:
        part = None
        if t_x is not None:
            numbers = (t_x, x, shape, mean, inverse, None, None, [True, False, False])
            part = aten.native_layer_norm_backward(*numbers)[0]
            part = part if w is None else part.mul_(w)
        if t_w is not None or t_bias is not None:
            weight = torch.zeros_like(t_bias) if t_w is None else t_w
            part = plus(aten.native_layer_norm(x, shape, weight, t_bias, eps)[0], part)
        return part, None, None

    return push, tensors((x, w))


@rule(
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention",
)  # fmt: skip
def _attention(operation: Operation, args: list[Any], out: Any) -> tuple[Push, Held]:
    """Vaswani et al. (2017), equation 1: fused kernels keep no weights, so these are computed anew."""
    named = operation.named(args)
    query, key, value = args[:3]
    mask = named.get("attn_mask", named.get("attn_bias"))
    factor = named["scale"] if named["scale"] is not None else 1 / math.sqrt(query.shape[-1])
    if named["dropout_p"] > 0 or active(mask):
        return refuse(operation.name, "it drops weights" if named["dropout_p"] > 0 else "its mask is learned"), ()

    def push(t_query: Tensor | None, t_key: Tensor | None, t_value: Tensor | None, *_: Any) -> tuple:
        scores = (query * factor) @ key.transpose(-2, -1)
        if named["is_causal"]:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores.masked_fill_(later, -math.inf)
        weights = (scores if mask is None else scores.add_(mask)).softmax(-1)
        along = None if t_query is None else (t_query * factor) @ key.transpose(-2, -1)
        along = along if t_key is None else plus((query * factor) @ t_key.transpose(-2, -1), along)
        part = None if t_value is None else weights @ t_value
        if along is not None:
            part = plus(aten._softmax_backward_data(along, weights, -1, weights.dtype) @ value, part)
        return (part, *(None,) * (len(out) - 1))

    return push, tensors((query, key, value, mask))
