"""The parts of a torchvision data set: opened through its own class, read into arrays."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import DataError, nearest
from bench.identity import generator
from bench.tasks import arrays
from bench.tasks.base import stratified_order
from bench.tasks.fit import fit_images
from bench.tasks.images import decode, guarded, read_image, stack
from bench.tasks.plain_pickle import plain_pickles
from bench.tasks.vision_names import VisionFacts

HERE = "point the data root (data_root in the suite, or NTBENCH_DATA) to where the files are"
ADVICE = f"write download = true beside the task in the suite, or {HERE}"
RESERVED = ("root", "transform", "target_transform", "transforms", "download", "loader", "is_valid_file", "allow_empty")


@dataclass(frozen=True)
class Request:
    """What one use of a data set asks for."""

    name: str
    facts: VisionFacts
    image_size: int | None
    limit: int | None
    download: bool
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """One part (train, test, ...) as read: images, the class's own labels and names.

    Attributes
    ----------
    x : uint8 array, shape (N, C, H, W)
    labels : integer array, shape (N,)
        Of the examples read.
    present : integer array
        Every label of the whole part, each once.
    names : list of str or None
    """

    x: np.ndarray
    labels: np.ndarray
    present: np.ndarray
    names: list[str] | None


def dataset_class(request: Request) -> type:
    """Return torchvision's class.

    Raises
    ------
    DataError
        When it, a package that it needs or an argument that was given does not exist.
    """
    import torchvision

    missing = [package for package in request.facts.needs if importlib.util.find_spec(package) is None]
    if missing:
        raise DataError(f"{request.name} needs the package {missing[0]}: pip install {missing[0]}")
    cls = getattr(torchvision.datasets, request.name, None)
    if cls is None:
        raise DataError(f"torchvision {torchvision.__version__} has no data set {request.name}")
    known = class_arguments(cls)
    for name in set(request.arguments) - set(request.facts.choice):
        if name not in known:
            allowed = sorted(set(known) - set(RESERVED))
            hint = nearest(name, allowed) or f"; allowed: {', '.join(allowed)}"
            raise DataError(f'{request.name} of torchvision {torchvision.__version__} has no argument "{name}"{hint}')
    return cls


def class_arguments(cls: type) -> dict[str, inspect.Parameter]:
    """Return the arguments that a data set's class takes, those it hands on to its base classes included."""
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = list(inspect.signature(base.__init__).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                found.setdefault(parameter.name, parameter)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def advice(facts: VisionFacts) -> str:
    """Say what to do about missing files."""
    return ADVICE if facts.downloads else f"{HERE} (torchvision cannot download them)"


def open_part(cls: type, folder: Path, request: Request, part: Any) -> Any:
    """Build torchvision's data set for one part.

    Raises
    ------
    DataError
        Whatever the class itself found wrong, with the folder and what to do.
    """
    facts, known = request.facts, class_arguments(cls)
    arguments = {k: v for k, v in request.arguments.items() if k not in facts.choice}
    if facts.key is not None:
        arguments[facts.key] = part
    if facts.rooted:
        arguments["root"] = str(folder)
    if "download" in known:
        # Given always: SEMEION downloads unless told not to.
        arguments["download"] = request.download
    if "loader" in known:
        # Paths in place of pixels: labels come without decoding, and a damaged file can be named.
        arguments["loader"] = str
    if facts.sized:
        arguments["image_size"] = (facts.channels, request.image_size, request.image_size)
    try:
        with plain_pickles(cls):
            return cls(**arguments)
    except Exception as error:
        # Whatever a class of another library raises over the user's files or arguments.
        said = re.sub(r"You can (use|set) download=True to download it", "", str(error)).strip(" .")
        where = f" in {folder}" if facts.rooted else ""
        hint = "" if isinstance(error, (TypeError, ValueError)) else f"; {advice(facts)}"
        said = said or f"{type(error).__name__} (damaged files?)"
        message = f"{request.name}: torchvision cannot open it{where}: {said}{hint}"
        raise DataError(message) from error


def read_part(dataset: Any, request: Request, value: Any) -> Part:
    """Read one part: its labels, then the images of those examples that are wanted.

    Raises
    ------
    DataError
        For an empty part, missing labels, a damaged image, images of several sizes.
    """
    part = f"{request.name}, {request.facts.key} = {value}" if request.facts.key else request.name
    if len(dataset) == 0:
        raise DataError(f"{part}: holds no examples")
    paths, labels = None, _known_labels(dataset, request)
    if "loader" in class_arguments(type(dataset)):
        # Sorted, as some classes list a folder in the order of the file system.
        items = sorted((dataset[index] for index in range(len(dataset))), key=lambda item: item[0])
        paths, labels = [path for path, _ in items], [label for _, label in items]
    if labels is not None:
        labels = _whole_labels(labels, part)
    chosen = _choose(len(dataset), labels, request)
    x, seen = _images(dataset, chosen, paths, request)
    read = _whole_labels(seen, part) if labels is None else labels[chosen]
    present = np.unique(read if labels is None else labels)
    return Part(x, read, present, _names(dataset, request))


def _known_labels(dataset: Any, request: Request) -> Any:
    """Return all labels where they can be had without decoding an image, else None."""
    where = request.facts.labels
    if where is None:
        return None
    try:
        return where(dataset, request.arguments) if callable(where) else getattr(dataset, where)
    except AttributeError:
        # Another torchvision keeps them elsewhere: they are read with the images, only slower.
        return None
    except (KeyError, ValueError) as error:
        raise DataError(f"{request.name}: no such labels with {dict(request.arguments)}: {error}") from error


def _whole_labels(labels: Any, part: str) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim == 2:
        # QMNIST: the class stands in the first of eight columns.
        labels = labels[:, 0]
    if labels.dtype.kind not in "iu" or labels.min() < 0:
        raise DataError(f"{part}: has examples without a label")
    return labels.astype(np.int64)


def _choose(count: int, labels: np.ndarray | None, request: Request) -> np.ndarray:
    """Choose at most `limit` examples: stratified where the labels are known, at random elsewhere."""
    if request.limit is None or request.limit >= count:
        return np.arange(count)
    rng = generator("limit", request.name, count)
    order = rng.permutation(count) if labels is None else stratified_order(labels, rng)
    return np.sort(order[: request.limit])


def _images(dataset: Any, chosen: np.ndarray, paths: list[str] | None, request: Request) -> tuple[np.ndarray, list]:
    """Return the chosen images, and the labels that were met while reading them (perhaps none)."""
    facts, size, seen = request.facts, request.image_size, []
    if facts.layout is not None:
        return _from_array(dataset.data, chosen, facts.layout, size, request.name), seen

    def read(index: int) -> np.ndarray:
        if paths is not None:
            return read_image(paths[index], facts.channels, size)
        pixels, label = _item(dataset, index, request)
        seen.append(label)
        return pixels

    def name(row: int) -> str:
        return f"example {chosen[row]}" if paths is None else Path(paths[chosen[row]]).name

    return stack((read(int(index)) for index in chosen), len(chosen), request.name, name), seen


def _from_array(data: Any, chosen: np.ndarray, layout: str, size: int | None, where: str) -> np.ndarray:
    """Take images out of an array with axes in any order."""
    x = np.asarray(data)
    x = x.transpose([layout.index(axis) for axis in "NCHW" if axis in layout])
    x = arrays.take(x if x.ndim == 4 else x[:, None], chosen, where)
    return arrays.contiguous(x, where) if size is None else fit_images(x, (x.shape[1], size, size), where)


def _item(dataset: Any, index: int, request: Request) -> tuple[np.ndarray, Any]:
    """Have the class read one example; it knows its files, so an error can only name the number."""
    where = f"{request.name}, example {index}"
    try:
        with guarded():
            image, label = dataset[index]
    except Exception as error:
        raise DataError(f"{where}: cannot be read: {error}") from error
    where = getattr(image, "filename", "") or where
    return decode(image, where, request.facts.channels, request.image_size), label


def _names(dataset: Any, request: Request) -> list[str] | None:
    """Return the class's own class names, each once; None where it has none."""
    where = request.facts.names
    if where is None:
        return None
    found = where(dataset, request.arguments) if callable(where) else getattr(dataset, where, None)
    if found is None:
        return None
    names: list[str] = []
    for name in found:
        # ImageNet's names are tuples of synonyms, and two of its classes are both called "crane".
        name = ", ".join(name) if isinstance(name, tuple) else str(name)
        names.append(f"{name} ({len(names)})" if name in names else name)
    return names
