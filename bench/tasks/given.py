"""Parts that data come in (train, validation, test) put together to a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.errors import DataError
from bench.heads.base import SINGLE_LABEL, head_of
from bench.tasks import arrays
from bench.tasks.base import Task, protocol_cut

# What a part may be called in a folder or a column, in small letters.
PART_NAMES = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
}  # fmt: skip


FURTHER = "test_"  # what the parts that are further test sets are called, before their name


@dataclass(frozen=True, eq=False)
class Part:
    """Some examples: inputs, targets (of classes, indices) and perhaps what group each belongs to."""

    x: np.ndarray
    y: np.ndarray
    groups: np.ndarray | None = None

    def take(self, index: np.ndarray, where: str) -> Part:
        """Return the examples at `index`."""
        groups = None if self.groups is None else self.groups[index]
        return Part(arrays.take(self.x, index, where), self.y[index], groups)


def merge_validation(parts: Mapping[str, Part], merge: bool, where: Path) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Add the validation split to the train pool, where that is asked for.

    Returns
    -------
    parts : dict
    notes : tuple of str
        What was done, with its count.

    Raises
    ------
    DataError
        Where there is no validation split, or no test set beside it.
    """
    if not isinstance(merge, bool):
        raise DataError(f"{where}: merge_val must be true or false, got {merge!r}")
    if not merge:
        return dict(parts), ()
    if "val" not in parts or "test" not in parts:
        why = "there is no test set, so it is the test set" if "val" in parts else "there is none"
        raise DataError(f"{where}: merge_val = true adds a validation split to the train pool, but {why}")
    train, val = parts["train"], parts["val"]
    groups = None if train.groups is None else np.concatenate([train.groups, val.groups])
    both = Part(arrays.concatenate([train.x, val.x], str(where)), np.concatenate([train.y, val.y]), groups)
    note = f"validation split: its {len(val.y):,} examples were added to the train pool (merge_val = true)"
    others = {name: part for name, part in parts.items() if name not in ("train", "val")}
    return {"train": both, **others}, (note,)


def with_test(
    parts: Mapping[str, Part], name: str, where: Path, kind: str = SINGLE_LABEL
) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Cut the test set off as the task itself would, where there is none; return the parts and what to note."""
    if "test" in parts or "val" in parts:
        return dict(parts), ()
    pool = parts["train"]
    train, test, note = protocol_cut(head_of(kind).strata(pool.y), pool.groups, name, str(where), kind)
    return {**parts, "train": pool.take(train, str(where)), "test": pool.take(test, str(where))}, (note,)


def as_task(
    name: str, where: Path, classes: Sequence[str], parts: Mapping[str, Part], notes: Sequence[str],
    kind: str = SINGLE_LABEL,
) -> Task:  # fmt: skip
    """Build the task of some parts: "train", perhaps "val", "test" and "test_NAME" for further test sets.

    An error says which file it came from, while the name (a seed) knows no path.

    Raises
    ------
    DataError
    """
    train = parts["train"]
    held = {f"{axis}_{part}": getattr(parts[part], axis) for part in ("test", "val") if part in parts for axis in "xy"}
    leaks = [leak for part in parts if part != "train" and (leak := _shared(train, parts[part], part))]
    further = {part.removeprefix(FURTHER): (p.x, p.y) for part, p in parts.items() if part.startswith(FURTHER)}
    try:
        return Task(
            train.x, train.y, classes, name=name, groups=train.groups, notes=(*notes, *leaks), kind=kind,
            further=further, **held,
        )  # fmt: skip
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _shared(train: Part, held: Part, part: str) -> str | None:
    """Say how many examples of a given part are of groups that the train pool has too."""
    if train.groups is None or held.groups is None:
        return None
    found = np.isin(held.groups, train.groups)
    if not found.any():
        return None
    which = sorted(set(held.groups[found].astype(str).tolist()))
    listed = ", ".join(which[:5]) + (", ..." if len(which) > 5 else "")
    what = {"val": "validation split", "test": "test set"}.get(part, f"further test set {part.removeprefix(FURTHER)}")
    return (
        f"groups: the given {what} shares {len(which)} of its groups with the train pool ({listed}), "
        f"{int(found.sum()):,} of its {len(found):,} examples: they leak"
    )


def replace_inputs(parts: Mapping[str, Part], x: Mapping[str, np.ndarray]) -> dict[str, Part]:
    """Return the parts with other inputs."""
    return {name: replace(part, x=x[name]) for name, part in parts.items()}
