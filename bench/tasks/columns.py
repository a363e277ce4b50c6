"""Columns of a CSV or Parquet table as features and labels."""

from __future__ import annotations

import bz2
import gzip
import lzma
import warnings
import zipfile
from collections.abc import Callable, Iterable, Sequence
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
GAP = "(missing)"  # the category of a gap


def read_table(path: Path, header: bool = True) -> DataFrame:
    """Read a CSV (.csv, .tsv, perhaps compressed) or Parquet (.parquet, .pq) file.

    A first column without a name is what pandas writes for its index; it is left out, with a warning. Where the
    first line names no columns (`header` is False) they are called "0", "1", ...

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
        frame = read(path, header)
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


def _csv(separator: str) -> Callable[[Path, bool], DataFrame]:
    def read(path: Path, header: bool) -> DataFrame:
        import pandas as pd

        if not header:
            return pd.read_csv(path, sep=separator, header=None)
        # pandas renames repeated columns ("label.1"): a second label would pass as a feature.
        names = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str).iloc[0].dropna().tolist()
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise DataError(f'{path}: the column "{repeated[0]}" appears more than once{_headless(names)}')
        return pd.read_csv(path, sep=separator)

    return read


def _parquet(path: Path, header: bool) -> DataFrame:
    import pandas as pd

    if not header:
        raise DataError(f"{path}: header = false is for CSV files; Parquet names its columns")
    return pd.read_parquet(path, engine="pyarrow").reset_index(drop=True)


def _headless(names: Iterable[str]) -> str:
    """Return a hint where what should be names of columns looks like a row."""
    names = list(names)
    numbers = sum(_is_number(name) for name in names)
    if 2 * numbers < len(names) or not numbers or names == [str(n) for n in range(len(names))]:
        return ""
    return f"; {numbers} of {len(names)} column names are numbers: where the first line is a row, say header = false"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def locate(frame: DataFrame, column: str | int | None, path: Path, what: str = "") -> str | None:
    """Return the name of a column that is given by name or by number, from 0, or from -1 for the last.

    Parameters
    ----------
    what : str
        What an error says it is for, behind the column.

    Raises
    ------
    DataError
        Where there is none, with the nearest match.
    """
    if column is None or (isinstance(column, str) and column in frame.columns):
        return column
    number = len(frame.columns)
    if isinstance(column, int) and not isinstance(column, bool):
        if -number <= column < number:
            return frame.columns[column]
        last = number - 1
        raise DataError(f"{path}: no column {column}{what}; its {number} columns are 0 to {last}, or -1 to -{number}")
    hint = nearest(str(column), frame.columns) or f"; columns: {_short(frame.columns)}"
    raise DataError(f'{path}: no column "{column}"{what}{hint}{_headless(frame.columns)}')


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
    column = frame[locate(frame, name, path)]
    gaps = np.flatnonzero(column.isna().to_numpy())
    if len(gaps):
        many = "1 missing value" if len(gaps) == 1 else f"{len(gaps)} missing values"
        raise DataError(
            f'{path}: column "{name}" has {many}, the first in row {gaps[0] + 1}; '
            'missing = "drop" leaves such rows out, missing = "fill" fills gaps in features'
        )
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


def target_values(frame: DataFrame, names: Sequence[str], kind: str, path: Path, rows: np.ndarray) -> np.ndarray:
    """Return the targets of a kind of task.

    Parameters
    ----------
    names : sequence of str
        The columns that hold them.
    rows : integer array, shape (N,)
        Number of each row in the file, from 1, for errors.

    Returns
    -------
    array, shape (N,) or (N, K)
        Labels as :func:`label_values` gives them, float64 numbers, or bools of several labels.

    Raises
    ------
    DataError
        With the column and row of what is no number, or of a label that is neither 0 nor 1.
    """
    import pandas as pd

    if kind == "unlabelled":
        return np.zeros(len(frame), np.int64)
    if kind == "single-label":
        return label_values(take(frame, names[0], path), path)
    made = []
    for name in names:
        column = take(frame, name, path)
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
        strange, what = ~np.isfinite(numbers), "a number, which a regression predicts"
        if kind == "multi-label":
            strange, what = ~np.isin(numbers, (0, 1)), "0 or 1, as a label of several must be"
        if strange.any():
            row = int(np.argmax(strange))
            raise DataError(f'{path}: column "{name}", row {rows[row]}: {column.iloc[row]!s:.50} is not {what}')
        made.append(numbers)
    y = np.stack(made, axis=1)
    return y == 1 if kind == "multi-label" else y


def features(
    frames: Sequence[tuple[DataFrame, Path]], one_hot: bool, fill: bool = False
) -> tuple[list[np.ndarray], list[str], np.ndarray]:
    """Turn the columns of one or more tables with the same columns into numbers.

    Parameters
    ----------
    frames : sequence of (DataFrame, Path)
        Without the label; the first decides the order of the columns.
    one_hot : bool
        Whether a column of strings becomes one 0/1 column for each of its values.
    fill : bool
        Whether gaps are allowed: NaN among numbers, a category of their own among strings.

    Returns
    -------
    x : list of float64 arrays, shape (N, D)
    names : list of str
        The column that each of the D is, or the column and the value that it stands for.
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
    names: list[str] = []
    measured: list[bool] = []
    for name in frames[0][0].columns:
        parts = [frame[locate(frame, name, path)] if fill else take(frame, name, path) for frame, path in frames]
        if all(types.is_numeric_dtype(part) and not types.is_complex_dtype(part) for part in parts):
            new = [[part.to_numpy(dtype=np.float64, na_value=np.nan)] for part in parts]
            numbers, made = [True], [name]
        else:
            parts = [part.astype(object).where(part.notna(), GAP) if fill else part for part in parts]
            values = _categories(parts, name, frames[0][1], one_hot)
            new = [[(part.astype(str) == value).to_numpy(dtype=np.float64) for value in values] for part in parts]
            numbers, made = [False] * len(values), [f"{name} = {value}" for value in values]
        measured += numbers
        names += made
        for column, part in zip(columns, new, strict=True):
            column.extend(part)
    if not measured:
        raise DataError(f"{frames[0][1]}: has no column beside the label")
    return [np.stack(column, axis=1) for column in columns], names, np.array(measured)


