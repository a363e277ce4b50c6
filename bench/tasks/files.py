"""The user's own data, named in a suite with no code: a folder of images, an `.npz`, a table.

Nothing here unpickles: a file can only bring numbers, strings and pixels.
"""

from __future__ import annotations

import math
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import DataError, nearest
from bench.tasks import arrays, columns, image_folder, labels
from bench.tasks.arguments import whole
from bench.tasks.base import Task, task

ARRAYS = ("x", "y", "x_test", "y_test", "classes")


@task("image-folder", version=1, paths=("path",))
def read_folder(root: Path, *, path: str, image_size: int | None = None, channels: int | None = None) -> Task:
    """A folder of images with one folder per class.

    Sub-folders `train` and `test` with one folder per class each give the split (a `val` beside them
    joins the train pool: the protocol cuts its own validation data); otherwise the protocol cuts the
    test set. Classes are in the order of their names. Hidden files are ignored, files that are not
    images by their suffix are left out with a warning. A folder may be larger than memory: arrays above
    the environment's NTBENCH_MEMORY (1 GiB unless said) lie in a temporary file, where TMPDIR says.

    Parameters
    ----------
    root : Path
        Data root, for a relative `path`.
    path : str
        The folder.
    image_size : int, optional
        Side of the square that images are resized to, the aspect not being kept; without it, all images
        must have one size.
    channels : int, optional
        1 (grey) or 3 (RGB); without it, 1 where all images are grey, else 3.

    Raises
    ------
    DataError
        For a missing folder, fewer than two classes, a class without images, a damaged image.
    """
    folder = _locate(root, path, "folder")
    if image_size is not None:
        whole("image-folder", 1, image_size=image_size)
    if channels not in (None, 1, 3) or isinstance(channels, bool):
        raise DataError(f"image-folder: channels must be 1 (grey) or 3 (RGB), got {channels!r}")
    train, test = image_folder.parts(folder)
    pool, held = [image_folder.class_files(part) for part in train], image_folder.class_files(test) if test else {}
    classes = sorted(set().union(*pool))
    if len(classes) < 2:
        raise DataError(f'{folder}: has one class only ("{classes[0]}"); a task needs at least two')
    strange = sorted(set(held) - set(classes))
    if strange:
        raise DataError(f'{test}: the class "{strange[0]}" is not in train/{nearest(strange[0], classes)}')
    files, y = _flat(pool, classes)
    files_test, y_test = _flat([held], classes)
    channels = channels or image_folder.common_channels([*files, *files_test])
    x = image_folder.read_all([*files, *files_test], channels, image_size, str(folder))
    given = {"x_test": x[len(files) :], "y_test": y_test} if test else {}
    return _task("image-folder", folder, x[: len(files)], y, classes, **given)


def _flat(parts: Sequence[dict[str, list[Path]]], classes: Sequence[str]) -> tuple[list[Path], np.ndarray]:
    """List the files of all parts and their labels."""
    pairs = [(file, classes.index(name)) for part in parts for name, files in part.items() for file in files]
    return [file for file, _ in pairs], np.array([label for _, label in pairs], np.int64)


@task("npz", version=1, paths=("path",))
def read_npz(root: Path, *, path: str) -> Task:
    """Arrays in an `.npz` file: x and y, perhaps x_test, y_test and classes.

    Images are N x C x H x W (N x H x W is taken as grey; N x H x W x C as such where C is 1 or 3 and the
    second axis is neither), as bytes or as floats from 0 to 1; tables are N x D. Whole-number images
    from 0 to 255 become bytes, whole-number tables floats. Labels are whole numbers or strings; without
    `classes`, the different labels are the classes. Without a test set, the protocol cuts one.

    Parameters
    ----------
    root : Path
        Data root, for a relative `path`.
    path : str
        The file.

    Raises
    ------
    DataError
        For a missing or damaged file, pickled contents, a missing array, impossible values.
    """
    file = _locate(root, path, "file")
    found = _arrays(file)
    for name in ("x", "y"):
        if name not in found:
            raise DataError(f'{file}: has no array "{name}"; it has {", ".join(found) or "none"}')
    if ("x_test" in found) != ("y_test" in found):
        raise DataError(f"{file}: give both x_test and y_test, or neither")
    parts = [name for name in ("y", "y_test") if name in found]
    encoded, classes = labels.encode([found[name] for name in parts], str(file), found.get("classes"))
    inputs = [_inputs(found[name.replace("y", "x")], f"{file}, {name.replace('y', 'x')}") for name in parts]
    given = {"x_test": inputs[1], "y_test": encoded[1]} if len(parts) == 2 else {}
    return _task("npz", file, inputs[0], encoded[0], classes, **given)


