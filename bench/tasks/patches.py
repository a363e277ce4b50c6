"""Patches of natural texture, cut from scikit-learn's two sample photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import DataError
from bench.identity import generator
from bench.tasks.arguments import number, one_of, whole
from bench.tasks.base import Task, task

PHOTOS = ("china", "flower")
TURNS = ("0 degrees", "90 degrees", "180 degrees", "270 degrees")
LABELS = ("region", "orientation", "photo")


def _names(*, labels: str = "region", rows: int = 2, columns: int = 2, **_: Any) -> list[str]:
    one_of("patches", "labels", labels, LABELS)
    whole("patches", 1, rows=rows, columns=columns)
    if labels == "orientation":
        return list(TURNS)
    if labels == "photo":
        return list(PHOTOS)
    return [f"{photo} {row + 1}.{column + 1}" for photo in PHOTOS for row in range(rows) for column in range(columns)]


def _shape(*, image_size: int = 16, channels: int = 1, **_: Any) -> tuple[int, ...]:
    return (channels, image_size, image_size)


@task("patches", version=1, classes=_names, shape=_shape)
def patches(
    root: Path,
    *,
    labels: str = "region",
    n: int = 3000,
    n_test: int = 1000,
    image_size: int = 16,
    patch_size: int = 32,
    channels: int = 1,
    rows: int = 2,
    columns: int = 2,
    min_contrast: float = 0.0,
    seed: int = 0,
) -> Task:
    """Patches of two photographs (a Chinese temple, a dahlia); the class is where a patch comes from.

    Train and test patches come from disjoint blocks of the photographs: each region is divided into
    blocks of two patch sides, and every third one, along diagonals, is the test set's. No pixel is in both.

    Parameters
    ----------
    root : Path
        Not used: the photographs come with scikit-learn.
    labels : {"region", "orientation", "photo"}
        "region": which photograph and which cell of a grid over it (8 classes unless `rows` or
        `columns` says otherwise). Sky, roof, foliage, petals and dark leaves differ in texture and
        brightness, but not without overlap: a small CNN gets about 60 % right. "orientation": by how
        many quarter turns the patch is turned (4 classes; the pretext task of Gidaris et al., ICLR
        2018). "photo": which photograph.
    n, n_test : int
        Patches in the train pool and in the test set, balanced over the classes.
    image_size : int
        Side of the patches handed out, in pixels.
    patch_size : int
        Side of the square that is cut from the photograph (427 x 640) and averaged to `image_size`.
    channels : int
        1 for grey levels, 3 for colour.
    rows, columns : int
        The grid of regions.
    min_contrast : float
        Least standard deviation of the grey levels within a patch, on a scale of 0 to 1: 0.05 keeps out
        empty sky and dark background, which tell nothing of an orientation.
    seed : int

    Raises
    ------
    DataError
        When the regions are too small for the patches, for instance.
    """
    classes = _names(labels=labels, rows=rows, columns=columns)
    whole("patches", len(classes), n=n, n_test=n_test)
    whole("patches", 2, image_size=image_size, patch_size=patch_size)
    number("patches", 0, 0.5, min_contrast=min_contrast)
    if channels not in (1, 3):
        raise DataError(f"patches: channels must be 1 or 3; got {channels!r}")
    photos = _photos()
    cells = _cells(photos, rows, columns, patch_size, min_contrast)
    parts: dict[str, Any] = {}
    for part, size, x, y in (("train", n, "x", "y"), ("test", n_test, "x_test", "y_test")):
        places = _by_class(cells, part, labels, classes)
        rng = generator("patches", part, labels, rows, columns, patch_size, float(min_contrast), seed)
        parts[y] = rng.permutation(np.arange(size) % len(classes))
        chosen = np.array([places[label][rng.integers(len(places[label]))] for label in parts[y]])
        turns = parts[y] if labels == "orientation" else np.zeros_like(parts[y])
        parts[x] = _cut(photos, chosen, turns, patch_size, image_size, channels)
    return Task(classes=classes, name="patches", **parts)


def _photos() -> list[np.ndarray]:
    from sklearn.datasets import load_sample_image

    return [load_sample_image(f"{name}.jpg") for name in PHOTOS]


def _grey(photo: np.ndarray) -> np.ndarray:
    """Luma of ITU-R 601, as Pillow's mode "L" has it."""
    from PIL import Image

    return np.asarray(Image.fromarray(photo).convert("L"))