def _categories(parts: Sequence[Series], name: str, path: Path, one_hot: bool) -> list[str]:
    from pandas.api import types

    values = sorted(set().union(*(part.astype(str) for part in parts)))
    words = all(types.is_string_dtype(p) or isinstance(p.dtype, types.CategoricalDtype) for p in parts)
    if one_hot and words and len(values) <= MAX_CATEGORIES:
        return values
    remedy = f'leave it out with drop = ["{name}"]'
    if not words:
        raise DataError(f'{path}: column "{name}" is not numeric ({parts[0].dtype}, such as {values[0]}); {remedy}')
    strange = [value for value in values if not _is_number(value)]
    if len(strange) <= len(values) / 2:
        raise DataError(
            f'{path}: column "{name}" is text: it holds numbers and "{strange[0]}"; where that stands for a gap, '
            f"leave the field empty (and say missing), or {remedy}"
        )
    if not one_hot and len(values) <= MAX_CATEGORIES:
        remedy = f"one_hot = true makes a column of each value, or {remedy}"
    raise DataError(
        f'{path}: column "{name}" is text ({len(values)} different values, such as "{values[0]}"): {remedy}; '
        f"more than {MAX_CATEGORIES} values are too many for one_hot, and there are no tasks on text itself yet"
    )


def _short(names: Sequence[str]) -> str:
    return ", ".join(list(names)[:12]) + (", ..." if len(names) > 12 else "")
