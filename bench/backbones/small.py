"""Two small backbones with adjustable depth: a multilayer perceptron and a convolutional network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.backbones.declare import backbone
from bench.errors import DataError, unknown

if TYPE_CHECKING:
    from torch import nn

    from bench.backbones.base import Backbone

NORMS = ("none", "batch")


def _mlp_depth(widths: Sequence[int] = (64, 64), norm: str = "none", dropout: float = 0.0) -> int:
    _check_norm(norm)
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise DataError(f'backbone "mlp": dropout = {dropout!r} is not within 0 <= dropout < 1')
    return len(sizes("mlp", "widths", widths))


def _cnn_depth(channels: Sequence[int] = (16, 32, 32, 64), norm: str = "none") -> int:
    _check_norm(norm)
    return len(sizes("cnn", "channels", channels))


# As measured (tests/benchmarks, "lanes"): what a stack gains shrinks as the arithmetic of one network fills
# the machine by itself.
_GPU_LANES = 64
_MLP_LANES, _CNN_LANES = 16, 4
_SMALL_IMAGE = 16 * 16  # pixels


def _mlp_lanes(shape: tuple[int, ...], machine: str) -> int:
    return _GPU_LANES if machine == "cuda" else _MLP_LANES


def _cnn_lanes(shape: tuple[int, ...], machine: str) -> int:
    if machine == "cuda":
        return _GPU_LANES
    return _CNN_LANES if len(shape) == 3 and shape[-1] * shape[-2] <= _SMALL_IMAGE else 1


def _mlp_refuses(shape: tuple[int, ...], **_: Any) -> str | None:
    if len(shape) in (1, 3):
        return None
    return f'backbone "mlp" needs tables (D,) or images (C, H, W), got inputs of shape {tuple(shape)}'


def _cnn_refuses(shape: tuple[int, ...], **_: Any) -> str | None:
    return None if len(shape) == 3 else f'backbone "cnn" needs images (C, H, W), got inputs of shape {tuple(shape)}'


@backbone("mlp", depth=_mlp_depth, lanes=_mlp_lanes, refuses=_mlp_refuses)
def mlp(
    shape: tuple[int, ...], *, widths: Sequence[int] = (64, 64), norm: str = "none", dropout: float = 0.0
) -> Backbone:
    """Multilayer perceptron for tables and small images, one block a hidden layer.

    Parameters
    ----------
    shape : tuple of int
        (D,) for tables, which are taken as they are; (C, H, W) for images, which are flattened.
    widths : sequence of int
        Units of each hidden layer.
    norm : {"none", "batch"}
    dropout : float
        Probability with which a hidden unit is dropped, 0 <= dropout < 1.

    Raises
    ------
    DataError
        For an input shape or a value that cannot be.
    """
    from torch import nn

    from bench.backbones.base import Backbone

    _mlp_depth(widths, norm, dropout)
    widths, images = sizes("mlp", "widths", widths), len(shape) == 3
    if problem := _mlp_refuses(shape):
        raise DataError(problem)
    blocks, inputs = {}, 1
    for size in shape:
        inputs *= size
    for index, units in enumerate(widths):
        layers: list[nn.Module] = [nn.Flatten()] if images and index == 0 else []
        layers.append(he(nn.Linear(inputs, units)))
        layers += [nn.BatchNorm1d(units)] if norm == "batch" else []
        layers.append(nn.ReLU())
        layers += [nn.Dropout(dropout)] if dropout else []
        blocks[f"hidden{index + 1}"] = nn.Sequential(*layers)
        inputs = units
    mean, std = ((0.5,), (0.5,)) if images else ((0.0,), (1.0,))
    return Backbone(blocks, inputs, mean, std)


@backbone("cnn", depth=_cnn_depth, lanes=_cnn_lanes, refuses=_cnn_refuses)
def cnn(shape: tuple[int, ...], *, channels: Sequence[int] = (16, 32, 32, 64), norm: str = "none") -> Backbone:
    """Small convolutional network, one block a 3 x 3 convolution.

    Each block but the last halves the image as long as there is something to halve; the last one
    averages over what is left, so any size of image will do.

    Parameters
    ----------
    shape : tuple of int
        (C, H, W).
    channels : sequence of int
        Output channels of each convolution.
    norm : {"none", "batch"}

    Raises
    ------
    DataError
        For an input shape or a value that cannot be.
    """
    import torch
    from torch import nn

    from bench.backbones.base import Backbone
    from bench.backbones.layers import GlobalAveragePool

    channels = sizes("cnn", "channels", channels)
    _check_norm(norm)
    if problem := _cnn_refuses(shape):
        raise DataError(problem)
    blocks, inputs, side = {}, shape[0], min(shape[1:])
    for index, outputs in enumerate(channels):
        last = index == len(channels) - 1
        layers: list[nn.Module] = [he(nn.Conv2d(inputs, outputs, 3, padding=1, bias=norm == "none"))]
        layers += [nn.BatchNorm2d(outputs)] if norm == "batch" else []
        if side >= 2 and not last:
            # Pooling first: the rectified maximum is the maximum of the rectified, and there is a quarter to rectify.
            layers.append(nn.MaxPool2d(2))
            side //= 2
        layers.append(nn.ReLU(inplace=True))
        layers += [GlobalAveragePool()] if last else []
        blocks[f"conv{index + 1}"] = nn.Sequential(*layers)
        inputs = outputs
    network = Backbone(blocks, inputs, (0.5,), (0.5,))
    # About a quarter less time a step than with the default layout, at these sizes on a CPU.
    return network.to(memory_format=torch.channels_last)


def he(layer: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    """Initialise for rectified units without normalisation (He et al., 2015, equation 10), biases zero."""
    from torch import nn

    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _check_norm(norm: str) -> None:
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS)


def sizes(backbone_name: str, argument: str, values: Sequence[int]) -> tuple[int, ...]:
    """Return layer sizes as a tuple, or say what is wrong with them."""
    if isinstance(values, str | bytes) or not isinstance(values, Sequence) or not values:
        raise DataError(f'backbone "{backbone_name}": {argument} must be a list of at least one size, got {values!r}')
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise DataError(f'backbone "{backbone_name}": {argument} must be whole numbers above 0, got {value!r}')
    return tuple(values)