def _cells(
    photos: list[np.ndarray], rows: int, columns: int, patch: int, min_contrast: float
) -> list[dict[str, np.ndarray]]:
    """Where patches may begin, by region and part; rows of (photograph, row, column)."""
    found = []
    for index, photo in enumerate(photos):
        enough = _contrast(_grey(photo), patch) >= min_contrast
        tops = np.linspace(0, photo.shape[0], rows + 1).astype(int)
        lefts = np.linspace(0, photo.shape[1], columns + 1).astype(int)
        for row in range(rows):
            for column in range(columns):
                box = (tops[row], lefts[column], tops[row + 1], lefts[column + 1])
                cell = {}
                for part, places in _places(box, patch, f"{PHOTOS[index]} {row + 1}.{column + 1}").items():
                    kept = places[enough[tuple(places.T)]]
                    cell[part] = np.column_stack([np.full(len(kept), index), kept])
                found.append(cell)
    return found


def _by_class(cells: list[dict[str, np.ndarray]], part: str, labels: str, classes: list[str]) -> list[np.ndarray]:
    """Join the regions' places to one array a class."""
    by_cell = [cell[part] for cell in cells]
    half = len(cells) // len(PHOTOS)
    if labels == "region":
        places = by_cell
    elif labels == "photo":
        places = [np.concatenate(by_cell[:half]), np.concatenate(by_cell[half:])]
    else:
        places = [np.concatenate(by_cell)] * len(classes)
    for name, here in zip(classes, places, strict=True):
        if not len(here):
            raise DataError(f'patches: class "{name}" has no {part} patch of that contrast; lower min_contrast')
    return places


def _places(box: tuple[int, int, int, int], patch: int, name: str) -> dict[str, np.ndarray]:
    """Where patches may begin in a region, by part; rows of (row, column)."""
    top, left, bottom, right = box
    down, across = (bottom - top) // (2 * patch), (right - left) // (2 * patch)
    if down < 1 or across < 1 or down * across < 3:
        raise DataError(
            f"patches: region {name} ({bottom - top} x {right - left} pixels) holds fewer than three blocks of "
            f"{2 * patch} x {2 * patch}; choose a smaller patch_size or fewer rows and columns"
        )
    parts: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    for i, rows in enumerate(np.linspace(top, bottom, down + 1).astype(int)[:-1]):
        for j, columns in enumerate(np.linspace(left, right, across + 1).astype(int)[:-1]):
            block = np.mgrid[rows : rows + patch + 1, columns : columns + patch + 1].reshape(2, -1).T
            parts["test" if (i + j) % 3 == 2 else "train"].append(block)
    return {part: np.concatenate(blocks) for part, blocks in parts.items()}


def _contrast(grey: np.ndarray, patch: int) -> np.ndarray:
    """Standard deviation of each patch by its upper left corner, on a scale of 0 to 1."""
    windows = np.pad(grey / 255.0, ((1, 0), (1, 0)))
    sums = []
    for power in (1, 2):
        table = (windows**power).cumsum(0).cumsum(1)
        sums.append(table[patch:, patch:] - table[:-patch, patch:] - table[patch:, :-patch] + table[:-patch, :-patch])
    mean, square = sums[0] / patch**2, sums[1] / patch**2
    return np.sqrt(np.maximum(square - mean**2, 0))


def _cut(
    photos: list[np.ndarray], places: np.ndarray, turns: np.ndarray, patch: int, side: int, channels: int
) -> np.ndarray:
    """Cut, average down and turn one patch a place; returns uint8, shape (N, C, H, W)."""
    from PIL import Image

    sources = [photo if channels == 3 else _grey(photo) for photo in photos]
    x = []
    for (photo, row, column), turn in zip(places, turns, strict=True):
        image = Image.fromarray(sources[photo][row : row + patch, column : column + patch])
        x.append(np.rot90(np.asarray(image.resize((side, side), Image.Resampling.BILINEAR)), turn))
    stacked = np.stack(x)
    return stacked.transpose(0, 3, 1, 2) if channels == 3 else stacked[:, None]
