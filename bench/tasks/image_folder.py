"""What lies in a folder of images: parts, classes, files, their sizes and channels."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.errors import DataError
from bench.tasks.given import FURTHER, PART_NAMES
from bench.tasks.images import GREY_MODES, decode, open_image, stack

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".tif", ".tiff", ".webp"))


def parts(folder: Path, labelled: bool = True) -> dict[str, Path]:
    """Tell whether a folder has parts, or the classes themselves.

    Parameters
    ----------
    folder : Path
    labelled : bool
        Whether a part has one folder per class; else images lie anywhere in it.

    Returns
    -------
    dict
        From "train", and perhaps "val", "test" and "test_NAME" of further test sets, to the folder that has one
        folder per class.

    Raises
    ------
    DataError
        Where two folders could be the validation split.
    """
    found: dict[str, Path] = {}
    inside = _folders(folder)
    for path in inside:
        part = _part(path)
        if part in found:
            raise DataError(f"{folder}: {found[part].name}/ and {path.name}/ both look like the {part} part; keep one")
        if part:
            found[part] = path
    others = [path.name for path in inside if path not in found.values()]
    # A class may be called "train": then there are others beside it, or it has no folders.
    if "train" not in found or (labelled and not _folders(found["train"])) or (others and "test" not in found):
        return {"train": folder}
    if others:
        warnings.warn(f"{folder}: left out the folders beside its parts: {', '.join(others)}", stacklevel=2)
    return found


def _part(folder: Path) -> str | None:
    """Return the part that the name of a folder means: "test-night" is the further test set "night"."""
    name = folder.name.lower()
    further = re.fullmatch(r"test[-_](\w+)", name, re.ASCII)
    return f"{FURTHER}{further[1]}" if further else PART_NAMES.get(name)


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
        found[path.name] = _images(path, left_out)
        if not found[path.name]:
            raise DataError(f'{path}: the class "{path.name}" has no images ({", ".join(sorted(SUFFIXES))})')
    if not found:
        raise DataError(f"{folder}: has no folders; an image folder has one folder per class")
    _say_left_out(folder, left_out)
    return found


def files_in(folder: Path) -> list[Path]:
    """List all images of a folder and its sub-folders, sorted.

    Raises
    ------
    DataError
        Where there is none.
    """
    left_out: Counter[str] = Counter()
    images = _images(folder, left_out)
    if not images:
        raise DataError(f"{folder}: has no images ({', '.join(sorted(SUFFIXES))})")
    _say_left_out(folder, left_out)
    return images


def _images(folder: Path, left_out: Counter[str]) -> list[Path]:
    images = []
    for inside, _, names in os.walk(folder):
        for name in names:
            if name.startswith("."):
                continue
            file = Path(inside, name)
            if file.suffix.lower() in SUFFIXES:
                images.append(file)
            else:
                left_out[file.suffix.lower() or "no suffix"] += 1
    return sorted(images, key=lambda file: file.as_posix())


def _say_left_out(folder: Path, left_out: Counter[str]) -> None:
    if left_out:
        listed = ", ".join(f"{count} x {suffix}" for suffix, count in sorted(left_out.items()))
        warnings.warn(f"{folder}: left out files that are not images by their suffix: {listed}", stacklevel=3)


def common_channels(files: Sequence[Path]) -> int:
    """Return 1 where every image is grey, else 3; only headers are read."""
    for file in files:
        with open_image(file) as image:
            if image.mode not in GREY_MODES:
                return 3
    return 1


def read_all(
    files: Sequence[Path], channels: int, size: int | None, where: str, resize: str = "crop"
) -> tuple[np.ndarray, tuple[str, ...]]:
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
    resize : {"crop", "squash"}

    Returns
    -------
    x : uint8 array, shape (N, channels, H, W)
    notes : tuple of str
        What became of images that are not square, in a sentence.

    Raises
    ------
    DataError
        For a damaged image, sizes that differ, or where there is no room for them.
    """
    kept: list[float] = []  # of each image that is not square: its shorter side over the longer one

    def read(file: Path) -> np.ndarray:
        with open_image(file) as image:
            if size is not None and image.width != image.height:
                kept.append(min(image.size) / max(image.size))
            return decode(image, str(file), channels, size, resize)

    x = stack((read(file) for file in files), len(files), where, lambda row: files[row].name)
    if not kept:
        return x, ()
    what = "squashed to a square" if resize == "squash" else "cropped to their centre square"
    lost = "" if resize == "squash" else f", which leaves out {1 - sum(kept) / len(kept):.0%} of each on average"
    return x, (f"images: {len(kept):,} of {len(files):,} {what}{lost}; all are {size} x {size} now",)


def groups_of(files: Sequence[Path], pattern: str) -> np.ndarray:
    """Return the group that the name of each file bears.

    Parameters
    ----------
    files : sequence of Path
    pattern : str
        A regular expression that is searched for in the file's name; its first group is the name of the
        image's group, the whole match where it has none.

    Returns
    -------
    array of str, shape (N,)

    Raises
    ------
    DataError
        For an expression that is none, or a file without a match.
    """
    try:
        expression = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise DataError(f"image-folder: group = {pattern!r} is not a regular expression: {error}") from error
    found = []
    for file in files:
        match = expression.search(file.name)
        name = match and match[min(1, expression.groups)]
        if not name:
            raise DataError(f'{file}: no group in this name by group = "{pattern}"')
        found.append(name)
    return np.array(found)


def _folders(folder: Path) -> list[Path]:
    """Sub-folders by name, without hidden ones and what archivers leave behind."""
    try:
        inside = [path for path in folder.iterdir() if path.is_dir()]
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error}") from error
    return sorted((p for p in inside if not p.name.startswith((".", "__MACOSX"))), key=lambda p: p.name)
