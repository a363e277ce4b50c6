"""What lies in a folder of images: parts, classes, files, their sizes and channels."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.errors import DataError
from bench.tasks.images import GREY_MODES, open_image, read_image, stack

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".tif", ".tiff", ".webp"))
TRAIN, TEST, VALIDATION = "train", "test", ("val", "valid", "validation")


def parts(folder: Path) -> tuple[list[Path], Path | None]:
    """Tell whether a folder has train and test parts, or the classes themselves.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    train : list of Path
        The folders that have one folder per class and make up the train pool.
    test : Path or None

    Raises
    ------
    DataError
        Where there is a part to train on, but none to test on beside it.
    """
    found = {path.name: path for path in _folders(folder)}
    if TRAIN not in found or not _folders(found[TRAIN]):
        return [folder], None
    held_out = [found[name] for name in VALIDATION if name in found]
    if TEST in found:
        # The protocol cuts its own validation data from the train pool.
        return [found[TRAIN], *held_out], found[TEST]
    if set(found) <= {TRAIN, *VALIDATION}:
        raise DataError(
            f"{folder}: has train/ but no test/; rename the part to test on, or put the classes in one folder"
        )
    return [folder], None


def class_files(folder: Path) -> dict[str, list[Path]]:
    """List the images of every class of a part, sorted; sub-folders of a class belong to it.

    Raises
    ------
    DataError
        For a folder without classes, or a class without images.
    """
    found = {}
    left_out: Counter[str] = Counter()
    for path in _folders(folder):
        if not path.name.isprintable():  # bytes that are no characters among them
            raise DataError(f"{folder}: the class {path.name!a} has a name that cannot be written; rename it")
        images = []
        for inside, _, names in os.walk(path):
            for name in names:
                if name.startswith("."):
                    continue
                file = Path(inside, name)
                if file.suffix.lower() in SUFFIXES:
                    images.append(file)
                else:
                    left_out[file.suffix.lower() or "no suffix"] += 1
        if not images:
            raise DataError(f'{path}: the class "{path.name}" has no images ({", ".join(sorted(SUFFIXES))})')
        found[path.name] = sorted(images, key=lambda file: file.as_posix())
    if not found:
        raise DataError(f"{folder}: has no folders; an image folder has one folder per class")
    if left_out:
        listed = ", ".join(f"{count} x {suffix}" for suffix, count in sorted(left_out.items()))
        warnings.warn(f"{folder}: left out files that are not images by their suffix: {listed}", stacklevel=2)
    return found


def common_channels(files: Sequence[Path]) -> int:
    """Return 1 where every image is grey, else 3; only headers are read."""
    for file in files:
        with open_image(file) as image:
            if image.mode not in GREY_MODES:
                return 3
    return 1


def read_all(files: Sequence[Path], channels: int, size: int | None, where: str) -> np.ndarray:
    """Read images into one array.

    Parameters
    ----------
    files : sequence of Path
    channels : int
        1 or 3.
    size : int, optional
        Side of the square to resize to; without it, all must have one size.
    where : str
        What an error calls the whole.

    Returns
    -------
    uint8 array, shape (N, channels, H, W)

    Raises
    ------
    DataError
        For a damaged image, sizes that differ, or where there is no room for them.
    """
    images = (read_image(file, channels, size) for file in files)
    return stack(images, len(files), where, lambda row: files[row].name)


def _folders(folder: Path) -> list[Path]:
    """Sub-folders by name, without hidden ones and what archivers leave behind."""
    try:
        inside = [path for path in folder.iterdir() if path.is_dir()]
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error}") from error
    return sorted((p for p in inside if not p.name.startswith((".", "__MACOSX"))), key=lambda p: p.name)
