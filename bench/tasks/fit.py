"""Fitting a source's images to the input shape of its target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import DataError
from bench.tasks.arguments import follows
from bench.tasks.arrays import map_rows
from bench.tasks.base import Task
from bench.trial import named_shapes

if TYPE_CHECKING:
    from torch import Tensor

LUMA = (0.299, 0.587, 0.114)


def problem(source_shape: tuple[int, ...], target_shape: tuple[int, ...]) -> str | None:
    """Say in one sentence why inputs of one shape cannot be fitted to another, or None if they can.

    Parameters
    ----------
    source_shape, target_shape : tuple of int
        Shape of one input: (C, H, W) or (D,).
    """
    source, target = tuple(source_shape), tuple(target_shape)
    if named_shapes(source) or named_shapes(target):
        return _mapping_problem(source, target)
    for shape in (source, target):
        if len(shape) not in (1, 3) or min(shape) < 1:
            return f"{shape} is the shape of neither an image (C, H, W) nor a table row (D,)."
    if source == target:
        return None
    if len(source) != len(target):
        return f"The source has {_kind(source)} and the target {_kind(target)}, so no input of one fits the other."
    if len(source) == 1:
        return f"The source has {source[0]} columns and the target {target[0]}; tables must have the same columns."
    if source[0] != target[0] and (source[0], target[0]) not in ((1, 3), (3, 1)):
        return (
            f"The source's images have {source[0]} channels and the target's {target[0]}; "
            "only grey (1) and RGB (3) are turned into each other."
        )
    return None


def _mapping_problem(source: tuple[Any, ...], target: tuple[Any, ...]) -> str | None:
    """Say why inputs that are mappings, or only one side's, do not meet; None if they do."""
    mine, theirs = named_shapes(source), named_shapes(target)
    if not (mine and theirs):
        which = ("source", mine) if mine else ("target", theirs)
        return f"The {which[0]}'s inputs are a mapping of {', '.join(which[1])}, the other's an array."
    for name in [*theirs, *mine]:
        if mine.get(name) != theirs.get(name):
            said = [f"of shape {side[name]}" if name in side else "missing" for side in (mine, theirs)]
            return f'The input "{name}" is {said[0]} in the source and {said[1]} in the target.'
    return None


def fit(task: Task, shape: tuple[int, ...]) -> Task:
    """Bring a task's images to another height, width and number of channels.

    The aspect is kept: what goes beyond the wanted one is cropped away on both sides of the centre, to the
    nearest pixel, and the rest resampled bilinearly with antialiasing. Grey becomes RGB by repetition, RGB
    becomes grey as the luma of ITU-R BT.601, 0.299 R + 0.587 G + 0.114 B. Bytes stay bytes (rounded), floats
    keep their type; labels, flags, groups and domains are as they were.

    Parameters
    ----------
    task : Task
    shape : tuple of int
        (C, H, W) of the target, or (D,) for a table.

    Returns
    -------
    Task
        `task` itself when its inputs have that shape already.

    Raises
    ------
    DataError
        With the sentence of :func:`problem`, when the shapes cannot meet, and where targets lie in the images.
    """
    shape = tuple(shape)
    if task.shape == shape:
        return task
    reason = problem(task.shape, shape)
    if reason:
        raise DataError(f"{task.name}: cannot be fitted from {task.shape} to {shape}. {reason}")
    follows("fit", task)
    return task.mapped(lambda x: fit_images(x, shape, task.name))


def fit_images(x: np.ndarray, shape: tuple[int, int, int], where: str = "") -> np.ndarray:
    """Bring images to a shape, as :func:`fit` does, some at a time.

    Parameters
    ----------
    x : array, shape (N, C, H, W)
        uint8, or float.
    shape : tuple of int
        (C, H, W) wanted; C as it is, or 1 for 3, or 3 for 1.
    where : str
        What an error calls the data.

    Returns
    -------
    array, shape (N, *shape), dtype of `x`
        `x` itself where it has that shape, else from :func:`bench.tasks.arrays.allocate`.
    """
    import torch
    from torch.nn.functional import interpolate

    shape = tuple(shape)
    if x.shape[1:] == shape:
        return x
    rows, columns = centre(x.shape[2:], shape[1:])
    work = np.dtype(np.float64 if x.dtype == np.float64 else np.float32)

    def fitted(part: np.ndarray) -> np.ndarray:
        chunk = torch.from_numpy(np.array(part[..., rows, columns], work, order="C"))
        if chunk.shape[1] > shape[0]:
            chunk = _luma(chunk)
        if chunk.shape[2:] != shape[1:]:
            chunk = interpolate(chunk, size=shape[1:], mode="bilinear", antialias=True)
        if x.dtype == np.uint8:
            chunk = chunk.round().clamp(0, 255)
        # A grey chunk fills all three channels of an RGB result.
        return np.broadcast_to(chunk.numpy().astype(x.dtype), (len(part), *shape))

    widest = max(x[0].size, int(np.prod(shape)))
    return map_rows(fitted, x, widest * work.itemsize, where)


def centre(sides: tuple[int, int], wanted: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of the largest centred part that has the aspect of another height and width.

    To the nearest pixel; everything where the aspect is the same already.
    """
    scale = min(sides[0] / wanted[0], sides[1] / wanted[1])
    kept = [max(1, min(side, round(scale * other))) for side, other in zip(sides, wanted, strict=True)]
    begins = [(side - part) // 2 for side, part in zip(sides, kept, strict=True)]
    return tuple(slice(begin, begin + part) for begin, part in zip(begins, kept, strict=True))


def _luma(x: Tensor) -> Tensor:
    return (x * x.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _kind(shape: tuple[int, ...]) -> str:
    return f"images of {' x '.join(map(str, shape))}" if len(shape) == 3 else f"table rows of {shape[0]} columns"
