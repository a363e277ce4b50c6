"""Arrays that may be larger than memory: above a limit they lie in a temporary file and are memory-mapped.

The limit holds for each array by itself and is said in the environment: ``NTBENCH_MEMORY=512M``. Where an
array lies never changes a value in it. Everything here works through an array a piece at a time and then
gives the pages of a mapped one back, so that a process holds a piece of it and not the whole.
"""

from __future__ import annotations

import mmap
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

import numpy as np

from bench.errors import DataError

VARIABLE = "NTBENCH_MEMORY"
DEFAULT_LIMIT = 2**30
CHUNK_BYTES = 64 * 2**20
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def memory_limit() -> int:
    """Return how many bytes one array may take in memory: the environment's NTBENCH_MEMORY, else 1 GiB.

    Raises
    ------
    DataError
        For anything but a number, perhaps with a unit (K, M, G or T, powers of 1024).
    """
    said = os.environ.get(VARIABLE, "").strip()
    if not said:
        return DEFAULT_LIMIT
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", said, re.IGNORECASE)
    if found is None:
        raise DataError(f'{VARIABLE} = "{said}": must be a number of bytes, such as 512M or 2G')
    return int(float(found[1]) * _UNITS[found[2].upper()])


def allocate(shape: Sequence[int], dtype: Any, where: str = "") -> np.ndarray:
    """Return an unfilled array: in memory up to the limit, above it in a temporary file.

    The file has no name, lies where TMPDIR says and vanishes with the array. Its place on the disk is taken
    at once: a disk that filled up later would end the process.

    Parameters
    ----------
    shape : sequence of int
    dtype : dtype
    where : str
        What an error calls the data.

    Returns
    -------
    array
        A `numpy.memmap` where it lies in a file.

    Raises
    ------
    DataError
        When there is no room for it.
    """
    shape, dtype = tuple(int(n) for n in shape), np.dtype(dtype)
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    start = f"{where}: " if where else ""
    if size <= memory_limit():
        try:
            return np.empty(shape, dtype)
        except MemoryError as error:
            raise DataError(
                f"{start}an array of {_plain(shape)} takes {_text(size)}, which memory does not have; "
                f"set {VARIABLE} below that to have it on the disk, or read less (limit, image_size)"
            ) from error
    return in_file(shape, dtype, where)


def in_file(shape: Sequence[int], dtype: Any, where: str = "") -> np.ndarray:
    """Return an unfilled array in a temporary file, as :func:`allocate` does above the limit.

    Raises
    ------
    DataError
        When there is no room for it.
    """
    shape, dtype = tuple(int(n) for n in shape), np.dtype(dtype)
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    start = f"{where}: " if where else ""
    try:
        with tempfile.TemporaryFile(prefix="ntbench-") as file:
            _reserve(file, size)
            return np.memmap(file, dtype, "r+", shape=shape)
    except (OSError, OverflowError, ValueError) as error:
        raise DataError(
            f"{start}an array of {_plain(shape)} takes {_text(size)}, more than {VARIABLE} leaves in memory "
            f"({_text(memory_limit())}), and its temporary file cannot be written: "
            f"{getattr(error, 'strerror', None) or error}; name a larger disk with TMPDIR, raise {VARIABLE}, "
            "or read less (limit, image_size)"
        ) from error


def _reserve(file: IO[bytes], size: int) -> None:
    """Take the file's place on the disk, so that a full disk is an error now and not a signal later."""
    if hasattr(os, "posix_fallocate"):
        import errno

        try:
            os.posix_fallocate(file.fileno(), 0, size)
            return
        except OSError as error:
            # What file systems answer that cannot do it.
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
    zeros = bytes(2**20)
    for start in range(0, size, len(zeros)):
        file.write(zeros[: size - start])
    file.flush()


