"""Every classification data set of torchvision, by its own name and through its own class.

The differences between the classes are data (:mod:`bench.tasks.vision_names`); the code here is one
path: open the parts, read labels and names, choose examples where a limit is set, read those.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import DataError
from bench.tasks.arguments import whole
from bench.tasks.arrays import concatenate
from bench.tasks.base import Task, task
from bench.tasks.vision_names import VISION, VisionFacts
from bench.tasks.vision_parts import Part, Request, advice, dataset_class, open_part, read_part


def load(root: Path, request: Request, parts: Sequence[Any], test: Any) -> Task:
    """Read a torchvision data set.

    Parameters
    ----------
    root : Path
    request : Request
    parts : sequence
        Values of the data set's part-selecting argument that make up the train pool.
    test
        Its value for the test set; None to have the protocol cut one.

    Raises
    ------
    DataError
        When the class, a package it needs, or the files are missing, or an image is damaged.
    """
    cls = dataset_class(request)
    folder = _folder(Path(root), request)
    wanted = [*parts] if test is None else [*parts, test]
    read = []
    with _alone(folder, request):
        for part in wanted:
            read.append(read_part(open_part(cls, folder, request, part), request, part))
    labels, classes = _encode(read, request)
    train = slice(0, len(parts))
    x, y = _join(request.name, [part.x for part in read[train]]), np.concatenate(labels[train])
    if test is None:
        return Task(x, y, classes, name=request.name)
    return Task(x, y, classes, x_test=read[-1].x, y_test=labels[-1], name=request.name)


def _join(name: str, parts: list[np.ndarray]) -> np.ndarray:
    shapes = sorted({part.shape[1:] for part in parts})
    if len(shapes) > 1:
        raise DataError(f"{name}: its parts have images of {shapes[0]} and {shapes[1]}; set image_size")
    return concatenate(parts, name)


def _folder(root: Path, request: Request) -> Path:
    """Return the folder to hand to the class as its root."""
    name, facts = request.name, request.facts
    root = root.expanduser()
    if not facts.rooted:
        return root
    if request.download:
        if not facts.downloads:
            raise DataError(f"{name}: torchvision cannot download it; its documentation says where to get the files")
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{name}: cannot make the data root {root}: {error}") from error
    elif not root.is_dir():
        raise DataError(f"{name}: no data root at {root}; {advice(facts)}")
    return root / name if facts.flat and (root / name).is_dir() else root


def _alone(folder: Path, request: Request) -> Any:
    """Keep two processes from downloading into one folder at once."""
    if not (request.download and request.facts.rooted and os.access(folder, os.W_OK)):
        return nullcontext()
    from filelock import FileLock

    return FileLock(folder / f".{request.name}.lock")


def _encode(parts: Sequence[Part], request: Request) -> tuple[list[np.ndarray], list[str]]:
    """Give all parts one list of classes: what the table says, else the names that an example bears."""
    static = request.facts.classes
    static = list(static(**request.arguments) if callable(static) else static or [])
    named = [_by_label(part, static, request.name) for part in parts]
    used = set(chain.from_iterable(names.values() for names in named))
    if static:
        classes = static
        if used - set(static):
            raise DataError(f"{request.name}: unexpected classes {sorted(used - set(static))}; known: {static}")
    elif any(part.names is not None for part in parts):
        known = dict.fromkeys(chain.from_iterable(part.names or [] for part in parts))
        classes = [name for name in known if name in used]
    else:
        classes = sorted(used, key=int)
    if request.facts.unordered:
        classes = sorted(classes)
    place = {name: number for number, name in enumerate(classes)}
    labels = []
    for part, names in zip(parts, named, strict=True):
        table = np.zeros(int(part.present.max()) + 1, np.int64)
        for label, name in names.items():
            table[label] = place[name]
        labels.append(table[part.labels])
    return labels, classes


def _by_label(part: Part, static: list[str], name: str) -> dict[int, str]:
    """Return the class name of every label in the part."""
    names = part.names
    if static and (names is None or len(names) == len(static)):
        names = static
    if names is None:
        return {int(label): str(label) for label in part.present}
    if part.present.max() >= len(names):
        raise DataError(f"{name}: label {part.present.max()} is outside its {len(names)} classes")
    return {int(label): names[label] for label in part.present}


def _parts(name: str, facts: VisionFacts, value: Any) -> tuple[list[Any], Any]:
    """Return which parts make the train pool, and which the test set, for a user's choice of train part."""
    parts = list(value) if isinstance(value, (list, tuple)) else [value]
    if not parts:
        raise DataError(f"{name}: {facts.key} names no part to train on")
    if facts.test is not None and facts.test in parts:
        raise DataError(f'{name}: {facts.key} = "{facts.test}" is the test set; it cannot be trained on')
    return parts, None if any(part in facts.alone for part in parts) else facts.test


def _settable(facts: VisionFacts) -> dict[str, Any]:
    """Arguments of the data set itself that a suite may give, with their defaults.

    The boolean `train` of MNIST and others is none of them: there the parts have one meaning only.
    """
    chosen = {} if facts.key in (None, "train") else {facts.key: facts.train}
    return {**chosen, **facts.arguments, **facts.choice}


def _register(name: str, facts: VisionFacts) -> None:
    defaults = {"image_size": facts.image_size, "limit": None, "download": False, **_settable(facts)}

    def read(root: Path, **arguments: Any) -> Task:
        given = {**defaults, **arguments}
        size, limit, download = (given.pop(key) for key in ("image_size", "limit", "download"))
        for key, value in (("image_size", size), ("limit", limit)):
            if value is not None:
                whole(name, 1, **{key: value})
        if not isinstance(download, bool):
            raise DataError(f"{name}: download must be true or false, got {download!r}")
        parts, test = _parts(name, facts, given.pop(facts.key, facts.train))
        return load(root, Request(name, facts, size, limit, download, given), parts, test)

    read.__name__ = read.__qualname__ = name
    read.__doc__ = _document(name, facts)
    # Spelled out from the table, so that a suite's arguments can be checked without importing torch.
    root = inspect.Parameter("root", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Path)
    options = [inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=v) for k, v in defaults.items()]
    read.__signature__ = inspect.Signature([root, *options], return_annotation=Task)
    # Version 2: images that are not square keep their aspect. Where all have one size by themselves, they are.
    task(name, version=1 if facts.image_size is None else 2, classes=facts.classes)(read)


def _document(name: str, facts: VisionFacts) -> str:
    size = "as in the files" if facts.image_size is None else facts.image_size
    own = ", ".join(f"{k} (default {v!r})" for k, v in _settable(facts).items()) or "none"
    return f"""torchvision's {name}: {facts.about}.

    Parameters
    ----------
    root : Path
        Data root, laid out as torchvision lays it out.
    image_size : int, optional
        Side of the square that images are brought to: the shorter side is resized to it and the centre cut
        out; {size} by default.
    limit : int, optional
        Read at most that many examples of each part, stratified by class where the labels can be had
        without decoding an image, at random elsewhere.
    download : bool
        Whether torchvision may download what is missing.
    **arguments
        Of the class: {own}. The one that selects a part selects the train pool; a list joins several.

    Raises
    ------
    DataError
        When the files, the class or a package that it needs are missing, or an image is damaged.
    """


for _name, _facts in VISION.items():
    _register(_name, _facts)