def _arrays(file: Path) -> dict[str, np.ndarray]:
    """Read the arrays that make a task."""
    if not zipfile.is_zipfile(file):
        raise DataError(f"{file}: not an npz file, or damaged (write it with numpy.savez)")
    try:
        with np.load(file, allow_pickle=False) as archive:
            found = {name: _array(archive, name, file) for name in ARRAYS if name in archive.files}
            others = [name for name in archive.files if name not in ARRAYS]
    except DataError:
        raise
    except Exception as error:
        # A damaged archive shows as any of zipfile's, zlib's and numpy's errors.
        raise DataError(f"{file}: cannot be read: {error}") from error
    for name in others:
        hint = nearest(name, [known for known in ARRAYS if known not in found])
        if hint:
            raise DataError(f'{file}: unknown array "{name}"{hint}')
    if others:
        warnings.warn(f"{file}: left out the arrays {', '.join(others)}", stacklevel=2)
    return found


def _array(archive: Any, name: str, file: Path) -> np.ndarray:
    try:
        member = name if name in archive.zip.namelist() else f"{name}.npy"
        large = _claimed(archive.zip, member) > arrays.memory_limit()
        return _stream(archive.zip, member, f"{file}, {name}") if large else archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(
            f'{file}: "{name}" holds pickled Python objects, which are never loaded; save numbers or strings'
        ) from error


def _claimed(archive: zipfile.ZipFile, member: str) -> int:
    """Return how many bytes an array takes: what the archive says, or its own header where that is more."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
    return max(archive.getinfo(member).file_size, math.prod(shape) * dtype.itemsize)


def _stream(archive: zipfile.ZipFile, member: str, where: str) -> np.ndarray:
    """Read an array that is too large for memory, some of it at a time."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = header(file)
        if dtype.hasobject:
            raise ValueError("an array of Python objects, and allow_pickle is False")
        claimed, held = math.prod(shape) * dtype.itemsize, archive.getinfo(member).file_size - file.tell()
        if claimed != held:
            raise ValueError(f"{member} says that it takes {claimed:,} bytes, and holds {held:,}")
        x = arrays.allocate(shape[::-1] if fortran_order else shape, dtype, where)
        for rows in arrays.slices(x):
            part = x[rows].reshape(-1).view(np.uint8)
            if file.readinto(part) != len(part):
                raise ValueError(f"{member} is cut short")
        file.read(1)  # at the end its checksum is compared
    return x.T if fortran_order else x


def _inputs(x: np.ndarray, where: str) -> np.ndarray:
    """Bring an array to the shape and type that a task has."""
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
        x = x.transpose(0, 3, 1, 2)
    if x.ndim not in (2, 4):
        raise DataError(f"{where}: must be N x C x H x W, N x H x W or N x D, got shape {x.shape}")
    if x.size == 0:
        raise DataError(f"{where}: is empty, of shape {x.shape}")
    if x.dtype.kind not in "buif":
        raise DataError(f"{where}: must hold numbers, got {x.dtype} of shape {x.shape}")
    if x.dtype == np.uint8 and x.ndim == 4:
        return arrays.contiguous(x, where)
    if x.ndim == 2 or x.dtype.kind == "b":
        return _cast(x, np.float32, where)
    low, high = arrays.extremes(x)
    if x.dtype.kind in "ui":
        if low < 0 or high > 255:
            raise DataError(f"{where}: whole-number images must lie in 0 to 255, got {low} to {high}")
        return _cast(x, np.uint8, where)
    if low < 0 or high > 1:
        raise DataError(
            f"{where}: images of floats must lie in 0 to 1, got {low:g} to {high:g}; rescale, or save bytes"
        )
    return _cast(x, np.float32, where)