def release(*arrays: np.ndarray) -> None:
    """Give the pages of mapped arrays back; their content stays in the file. Others are left alone."""
    for array in arrays:
        base: Any = array
        while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
            base = base.base
        # A private mapping (mode "c") would lose what was written to it.
        if isinstance(base, np.memmap) and base.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
            while isinstance(base, np.ndarray):
                base = base.base
            if isinstance(base, mmap.mmap):
                base.madvise(mmap.MADV_DONTNEED)


def slices(x: np.ndarray, row_bytes: int | None = None) -> Iterator[slice]:
    """Yield slices that cover the rows of `x` in order, about CHUNK_BYTES each, giving pages back between.

    Parameters
    ----------
    x : array, shape (N, ...)
    row_bytes : int, optional
        What working on one row takes; the row's own size without it.
    """
    step = max(1, CHUNK_BYTES // max(1, row_bytes or x.nbytes // max(1, len(x))))
    for start in range(0, len(x), step):
        yield slice(start, min(start + step, len(x)))
        release(x)


def chunks(x: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows of `x` in order, a piece at a time."""
    for rows in slices(x):
        yield x[rows]


def map_rows(
    function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, row_bytes: int | None = None, where: str = ""
) -> np.ndarray:
    """Apply a function that treats every row by itself, a piece at a time.

    Parameters
    ----------
    function : callable
        Takes some rows, at least one, and returns as many; dtype and shape of a row are always the same.
    x : array, shape (N, ...)
        At least one row.
    row_bytes : int, optional
        What working on one row takes; the row's own size without it.
    where : str
        What an error calls the data.

    Returns
    -------
    array, shape (N, ...)
        C-contiguous, from :func:`allocate`.
    """
    result = None
    for rows in slices(x, row_bytes):
        made = function(x[rows])
        if result is None:
            result = allocate((len(x), *made.shape[1:]), made.dtype, where)
        result[rows] = made
        release(result)
    return result


def take(x: np.ndarray, index: Any, where: str = "") -> np.ndarray:
    """Return the rows of `x` at an index of any kind that numpy knows, as :func:`allocate` places them.

    All rows in their order are `x` itself.
    """
    index = np.arange(len(x))[index]
    if np.array_equal(index, np.arange(len(x))):
        return x
    result = allocate((len(index), *x.shape[1:]), x.dtype, where)
    for rows in slices(result):
        result[rows] = x[index[rows]]
        release(x)
    return result


def concatenate(parts: Sequence[np.ndarray], where: str = "") -> np.ndarray:
    """Return the rows of all parts, of one shape, as :func:`allocate` places them; a single part is itself."""
    if len(parts) == 1:
        return parts[0]
    result = allocate((sum(map(len, parts)), *parts[0].shape[1:]), np.result_type(*parts), where)
    end = 0
    for part in parts:
        for rows in slices(part):
            result[end + rows.start : end + rows.stop] = part[rows]
            release(result)
        end += len(part)
    return result


def contiguous(x: np.ndarray, where: str = "") -> np.ndarray:
    """Return `x` with its values in C order: itself where they are, else a copy."""
    return x if x.flags.c_contiguous else map_rows(np.ascontiguousarray, x, where=where)


def first_not_finite(x: np.ndarray) -> int | None:
    """Return the number of the first row with a NaN or an infinity."""
    for rows in slices(x):
        finite = np.isfinite(x[rows])
        if not finite.all():
            return rows.start + int(np.argmin(finite.reshape(len(finite), -1).all(axis=1)))
    return None


def extremes(x: np.ndarray) -> tuple[Any, Any]:
    """Return the least and the greatest value; NaN where there is one."""
    found = [(part.min(), part.max()) for part in chunks(x)]
    return np.min([low for low, _ in found]), np.max([high for _, high in found])


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays have one shape, dtype and content."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    for rows in slices(a):
        if not np.array_equal(a[rows], b[rows]):
            return False
        release(b)
    return True


def _plain(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _text(size: int) -> str:
    unit = next(unit for unit in ("T", "G", "M", "K", "") if size >= _UNITS[unit] or not unit)
    return f"{size / _UNITS[unit]:.4g} {unit and unit + 'i'}B"
