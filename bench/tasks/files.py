"""The user's own data, named in a suite with no code: a folder of images, an `.npz`, a table.

Nothing here unpickles: a file can only bring numbers, strings and pixels.
"""

from __future__ import annotations

import math
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import DataError, nearest, unknown
from bench.tasks import arrays, image_folder, labels, tables
from bench.tasks.arguments import one_of, whole
from bench.tasks.base import Task, task
from bench.tasks.given import Part, as_task, merge_validation, with_test
from bench.tasks.images import RESIZE

ARRAYS = ("x", "y", "x_test", "y_test", "x_val", "y_val", "groups", "groups_test", "groups_val", "classes")
# What MedMNIST's files call them.
MEDMNIST = {
    f"{axis}{end}": f"{part}_{what}"
    for end, part in (("", "train"), ("_val", "val"), ("_test", "test"))
    for axis, what in (("x", "images"), ("y", "labels"))
}


def _folder_shape(*, image_size: int | None = None, channels: int | None = None, **_: Any) -> tuple[int, ...]:
    return (channels or 3, image_size or 0, image_size or 0)  # 0: only the files tell


# Version 2: images keep their aspect (squashed before), and a `val` beside a test set joins the train pool on demand.
@task("image-folder", version=2, paths=("path",), suite_sized=True, shape=_folder_shape)
def read_folder(
    root: Path,
    *,
    path: str,
    image_size: int | None = None,
    resize: str = "crop",
    channels: int | None = None,
    group: str | None = None,
    merge_val: bool = False,
) -> Task:
    """A folder of images with one folder per class.

    Sub-folders `train`, `test` and `val` (or `valid`, `validation`, `dev`) with one folder per class each
    give the split. Without `test`, `val` is the test set; with neither, the protocol cuts one. A `val` beside a
    `test` is the validation split where the recipe says ``validation = "given"``, else unused. Classes are in
    the order of their names. Hidden files are ignored, files that are not images by their suffix are left out
    with a warning. A folder may be larger than memory: arrays above the environment's NTBENCH_MEMORY (1 GiB
    unless said) lie in a temporary file, where TMPDIR says.

    Parameters
    ----------
    root : Path
        Data root, for a relative `path`.
    path : str
        The folder.
    image_size : int, optional
        Side of the square that images are brought to; the suite's by default. Without either, all images must
        have one size.
    resize : {"crop", "squash"}
        Whether images keep their aspect (the shorter side is brought to `image_size` and the centre cut out),
        or are pressed into the square.
    channels : int, optional
        1 (grey) or 3 (RGB); without it, 1 where all images are grey, else 3.
    group : str, optional
        A regular expression that finds what an image belongs to (a patient, a site) in the name of its file: its
        first group, or all that it matches. No cut tears such a group apart.
    merge_val : bool
        Whether a validation split that stands beside a test set joins the train pool.

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
    one_of("image-folder", "resize", resize, RESIZE)
    places = image_folder.parts(folder)
    found = {part: image_folder.class_files(place) for part, place in places.items()}
    classes = sorted(found["train"])
    if len(classes) < 2:
        raise DataError(f'{folder}: has one class only ("{classes[0]}"); a task needs at least two')
    for part in found:
        strange = sorted(set(found[part]) - set(classes))
        if strange:
            raise DataError(
                f'{places[part]}: the class "{strange[0]}" is not in {places["train"].name}/'
                f"{nearest(strange[0], classes)}"
            )
    listed = {part: _flat(files, classes) for part, files in found.items()}
    files = [file for part, _ in listed.values() for file in part]
    channels = channels or image_folder.common_channels(files)
    x, notes = image_folder.read_all(files, channels, image_size, str(folder), resize)
    parts, begin = {}, 0
    for part, (own, y) in listed.items():
        groups = None if group is None else image_folder.groups_of(own, group)
        parts[part] = Part(x[begin : begin + len(own)], y, groups)
        begin += len(own)
    parts, merged = merge_validation(parts, merge_val, folder)
    return as_task("image-folder", folder, classes, parts, (*notes, *merged))


def _flat(found: dict[str, list[Path]], classes: Sequence[str]) -> tuple[list[Path], np.ndarray]:
    """List the files of a part and their labels."""
    pairs = [(file, classes.index(name)) for name, files in found.items() for file in files]
    return [file for file, _ in pairs], np.array([label for _, label in pairs], np.int64)


@task("npz", version=1, paths=("path",))
def read_npz(root: Path, *, path: str, keys: Mapping[str, str] | None = None, merge_val: bool = False) -> Task:
    """Arrays in an `.npz` file: x and y, perhaps x_test and y_test, x_val and y_val, groups and classes.

    Images are N x C x H x W (N x H x W is taken as grey; N x H x W x C as such where C is 1 or 3 and the
    second axis is neither), as bytes or as floats from 0 to 1; tables are N x D. Whole-number images
    from 0 to 255 become bytes, whole-number tables floats. Labels are whole numbers or strings; without
    `classes`, the different labels are the classes. Without a test set, x_val and y_val are it; with neither,
    the protocol cuts one, and tears no group of `groups` (and `groups_val`, `groups_test`) apart. MedMNIST's
    names (`train_images`, `train_labels`, `val_images`, ...) are known.

    Parameters
    ----------
    root : Path
        Data root, for a relative `path`.
    path : str
        The file.
    keys : mapping, optional
        What the arrays are called in the file, where that is something else: ``{ x = "data", y = "target" }``.
    merge_val : bool
        Whether a validation split that stands beside a test set joins the train pool.

    Raises
    ------
    DataError
        For a missing or damaged file, pickled contents, a missing array, impossible values.
    """
    file = _locate(root, path, "file")
    found = _arrays(file, keys)
    ends = [end for end in ("", "_val", "_test") if f"y{end}" in found]
    encoded, classes = labels.encode([found[f"y{end}"] for end in ends], str(file), found.get("classes"))
    parts = {}
    for end, y in zip(ends, encoded, strict=True):
        x = _inputs(found[f"x{end}"], f"{file}, x{end}")
        groups = found.get(f"groups{end}")
        if groups is not None and (len(groups) != len(y) or groups.size != len(y)):
            raise DataError(f"{file}: groups{end} has shape {groups.shape}, there are {len(y)} labels")
        parts[end[1:] or "train"] = Part(x, y, None if groups is None else groups.reshape(-1))
    parts, notes = merge_validation(parts, merge_val, file)
    return as_task("npz", file, classes, parts, notes)


def _arrays(file: Path, keys: Mapping[str, str] | None) -> dict[str, np.ndarray]:
    """Read the arrays that make a task, by what they are in it."""
    if not zipfile.is_zipfile(file):
        raise DataError(f"{file}: not an npz file, or damaged (write it with numpy.savez)")
    try:
        with np.load(file, allow_pickle=False) as archive:
            names = _names(archive.files, keys, file)
            found = {role: _array(archive, name, file) for role, name in names.items()}
            others = [name for name in archive.files if name not in names.values()]
    except DataError:
        raise
    except Exception as error:
        # A damaged archive shows as any of zipfile's, zlib's and numpy's errors.
        raise DataError(f"{file}: cannot be read: {error}") from error
    for name in others:
        hint = nearest(name, [known for known in ARRAYS if known not in found])
        if hint and not keys:
            raise DataError(f'{file}: unknown array "{name}"{hint}')
    if others:
        warnings.warn(f"{file}: left out the arrays {', '.join(others)}", stacklevel=2)
    return found


def _names(there: Sequence[str], keys: Mapping[str, str] | None, file: Path) -> dict[str, str]:
    """Return what each array of a task is called in a file.

    Raises
    ------
    DataError
        Where one is missing, with those that the file has.
    """
    listed = ", ".join(there) or "none"
    names = {role: role for role in ARRAYS if role in there}
    if keys is None and not {"x", "y"} & set(names):
        names |= {role: name for role, name in MEDMNIST.items() if name in there}
    if not isinstance(keys, Mapping | None):
        raise DataError(f'npz: keys must map names, such as {{ x = "data", y = "target" }}; got {keys!r}')
    for role, name in (keys or {}).items():
        if role not in ARRAYS:
            raise unknown("array of a task in keys", role, ARRAYS)
        if name not in there:
            raise DataError(f'{file}: keys say that {role} is "{name}"; it has {listed}{nearest(str(name), there)}')
        names[role] = name
    for role in ("x", "y"):
        if role not in names:
            raise DataError(
                f'{file}: has no array "{role}"; it has {listed}; say which is which with keys = {{ {role} = "..." }}'
            )
    for end in ("_val", "_test"):
        if (f"x{end}" in names) != (f"y{end}" in names):
            raise DataError(f"{file}: give both x{end} and y{end}, or neither")
    return names


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


@task("table", version=2, paths=("path", "test_path", "val_path"), shape=(0,))  # 0: only the file tells
def read_table(
    root: Path,
    *,
    path: str,
    label: str | int = "label",
    test_path: str | None = None,
    val_path: str | None = None,
    header: bool = True,
    split: str | int | None = None,
    group: str | int | None = None,
    drop: str | int | Sequence[str | int] = (),
    missing: str = "error",
    standardise: bool = True,
    one_hot: bool = False,
    merge_val: bool = False,
) -> Task:
    """Rows of a CSV or Parquet table, by the class in one column.

    Columns are named, or numbered from 0 (-1 is the last).

    Parameters
    ----------
    root : Path
        Data root, for a relative `path`.
    path : str
        The file: .csv, .tsv, .parquet or .pq.
    label : str or int
        Column of the class: whole numbers or strings.
    test_path, val_path : str, optional
        Further tables to test and to validate on, relative to the suite or to the folder of the first. Without a
        test set, the validation split is it; with neither, the protocol cuts one.
    header : bool
        Whether the first line of a CSV names the columns; without that they are numbered.
    split : str or int, optional
        Column that says which part a row belongs to: train, val (valid, validation, dev) or test.
    group : str or int, optional
        Column of what a row belongs to (a patient, a site): no cut tears such a group apart, and it is no input.
    drop : str, int, or sequence of them
        Columns to leave out.
    missing : {"error", "drop", "fill"}
        What becomes of rows with missing values: an error, left out, or filled: numbers with the median of the
        train pool alone, a column of strings (under `one_hot`) with a category of its own.
    standardise : bool
        Whether numeric columns take part in the transform that the suite states for a pair (its `standardise`;
        by default mean 0 and spread 1 on the target's train pool). The task itself has the values of the file.
    one_hot : bool
        Whether a column of strings (at most 50 different) becomes one 0/1 column per value; an error
        without it.
    merge_val : bool
        Whether a validation split that stands beside a test set joins the train pool.

    Raises
    ------
    DataError
        For a missing or damaged file, a missing label or column, gaps, columns that are not numeric.
    """
    for name, value in (("standardise", standardise), ("one_hot", one_hot), ("header", header)):
        if not isinstance(value, bool):
            raise DataError(f"table: {name} must be true or false, got {value!r}")
    one_of("table", "missing", missing, tables.MISSING)
    first = _locate(root, path, "file")
    files = {"train": first}
    for part, more in (("val", val_path), ("test", test_path)):
        if more is not None:
            files[part] = _locate(first.parent, more, "file")
    if split is not None and len(files) > 1:
        raise DataError("table: give either split, or test_path and val_path")
    roles = tables.Roles(label, split, group, [drop] if isinstance(drop, str | int) else list(drop))
    table = tables.read_parts(files, roles, header=header, missing=missing, one_hot=one_hot)
    parts, notes = merge_validation(table.parts, merge_val, first)
    notes = (*table.notes, *notes)
    if missing == "fill":
        parts, cut = with_test(parts, "table", first)
        parts, gaps = tables.filled(table, parts, first)
        notes = (*notes, *cut, *gaps)
    result = as_task("table", first, table.classes, parts, notes)
    return result.changed(measured=table.measured & standardise)


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
