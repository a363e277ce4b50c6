"""The arrays of an `.npz` file as the parts of a task; nothing is unpickled."""

from __future__ import annotations

import math
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import DataError, nearest, unknown
from bench.tasks import arrays

ARRAYS = ("x", "y", "x_test", "y_test", "x_val", "y_val", "groups", "groups_test", "groups_val", "classes")
# What MedMNIST's files call them.
MEDMNIST = {
    f"{axis}{end}": f"{part}_{what}"
    for end, part in (("", "train"), ("_val", "val"), ("_test", "test"))
    for axis, what in (("x", "images"), ("y", "labels"))
}
_FURTHER = re.compile(r"([xy])_test_(\w+)", re.ASCII)  # of a further test set


def read_arrays(file: Path, keys: Mapping[str, str] | None, labelled: bool = True) -> dict[str, np.ndarray]:
    """Read the arrays that make a task, by what they are in it.

    Parameters
    ----------
    file : Path
    keys : mapping, optional
        From what an array is in a task to what it is called in the file.
    labelled : bool
        Whether there must be labels.

    Raises
    ------
    DataError
    """
    if not zipfile.is_zipfile(file):
        raise DataError(f"{file}: not an npz file, or damaged (write it with numpy.savez)")
    try:
        with np.load(file, allow_pickle=False) as archive:
            names = _names(archive.files, keys, file, labelled)
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


def _names(there: Sequence[str], keys: Mapping[str, str] | None, file: Path, labelled: bool) -> dict[str, str]:
    """Return what each array of a task is called in a file.

    Raises
    ------
    DataError
        Where one is missing, with those that the file has.
    """
    listed = ", ".join(there) or "none"
    names = {role: role for role in there if _is_role(role)}
    if keys is None and not {"x", "y"} & set(names):
        names |= {role: name for role, name in MEDMNIST.items() if name in there}
    if not isinstance(keys, Mapping | None):
        raise DataError(f'npz: keys must map names, such as {{ x = "data", y = "target" }}; got {keys!r}')
    for role, name in (keys or {}).items():
        if not _is_role(role):
            raise unknown("array of a task in keys", role, ARRAYS)
        if name not in there:
            raise DataError(f'{file}: keys say that {role} is "{name}"; it has {listed}{nearest(str(name), there)}')
        names[role] = name
    for role in ("x", "y") if labelled else ("x",):
        if role not in names:
            raise DataError(
                f'{file}: has no array "{role}"; it has {listed}; say which is which with keys = {{ {role} = "..." }}'
            )
    for end in dict.fromkeys(role[1:] for role in names if role[:2] in ("x_", "y_")):
        if (f"x{end}" in names) != (f"y{end}" in names) and (labelled or f"x{end}" not in names):
            raise DataError(f"{file}: give both x{end} and y{end}, or neither")
    return names


def _is_role(name: Any) -> bool:
    """Whether an array of this name is a part of a task."""
    return name in ARRAYS or (isinstance(name, str) and _FURTHER.fullmatch(name) is not None)


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


def inputs(x: np.ndarray, where: str) -> np.ndarray:
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
