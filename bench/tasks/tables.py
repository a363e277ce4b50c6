"""Tables read into the parts of a task: which column is what, which rows go where, what becomes of gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import DataError, nearest
from bench.heads.base import SINGLE_LABEL
from bench.tasks import columns, labels
from bench.tasks.base import UNLABELLED
from bench.tasks.given import FURTHER, PART_NAMES, Part, replace_inputs

if TYPE_CHECKING:
    from pandas import DataFrame

MISSING = ("error", "drop", "fill")
ORDER = ("train", "val", "test")


@dataclass(frozen=True)
class Roles:
    """Which columns of a table are what, by name or by number.

    Attributes
    ----------
    label : sequence of str or int
        Of the class; of several labels or numbers, each.
    split, group : str or int, optional
        Of the part that a row belongs to, and of what it must not be torn from.
    drop : sequence of str or int
        Left out.
    """

    label: Sequence[str | int]
    split: str | int | None = None
    group: str | int | None = None
    drop: Sequence[str | int] = ()


@dataclass(frozen=True, eq=False)
class TableParts:
    """The parts of a task, as tables say them.

    Attributes
    ----------
    parts : dict of Part
        Their inputs are float64 of shape (N, D), with NaN for a gap where gaps are to be filled.
    classes : list of str
    names : list of str
        What each of the D is called: a column, or a column and its value.
    measured : bool array, shape (D,)
        False for the columns that stand for a category.
    notes : tuple of str
        What was left out, with its count.
    """

    parts: dict[str, Part]
    classes: list[str]
    names: list[str]
    measured: np.ndarray
    notes: tuple[str, ...]


def read_parts(
    files: Mapping[str, Path], roles: Roles, *, header: bool = True, missing: str = "error", one_hot: bool = False,
    kind: str = SINGLE_LABEL,
) -> TableParts:  # fmt: skip
    """Read one table a part, or one whose rows say which part they belong to.

    Parameters
    ----------
    files : mapping
        From "train", and perhaps "val", "test" and "test_NAME" of further test sets, to a file.
    header : bool
        Whether the first line names the columns.
    missing : {"error", "drop", "fill"}
    one_hot : bool
        Whether a column of text becomes categories.
    kind : str
        Of the task.

    Raises
    ------
    DataError
    """
    frames: list[tuple[DataFrame, Path]] = []
    y, groups, part_of, notes = [], [], [], []
    classes: list[str] = []
    for part, file in files.items():
        frame = columns.read_table(file, header)
        roles_here = _of_further(roles, frame) if part.startswith(FURTHER) else roles
        found = _locate(frame, roles_here, file, kind)
        special = [name for names in found.values() for name in names]
        dropped = [columns.locate(frame, column, file, " to drop") for column in roles_here.drop]
        frame = frame.drop(columns=[name for name in dict.fromkeys(dropped) if name not in special])
        rows = np.arange(1, len(frame) + 1)
        if missing == "drop":
            frame, rows, note = _without_gaps(frame, file)
            notes += note
        y.append(columns.target_values(frame, found["label"], kind, file, rows))
        groups.append(_texts(columns.take(frame, *found["group"], file)) if found["group"] else None)
        split = columns.take(frame, *found["split"], file) if found["split"] else None
        part_of.append(np.full(len(frame), part) if split is None else _parts(split, file))
        frames.append((frame.drop(columns=special), file))
        classes = classes or (found["label"] if kind != UNLABELLED else [])
    first = next(iter(files.values()))
    if kind == SINGLE_LABEL:
        y, classes = labels.encode(y, str(first))
    x, names, measured = columns.features(frames, one_hot, fill=missing == "fill")
    parts = {}
    for inputs, targets, of, group in zip(x, y, part_of, groups, strict=True):
        for part in dict.fromkeys(part for part in (*ORDER, *of.tolist()) if part in of):
            rows = np.nonzero(of == part)[0]
            parts[part] = Part(inputs, targets, group).take(rows, str(first))
    if "train" not in parts:
        raise DataError(f'{first}: no row of the column "{roles.split}" is "train"')
    return TableParts(parts, classes, names, measured, tuple(notes))


def _locate(frame: DataFrame, roles: Roles, file: Path, kind: str) -> dict[str, list[str]]:
    """Return the names of the columns of each role, which must differ."""
    label = roles.label if kind != UNLABELLED else [name for name in roles.label if name in frame.columns]
    found = {"label": [columns.locate(frame, name, file) for name in label]}
    for role in ("split", "group"):
        given = getattr(roles, role)
        found[role] = [] if given is None else [columns.locate(frame, given, file)]
    special = [name for names in found.values() for name in names]
    if len(set(special)) < len(special):
        raise DataError(f"{file}: label, split and group must be different columns, got {', '.join(special)}")
    if kind == SINGLE_LABEL and len(roles.label) != 1:
        raise DataError(f'{file}: one column holds the class, got {list(roles.label)}; or say kind = "multi-label"')
    return found


def _of_further(roles: Roles, frame: DataFrame) -> Roles:
    """Return the roles in the table of a further test set, which may lack all columns but features and label."""

    def there(column: str | int) -> bool:
        return isinstance(column, int) or column in frame.columns

    split, group = (column if column is not None and there(column) else None for column in (roles.split, roles.group))
    drop = [column for column in roles.drop if there(column)]
    return Roles(roles.label, None, group, drop if split is None else [*drop, split])


def _without_gaps(frame: DataFrame, file: Path) -> tuple[DataFrame, np.ndarray, list[str]]:
    """Return the rows without gaps, their numbers in the file from 1, and what to note."""
    whole = frame.dropna()
    lost = len(frame) - len(whole)
    if not len(whole):
        raise DataError(f"{file}: every row has a missing value; drop the columns that have most")
    note = f'missing values: {lost:,} of {len(frame):,} rows of {file.name} left out (missing = "drop")'
    return whole.reset_index(drop=True), whole.index.to_numpy() + 1, [note] if lost else []


def _texts(column) -> np.ndarray:  # noqa: ANN001 - pandas is not imported here
    """Return a column as whole numbers where it holds such, else as strings."""
    from pandas.api import types

    return column.to_numpy(np.int64) if types.is_integer_dtype(column) else column.astype(str).to_numpy(str)


def _parts(column, file: Path) -> np.ndarray:  # noqa: ANN001 - pandas is not imported here
    """Return the part that each row names."""
    said = column.astype(str).str.strip().str.lower()
    strange = sorted(set(said) - set(PART_NAMES))
    if strange:
        hint = nearest(strange[0], PART_NAMES)
        raise DataError(
            f'{file}: the split column "{column.name}" says "{strange[0]}"{hint}; allowed: {", ".join(PART_NAMES)}'
        )
    return said.map(PART_NAMES).to_numpy(str)


def filled(table: TableParts, parts: Mapping[str, Part], where: Path) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Fill gaps in numbers with the median of their column in the train pool.

    Parameters
    ----------
    parts : mapping of Part
        The test set cut off already: it has no say in the medians.

    Returns
    -------
    parts : dict
    notes : tuple of str
        How many gaps there were, in which columns.

    Raises
    ------
    DataError
        For a column without a value in the train pool.
    """
    pool = parts["train"].x
    gaps = sum(np.isnan(part.x).sum(0) for part in parts.values())
    empty = np.nonzero(np.isnan(pool).all(0))[0]
    if len(empty):
        name = table.names[empty[0]]
        raise DataError(f'{where}: column "{name}" has no value in the train pool to fill from; drop it')
    ends = f" = {columns.GAP}"
    own = {name.removesuffix(ends): i for i, name in enumerate(table.names) if name.endswith(ends)}
    words = {name: int(sum(part.x[:, i].sum() for part in parts.values())) for name, i in own.items()}
    numbers = {table.names[i]: int(gaps[i]) for i in np.nonzero(gaps)[0]}
    notes = [
        f"missing values: {sum(found.values()):,} {what} ({_listed(found)})"
        for what, found in (("filled with the train pool's median of their column", numbers),
                            ("given a category of their own", words))
        if found
    ]  # fmt: skip
    if not gaps.any():
        return dict(parts), tuple(notes)
    median = np.zeros(pool.shape[1])
    median[gaps > 0] = np.nanmedian(pool[:, gaps > 0], axis=0)
    x = {name: np.where(np.isnan(part.x), median, part.x) for name, part in parts.items()}
    return replace_inputs(parts, x), tuple(notes)


def _listed(counts: Mapping[str, int]) -> str:
    said = [f"{name} {count:,}" for name, count in counts.items()]
    return ", ".join(said[:8]) + (", ..." if len(said) > 8 else "")
