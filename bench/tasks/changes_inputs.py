"""Changes to the inputs of all parts alike: they grade how far a source is from its target.

None of them flags examples as harmful: what they change is the whole task. To spoil a share of a train
pool, mix in a changed copy of the task (the change "mix" flags it).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.errors import DataError
from bench.identity import generator
from bench.tasks.arguments import follows, no_mapping, number
from bench.tasks.arrays import map_rows
from bench.tasks.base import Task, change
from bench.tasks.changes_labels import derangement


@change("pixel_permutation", version=1)
def pixel_permutation(task: Task, rng: np.random.Generator, share: float = 1.0, seed: int = 0) -> Task:
    """Move the pixels to other places, by one permutation for all images and channels (columns of a table).

    Parameters
    ----------
    task : Task
    rng : numpy.random.Generator
        Not used: tasks of one image size and one `seed` are permuted alike.
    share : float
        Share of the places that take part, 0 to 1; each of them gets another one's content.
    seed : int
        Which permutation.
    """
    number("pixel_permutation", 0, 1, share=share)
    no_mapping("pixel_permutation", task)
    follows("pixel_permutation", task)
    places = int(np.prod(task.shape[1:])) if task.is_image else task.shape[0]
    order = permutation(places, share, seed)

    def permuted(x: np.ndarray) -> np.ndarray:
        flat = x.reshape(*x.shape[:2], -1) if x.ndim == 4 else x
        return flat[..., order].reshape(x.shape)

    if task.measured is not None:  # a column takes with it whether it is
        task = task.changed(measured=task.measured[order])
    return _mapped(task, permuted)


def permutation(places: int, share: float, seed: int) -> np.ndarray:
    """Draw a permutation of `places` that moves ``round(share * places)`` of them and no other.

    Returns
    -------
    integer array, shape (places,)
        Where each place takes its content from.
    """
    rng = generator("pixel permutation", places, float(share), seed)
    chosen = rng.permutation(places)[: round(share * places)]
    order = np.arange(places)
    order[chosen] = chosen[derangement(len(chosen), rng)]
    return order


@change("inversion", version=1)
def inversion(task: Task, rng: np.random.Generator) -> Task:
    """Turn bright into dark: v becomes 255 - v (1 - v for float images).

    Raises
    ------
    DataError
        For a table.
    """
    _need_images(task, "inversion")
    top = 255 if task.x.dtype == np.uint8 else task.x.dtype.type(1)
    return _mapped(task, lambda x: top - x)


@change("rotation", version=1)
def rotation(task: Task, rng: np.random.Generator, degrees: float) -> Task:
    """Turn every input by one angle, counter-clockwise.

    Parameters
    ----------
    task : Task
        Images keep their size; corners that come from outside are 0, values between pixels bilinear, and
        quarter turns of square images exact. A table of two columns is turned about the origin.
    rng : numpy.random.Generator
        Not used.
    degrees : float

    Raises
    ------
    DataError
        For a table that has not two columns.
    """
    number("rotation", degrees=degrees)
    follows("rotation", task)
    if not task.is_image:
        _need_numbers(task, "rotation")
        if task.shape != (2,):
            raise DataError(f"rotation: needs images, or a table of two columns; {task.name} has {task.shape[0]}")
        angle = np.deg2rad(degrees)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return _mapped(task, lambda x: (x @ turn.T).astype(x.dtype))
    height, width = task.shape[1:]
    if height == width and degrees % 90 == 0:
        return _mapped(task, lambda x: np.rot90(x, int(degrees // 90), axes=(2, 3)))

    def turned(x: np.ndarray) -> np.ndarray:
        from scipy.ndimage import rotate

        return rotate(x, degrees, axes=(2, 3), reshape=False, order=1, mode="grid-constant", cval=0)

    return _mapped(task, turned)


@change("blur", version=1)
def blur(task: Task, rng: np.random.Generator, sigma: float) -> Task:
    """Blur the images with a Gaussian; edges are mirrored.

    Parameters
    ----------
    task : Task
    rng : numpy.random.Generator
        Not used.
    sigma : float
        Standard deviation in pixels.

    Raises
    ------
    DataError
        For a table.
    """
    _need_images(task, "blur")
    number("blur", 0, sigma=sigma)

    def blurred(x: np.ndarray) -> np.ndarray:
        from scipy.ndimage import gaussian_filter

        output = np.float32 if x.dtype == np.uint8 else x.dtype
        return _as(gaussian_filter(x, (0, 0, sigma, sigma), output=output), x.dtype)

    return _mapped(task, blurred)


@change("input_noise", version=1)
def input_noise(task: Task, rng: np.random.Generator, std: float) -> Task:
    """Add Gaussian noise to every value, drawn anew for each.

    Parameters
    ----------
    task : Task
    rng : numpy.random.Generator
    std : float
        Standard deviation: on a scale of 0 to 1 for images, which are cut off at black and white; in
        standard deviations of each column (over the train pool) for tables.
    """
    number("input_noise", 0, std=std)
    if not task.is_image:
        _need_numbers(task, "input_noise")
        scale = std * task.x.std(0)
        return _mapped(task, lambda x: (x + scale * rng.standard_normal(x.shape)).astype(x.dtype))
    top = 255 if task.x.dtype == np.uint8 else 1

    def noisy(x: np.ndarray) -> np.ndarray:
        added = rng.standard_normal(x.shape, dtype=np.float32) * np.float32(std * top)
        return _as(np.clip(x + added, 0, top), x.dtype)

    return _mapped(task, noisy)


def _need_images(task: Task, name: str) -> None:
    no_mapping(name, task)
    if not task.is_image:
        what = "holds token ids" if task.vocabulary else f"is a table of {task.shape[0]} columns"
        raise DataError(f"{name}: needs images; {task.name} {what}")


def _need_numbers(task: Task, name: str) -> None:
    no_mapping(name, task)
    if task.vocabulary:
        raise DataError(f"{name}: needs images or a table of numbers; {task.name} holds token ids")


def _as(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.round(values).astype(dtype) if dtype == np.uint8 else values.astype(dtype, copy=False)


def _mapped(task: Task, function: Callable[[np.ndarray], np.ndarray]) -> Task:
    """Apply `function` to every part, in pieces: the floats of a whole data set may not fit."""
    return task.mapped(lambda x: map_rows(function, x, 8 * x[0].size, task.name))
