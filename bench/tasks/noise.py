"""Images without content and labels without meaning: a source from which nothing can be learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.identity import generator
from bench.tasks.arguments import number, whole
from bench.tasks.base import Task, task


def _classes(*, n_classes: int = 10, **_: Any) -> list[str]:
    whole("noise", 2, n_classes=n_classes)
    return [f"class {i}" for i in range(n_classes)]


def _shape(*, image_size: int = 16, channels: int = 1, **_: Any) -> tuple[int, ...]:
    return (channels, image_size, image_size)


@task("noise", version=1, classes=_classes, shape=_shape)
def noise(
    root: Path,
    *,
    n: int = 3000,
    n_test: int = 1000,
    n_classes: int = 10,
    image_size: int = 16,
    channels: int = 1,
    smoothness: float = 0.0,
    seed: int = 0,
) -> Task:
    """Random images with random labels: nothing to learn, so test accuracy stays at chance.

    Parameters
    ----------
    root : Path
        Not used: the data are drawn.
    n, n_test : int
        Images in the train pool and in the test set, balanced over the classes.
    n_classes : int
    image_size : int
        Side in pixels.
    channels : int
    smoothness : float
        Standard deviation in pixels of a Gaussian filter over the noise, stretched to full contrast
        afterwards; 0 leaves every pixel independent and uniform.
    seed : int
    """
    names = _classes(n_classes=n_classes)
    whole("noise", n_classes, n=n, n_test=n_test)
    whole("noise", 1, image_size=image_size, channels=channels)
    number("noise", 0, image_size, smoothness=smoothness)
    shape = (channels, image_size, image_size)
    parts = {}
    for part, size, x, y in (("train", n, "x", "y"), ("test", n_test, "x_test", "y_test")):
        rng = generator("noise", part, n_classes, list(shape), smoothness, seed)
        parts[x] = _images(rng, (size, *shape), smoothness)
        parts[y] = rng.permutation(np.arange(size) % n_classes)
    return Task(classes=names, name="noise", **parts)


def _images(rng: np.random.Generator, shape: tuple[int, ...], smoothness: float) -> np.ndarray:
    x = rng.integers(0, 256, shape, dtype=np.uint8)
    if not smoothness:
        return x
    from scipy.ndimage import gaussian_filter

    filtered = gaussian_filter(x, (0, 0, smoothness, smoothness), output=np.float32, mode="wrap")
    low, high = filtered.min((2, 3), keepdims=True), filtered.max((2, 3), keepdims=True)
    return np.round(255 * (filtered - low) / np.maximum(high - low, 1e-6)).astype(np.uint8)
