"""Columns of a CSV or Parquet table as features and labels."""

from __future__ import annotations

import bz2
import gzip
import lzma
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import DataError, nearest
from bench.tasks.arrays import VARIABLE, memory_limit

if TYPE_CHECKING:
    from pandas import DataFrame, Series

MAX_CATEGORIES = 50
BOMB = 100  # times that a file of real numbers hardly packs to
PACKED = (".gz", ".bz2", ".xz", ".zip")
NAMELESS = "Unnamed: 0"


def read_table(path: Path) -> DataFrame:
    """Read a CSV (.csv, .tsv, perhaps compressed) or Parquet (.parquet, .pq) file.

    A first column without a name is what pandas writes for its index; it is left out, with a warning.

    Raises
    ------
    DataError
        For another suffix, a file that cannot be parsed, or column names that repeat.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in PACKED]
    read = _READERS.get(suffixes[-1] if suffixes else "")
    if read is None:
        raise DataError(f"{path}: not a table by its suffix; known: {', '.join(_READERS)}")
    try:
        _refuse_bomb(path)
        frame = read(path)
    except DataError:
        raise
    except Exception as error:
        # pandas and pyarrow raise a dozen unrelated types over a damaged file.
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: cannot be read as a {suffixes[-1][1:]} table: {first}") from error
    if len(frame) == 0:
        raise DataError(f"{path}: has no rows")
    frame.columns = [str(name) for name in frame.columns]
    if NAMELESS in frame.columns:
        warnings.warn(f"{path}: left out the first column, which has no name (a saved index)", stacklevel=2)
        frame = frame.drop(columns=NAMELESS)
    return frame


def _refuse_bomb(path: Path) -> None:
    """Refuse a small file that unpacks to more than one array may take in memory.

    Raises
    ------
    DataError
        With what to do about a table that is meant.
    """
    limit, size = memory_limit(), path.stat().st_size
    unpacked = _unpacked(path, limit)
    if unpacked > limit and unpacked > BOMB * size:
        raise DataError(
            f"{path}: {size:,} bytes unpack to more than {VARIABLE} leaves for an array ({limit:,} bytes); "
            f"where that is meant, raise {VARIABLE} or unpack the file"
        )


def _unpacked(path: Path, limit: int) -> int:
    """Return how many bytes a file unpacks to, as far as a limit; 0 for one that is not packed."""
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        import pyarrow.parquet as pq

        facts = pq.read_metadata(path)
        return 8 * facts.num_rows * facts.num_columns
    if suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return sum(member.file_size for member in archive.infolist())
    opened = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(suffix)
    total = 0
    if opened is not None:
        with opened(path, "rb") as file:
            while total <= limit and (part := file.read(2**20)):
                total += len(part)
    return total


def _csv(separator: str) -> Callable[[Path], DataFrame]:
    def read(path: Path) -> DataFrame:
        import pandas as pd

        # pandas renames repeated columns ("label.1"): a second label would pass as a feature.
        header = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str).iloc[0].dropna().tolist()
        repeated = sorted({name for name in header if header.count(name) > 1})
        if repeated:
            raise DataError(f'{path}: the column "{repeated[0]}" appears more than once')
        return pd.read_csv(path, sep=separator)

    return read


def _parquet(path: Path) -> DataFrame:
    import pandas as pd

    return pd.read_parquet(path, engine="pyarrow").reset_index(drop=True)


_READERS: dict[str, Callable[[Path], Any]] = {
    ".csv": _csv(","),
    ".tsv": _csv("\t"),
    ".parquet": _parquet,
    ".pq": _parquet,
}


def take(frame: DataFrame, name: str, path: Path) -> Series:
    """Return the column `name`, which has no gaps.

    Raises
    ------
    DataError
        With the nearest match for a missing column, or the first row with a gap.
    """
    if name not in frame.columns:
        hint = nearest(name, frame.columns) or f"; columns: {_short(frame.columns)}"
        raise DataError(f'{path}: no column "{name}"{hint}')
    column = frame[name]
    gaps = np.flatnonzero(column.isna().to_numpy())
    if len(gaps):
        raise DataError(f'{path}: column "{name}" has {len(gaps)} missing values, the first in row {gaps[0] + 1}')
    return column


def label_values(column: Series, path: Path) -> np.ndarray:
    """Return a label column as an array of whole numbers, truth values or strings."""
    from pandas.api import types

    if isinstance(column.dtype, types.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if types.is_bool_dtype(column) or types.is_integer_dtype(column):
        return column.to_numpy(dtype=bool if types.is_bool_dtype(column) else np.int64)
    if types.is_float_dtype(column):
        return column.to_numpy(dtype=np.float64)
    values = column.astype(object).to_numpy()
    if isinstance(values[0], str):
        return values
    raise DataError(f'{path}: labels in "{column.name}" must be whole numbers or strings, got {column.dtype}')


def features(frames: Sequence[tuple[DataFrame, Path]], one_hot: bool) -> tuple[list[np.ndarray], np.ndarray]:
    """Turn the columns of one or more tables with the same columns into numbers.

    Parameters
    ----------
    frames : sequence of (DataFrame, Path)
        Without the label; the first decides the order of the columns.
    one_hot : bool
        Whether a column of strings becomes one 0/1 column for each of its values.

    Returns
    -------
    x : list of float64 arrays, shape (N, D)
    measured : bool array, shape (D,)
        False for the columns that stand for a category.

    Raises
    ------
    DataError
        For a missing column or value, or a column that is not numeric.
    """
    from pandas.api import types

    for frame, path in frames[1:]:
        more = [name for name in frame.columns if name not in frames[0][0].columns]
        if more:
            raise DataError(f'{path}: the column "{more[0]}" is not in {frames[0][1]}')
    columns: list[list[np.ndarray]] = [[] for _ in frames]
    measured: list[bool] = []
    for name in frames[0][0].columns:
        parts = [take(frame, name, path) for frame, path in frames]
        if all(types.is_numeric_dtype(part) and not types.is_complex_dtype(part) for part in parts):
            new = [[part.to_numpy(dtype=np.float64)] for part in parts]
            measured.append(True)
        else:
            values = _categories(parts, name, frames[0][1], one_hot)
            new = [[(part.astype(str) == value).to_numpy(dtype=np.float64) for value in values] for part in parts]
            measured.extend([False] * len(values))
        for column, part in zip(columns, new, strict=True):
            column.extend(part)
    if not measured:
        raise DataError(f"{frames[0][1]}: has no column beside the label")
    return [np.stack(column, axis=1) for column in columns], np.array(measured)


def _categories(parts: Sequence[Series], name: str, path: Path, one_hot: bool) -> list[str]:
    from pandas.api import types

    values = sorted(set().union(*(part.astype(str) for part in parts)))
    words = all(types.is_string_dtype(p) or isinstance(p.dtype, types.CategoricalDtype) for p in parts)
    if not one_hot or not words or len(values) > MAX_CATEGORIES:
        wanted = f"one_hot = true (up to {MAX_CATEGORIES} values)" if words else "numbers"
        raise DataError(
            f'{path}: column "{name}" is not numeric ({parts[0].dtype}, {len(values)} different values, such as '
            f'"{values[0]}"); use {wanted}, or leave it out with drop = ["{name}"]'
        )
    return values


def _short(names: Sequence[str]) -> str:
    return ", ".join(list(names)[:12]) + (", ..." if len(names) > 12 else "")
