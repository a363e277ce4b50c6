"""Image files read one by one into uint8 arrays, with an error that names the file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import DataError
from bench.tasks import arrays

RESIZE = ("crop", "squash")
GREY_MODES = ("1", "L", "LA", "I;16", "I;16L", "I;16B", "I;16N", "I")
MODES = {1: "L", 3: "RGB"}
# What a file may be, whatever its name: of Pillow's other formats some hand the file to another program
# (Ghostscript for EPS) or read more files than the one that was named.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def open_image(path: str | Path) -> Any:
    """Open an image file without decoding it.

    Parameters
    ----------
    path : path

    Returns
    -------
    PIL.Image.Image

    Raises
    ------
    DataError
        For a file that is none of :data:`FORMATS`, or one with more pixels than PIL's `Image.MAX_IMAGE_PIXELS`: a small
        file can claim to be larger than memory.
    """
    from PIL import Image

    if not os.path.isfile(path):  # a pipe would be waited for
        raise DataError(f"{path}: no such image")
    try:
        with warnings.catch_warnings():
            # PIL only warns up to twice its bound.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(path, formats=FORMATS)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: more than {Image.MAX_IMAGE_PIXELS} pixels; not decoded") from error
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{path}: not an image, or damaged") from error
    except Exception as error:
        # Pillow's readers raise a dozen types over damaged headers.
        raise DataError(f"{path}: cannot be read as an image: {error}") from error


@contextmanager
def guarded() -> Iterator[None]:
    """Hold another library's use of Pillow to what :func:`open_image` allows, as long as this lasts."""
    from PIL import Image

    real = Image.open
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        Image.open = partial(real, formats=FORMATS)
        try:
            yield
        finally:
            Image.open = real


def decode(image: Any, where: str, channels: int, size: int | None = None, resize: str = "crop") -> np.ndarray:
    """Decode an opened image to bytes.

    Parameters
    ----------
    image : PIL.Image.Image
    where : str
        What an error calls it.
    channels : int
        1 for grey, 3 for RGB.
    size : int, optional
        Side of a square to resize to, bilinear and antialiased. The image's own size without it.
    resize : {"crop", "squash"}
        Whether the aspect is kept (the shorter side is brought to `size` and the centre cut out), or the
        whole image pressed into the square.

    Returns
    -------
    uint8 array, shape (channels, H, W)

    Raises
    ------
    DataError
        For an image that is cut short or damaged, or whose pixels are floats of no known range.
    """
    from PIL import Image

    try:
        image = _bytes(image, where).convert(MODES[channels])
        if size is not None and image.size != (size, size):
            box = None if resize == "squash" else centre_square(image.size)
            image = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
        pixels = np.asarray(image, dtype=np.uint8)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{where}: damaged image: {error}") from error
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def centre_square(size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the largest centred square of an image (width, height), as left, upper, right and lower edge."""
    width, height = size
    side = min(size)
    return (width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2


def read_image(path: str | Path, channels: int, size: int | None = None, resize: str = "crop") -> np.ndarray:
    """Open and decode one file; parameters, result and errors as of `open_image` and `decode`."""
    with open_image(path) as image:
        return decode(image, str(path), channels, size, resize)


def _bytes(image: Any, where: str) -> Any:
    """Bring deeper and indexed pixels to eight bits a channel; PIL itself would clip 16-bit ones at 255."""
    from PIL import Image

    if image.mode == "F":
        raise DataError(f"{where}: its pixels are floats, of no known range; use an npz, or 8- or 16-bit images")
    if image.mode.startswith("I"):
        pixels = np.asarray(image).astype(np.int64)
        if pixels.size and (pixels.min() < 0 or pixels.max() > 65535):
            raise DataError(f"{where}: its pixels go beyond 16 bits ({pixels.min()} to {pixels.max()})")
        # (v + 128) // 257 is v / 257 rounded, 65535 becoming 255.
        return Image.fromarray(((pixels + 128) // 257).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA")
    return image


def stack(images: Iterable[np.ndarray], count: int, where: str, name: Callable[[int], str]) -> np.ndarray:
    """Put images of one size, as they are decoded one by one, into one array.

    Parameters
    ----------
    images : iterable of uint8 arrays, shape (C, H, W)
    count : int
        Their number, at least one.
    where : str
        What an error calls the whole.
    name : callable
        Takes the number of an image and returns what an error calls it.

    Returns
    -------
    uint8 array, shape (count, C, H, W)

    Raises
    ------
    DataError
        For sizes that differ, or where there is no room for them.
    """
    x = None
    for row, image in enumerate(images):
        if x is None:
            x = arrays.allocate((count, *image.shape), np.uint8, where)
            step = max(1, arrays.CHUNK_BYTES // image.nbytes)
        if image.shape != x.shape[1:]:
            a, b = (f"{shape[2]} x {shape[1]}" for shape in (x.shape[1:], image.shape))
            raise DataError(f"{where}: {name(0)} is {a} and {name(row)} {b} pixels; set image_size to resize them")
        x[row] = image
        if row % step == step - 1:
            arrays.release(x)
    arrays.release(x)
    return x
