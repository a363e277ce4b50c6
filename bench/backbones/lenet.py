"""LeNet-5, the network of many published results on MNIST."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.backbones.declare import backbone
from bench.backbones.small import he, sizes
from bench.errors import DataError

if TYPE_CHECKING:
    from torch import nn

    from bench.backbones.base import Backbone

SMALLEST = 12  # pixels a side: one position is left after the second pooling
KERNEL = 5


def _depth(channels: Sequence[int] = (6, 16), hidden: Sequence[int] = (120, 84), **_: Any) -> int:
    return len(_channels(channels)) + len(sizes("lenet", "hidden", hidden))


# As measured on 28 x 28: four side by side take a little over half the time of one after the other, eight no less.
_GPU_LANES, _LANES = 64, 4
_SMALL_IMAGE = 32 * 32  # pixels


def _lanes(shape: tuple[int, ...], machine: str) -> int:
    if machine == "cuda":
        return _GPU_LANES
    return _LANES if len(shape) == 3 and shape[-1] * shape[-2] <= _SMALL_IMAGE else 1


def _refuses(shape: tuple[int, ...], **_: Any) -> str | None:
    if len(shape) == 3 and min(shape[1:]) >= SMALLEST:
        return None
    return (
        f'backbone "lenet" needs images (C, H, W) of at least {SMALLEST} x {SMALLEST}, '
        f"got inputs of shape {tuple(shape)}"
    )


@backbone("lenet", depth=_depth, lanes=_lanes, refuses=_refuses)
def lenet(shape: tuple[int, ...], *, channels: Sequence[int] = (6, 16), hidden: Sequence[int] = (120, 84)) -> Backbone:
    """LeNet-5: two 5 x 5 convolutions with pooling, then hidden layers (LeCun et al., Proceedings of the IEEE, 1998).

    As it is built today: every feature map is seen by the next layer, pooling takes the maximum, units are
    rectified and the classifier is linear. The first convolution is padded, as the original's digits lay
    in a frame. A block is a convolution or a hidden layer.

    Parameters
    ----------
    shape : tuple of int
        (C, H, W), at least 12 pixels a side.
    channels : sequence of int
        Output channels of the two convolutions.
    hidden : sequence of int
        Units of each hidden layer.

    Raises
    ------
    DataError
        For an input shape or a value that cannot be.
    """
    import torch
    from torch import nn

    from bench.backbones.base import Backbone

    channels, hidden = _channels(channels), sizes("lenet", "hidden", hidden)
    if problem := _refuses(shape):
        raise DataError(problem)
    blocks: dict[str, nn.Module] = {}
    inputs, sides = shape[0], list(shape[1:])
    for index, outputs in enumerate(channels):
        padding = KERNEL // 2 if index == 0 else 0
        layer = he(nn.Conv2d(inputs, outputs, KERNEL, padding=padding))
        # Pooling first: the rectified maximum is the maximum of the rectified, and there is a quarter to rectify.
        blocks[f"conv{index + 1}"] = nn.Sequential(layer, nn.MaxPool2d(2), nn.ReLU(inplace=True))
        inputs = outputs
        sides = [(side + 2 * padding - KERNEL + 1) // 2 for side in sides]
    inputs *= sides[0] * sides[1]
    for index, units in enumerate(hidden):
        layers: list[nn.Module] = [nn.Flatten()] if index == 0 else []
        blocks[f"hidden{index + 1}"] = nn.Sequential(*layers, he(nn.Linear(inputs, units)), nn.ReLU())
        inputs = units
    return Backbone(blocks, inputs, (0.5,), (0.5,)).to(memory_format=torch.channels_last)


def _channels(values: Sequence[int]) -> tuple[int, ...]:
    found = sizes("lenet", "channels", values)
    if len(found) != 2:
        raise DataError(f'backbone "lenet": channels must be two numbers, one a convolution, got {list(found)}')
    return found