def _cast(x: np.ndarray, dtype: type, where: str) -> np.ndarray:
    return arrays.map_rows(lambda part: part.astype(dtype), x, where=where)


@task("table", version=1, paths=("path", "test_path"))
def read_table(
    root: Path,
    *,
    path: str,
    label: str = "label",
    test_path: str | None = None,
    drop: Sequence[str] = (),
    standardise: bool = True,
    one_hot: bool = False,
) -> Task:
    """Rows of a CSV or Parquet table, by the class in one column.

    Parameters
    ----------
    root : Path
        Data root, for a relative `path`.
    path : str
        The file: .csv, .tsv, .parquet or .pq.
    label : str
        Column of the class: whole numbers or strings.
    test_path : str, optional
        A second table to test on, relative to the suite or to the folder of the first. Without it, the
        protocol cuts the test set.
    drop : sequence of str
        Columns to leave out.
    standardise : bool
        Whether numeric columns are brought to mean 0 and variance 1, measured on the train pool alone.
    one_hot : bool
        Whether a column of strings (at most 50 different) becomes one 0/1 column per value; an error
        without it.

    Raises
    ------
    DataError
        For a missing or damaged file, a missing label or column, gaps, columns that are not numeric.
    """
    for name, value in (("standardise", standardise), ("one_hot", one_hot)):
        if not isinstance(value, bool):
            raise DataError(f"table: {name} must be true or false, got {value!r}")
    first = _locate(root, path, "file")
    files = [first] + ([_locate(first.parent, test_path, "file")] if test_path is not None else [])
    drop = [drop] if isinstance(drop, str) else list(drop)
    frames, y = [], []
    for file in files:
        frame = columns.read_table(file)
        y.append(columns.label_values(columns.take(frame, label, file), file))
        for name in drop:
            if name not in frame.columns:
                raise DataError(f'{file}: no column "{name}" to drop{nearest(name, frame.columns)}')
        frames.append((frame.drop(columns=[label, *drop]), file))
    encoded, classes = labels.encode(y, str(first))
    x, measured = columns.features(frames, one_hot)
    given = {"x_test": x[1], "y_test": encoded[1]} if len(files) == 2 else {}
    result = _task("table", first, x[0], encoded[0], classes, **given)
    return _scaled(result, measured if standardise else np.zeros_like(measured))


def _scaled(result: Task, measured: np.ndarray) -> Task:
    """Standardise the measured columns by the train pool; a constant one becomes 0."""
    mean, spread = result.x.mean(0), result.x.std(0)
    mean = np.where(measured, mean, 0.0)
    spread = np.where(measured & (spread > 0), spread, 1.0)

    def scaled(part: np.ndarray) -> np.ndarray:
        return ((part - mean) / spread).astype(np.float32)

    x, x_test = (arrays.map_rows(scaled, part, where=result.name) for part in (result.x, result.x_test))
    return result.changed(x=x, x_test=x_test)


def _task(name: str, path: Path, x: np.ndarray, y: np.ndarray, classes: Sequence[str], **test: Any) -> Task:
    """Build the task; an error says which file it came from, while the name (a seed) knows no path."""
    try:
        return Task(x, y, classes, name=name, **test)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _locate(root: Path, given: str, kind: str) -> Path:
    """Return the place of a path that is absolute or relative to the root."""
    if not isinstance(given, str | Path) or not str(given):
        raise DataError(f"path must name a {kind}, got {given!r}")
    path = Path(root).expanduser() / Path(given).expanduser()
    there = path.is_dir() if kind == "folder" else path.is_file()
    if there:
        return path
    if path.exists():
        raise DataError(f"{path}: is not a {kind}")
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    raise DataError(f"no {kind} at {path}{nearest(path.name, beside)}")
