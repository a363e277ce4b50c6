"""Handwritten digits that come with scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.tasks.arguments import whole
from bench.tasks.base import Task, task

DIGITS = tuple("0123456789")
SIDE, LEVELS = 8, 16


def _shape(image_size: int | None = None) -> tuple[int, ...]:
    return (1, image_size or SIDE, image_size or SIDE)


@task("digits", version=1, classes=DIGITS, shape=_shape)
def digits(root: Path, *, image_size: int | None = None) -> Task:
    """Handwritten digits, 8 x 8 (scikit-learn's copy of a part of the UCI optical digits).

    1797 images of 0 to 9, bright ink on black, scaled from their 17 grey levels to 0 to 255. The data
    have no split of their own; the protocol cuts the test set.

    Parameters
    ----------
    root : Path
        Not used: the data come with scikit-learn.
    image_size : int, optional
        Side to resample to (bilinear); 8 without it.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = np.round(bunch.images * (255 / LEVELS)).astype(np.uint8)
    if image_size is not None:
        whole("digits", 1, image_size=image_size)
        x = _resample(x, image_size)
    return Task(x[:, None], bunch.target, DIGITS, name="digits")


def _resample(x: np.ndarray, side: int) -> np.ndarray:
    from PIL import Image

    if side == x.shape[-1]:
        return x
    return np.stack([np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)) for image in x])
