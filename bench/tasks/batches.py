"""Examples in one array or in a mapping of arrays, and targets that are mappings: one set of operations for all.

Inputs are an array of N rows, or a mapping from a name (ids, mask) to arrays of N rows each, in the order of the
names. Targets are an array of N rows, or :class:`Targets`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, Union

import numpy as np

from bench.errors import DataError
from bench.tasks import arrays

Inputs = Union[np.ndarray, Mapping[str, np.ndarray]]  # noqa: UP007 - evaluated at run time
SHAPES = "shape"  # what the packed shapes of a target's arrays are called, behind its name
T = TypeVar("T")


class Targets(Sequence):
    """Targets that are mappings of arrays, one an example: boxes and the label of each, say.

    Parameters
    ----------
    examples : iterable of mapping of str to array
        All with the same names; of one name, arrays of any shape with as many axes.
    where : str
        What an error calls the data.

    Raises
    ------
    DataError
        For an example with other names, an array of another number of axes, or values that are no numbers.
    """

    def __init__(self, examples: Iterable[Mapping[str, Any]], where: str = "targets"):
        found = list(examples)
        if not all(isinstance(example, Mapping) for example in found):
            strange = next(example for example in found if not isinstance(example, Mapping))
            raise DataError(f"{where}: a target must be a mapping of arrays, got {type(strange).__name__}")
        self._examples = [{str(k): np.asarray(v) for k, v in sorted(example.items())} for example in found]
        first = self._examples[0] if self._examples else {}
        types = {}
        for name, like in first.items():
            for number, example in enumerate(self._examples):
                if name not in example:
                    raise DataError(f'{where}: the target of example {number} lacks "{name}", which others have')
                array = example[name]
                if array.ndim != like.ndim or array.dtype.kind not in "buif":
                    needs = f"must be numbers on {like.ndim} axes, got {array.dtype} of shape {array.shape}"
                    raise DataError(f'{where}: "{name}" of example {number} {needs}')
                if array.dtype.kind == "f" and not np.isfinite(array).all():
                    raise DataError(f'{where}: "{name}" of example {number} has NaN or infinite values')
            types[name] = np.result_type(*(example[name].dtype for example in self._examples))
        for number, example in enumerate(self._examples):
            if more := set(example) - set(first):
                raise DataError(f'{where}: the target of example {number} has "{min(more)}", which others lack')
            example.update({name: example[name].astype(types[name], copy=False) for name in first})

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: Any) -> Any:
        """Return the target of one example, or the targets of several."""
        if isinstance(index, int | np.integer):
            return self._examples[index]
        return self.take(index)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return iter(self._examples)

    def take(self, index: Any) -> Targets:
        """Return the targets of the examples at an index of any kind that numpy knows."""
        return Targets([self._examples[i] for i in np.arange(len(self))[index]])

    def packed(self) -> dict[str, np.ndarray]:
        """Return the targets as arrays: of each name all values behind one another, and each example's shape."""
        made = {}
        for name in self._examples[0] if self._examples else ():
            every = [example[name] for example in self._examples]
            made[name] = np.concatenate([array.ravel() for array in every])
            made[f"{name}.{SHAPES}"] = np.array([array.shape for array in every], np.int64).reshape(len(every), -1)
        return made

    @classmethod
    def unpacked(cls, packed: Mapping[str, np.ndarray]) -> Targets:
        """Build targets from what :meth:`packed` gave."""
        columns = {}
        for name in [name for name in packed if not name.endswith(f".{SHAPES}")]:
            shapes = packed[f"{name}.{SHAPES}"]
            ends = np.cumsum(shapes.prod(1, dtype=np.int64))
            pieces = np.split(packed[name], ends[:-1])
            columns[name] = [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]
        return cls(dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))


def each(function: Callable[[np.ndarray], T], x: Inputs) -> T | dict[str, T]:
    """Apply a function to an array, or to every array of a mapping."""
    return {name: function(part) for name, part in x.items()} if isinstance(x, Mapping) else function(x)


def length(x: Inputs) -> int:
    """Return the number of rows, N."""
    return len(next(iter(x.values()))) if isinstance(x, Mapping) else len(x)


def take(x: Any, index: Any, where: str = "") -> Any:
    """Return the rows at an index, of inputs or of targets; :func:`bench.tasks.arrays.take` says how."""
    return x.take(index) if isinstance(x, Targets) else each(lambda part: arrays.take(part, index, where), x)


def shape_of(x: Inputs) -> tuple[Any, ...]:
    """Return the shape of one input: sizes, or of a mapping (name, shape) after (name, shape)."""
    if isinstance(x, Mapping):
        return tuple((name, tuple(int(n) for n in part.shape[1:])) for name, part in x.items())
    return x.shape[1:]


def flat(name: str, value: Any) -> dict[str, np.ndarray]:
    """Return a part of a task as named arrays: itself, or of a mapping "name.key" each."""
    if isinstance(value, Targets):
        value = value.packed()
    return {f"{name}.{key}": part for key, part in value.items()} if isinstance(value, Mapping) else {name: value}


def nested(found: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the parts of a task from their arrays: what :func:`flat` took apart."""
    parts: dict[str, Any] = {}
    for name, array in found.items():
        part, _, key = name.partition(".")
        if key:
            parts.setdefault(part, {})[key] = array
        else:
            parts[part] = array
    return {
        name: Targets.unpacked(value) if name.startswith("y") and isinstance(value, dict) else value
        for name, value in parts.items()
    }


def row_digests(x: Inputs) -> Iterator[bytes]:
    """Yield a digest of each row, in order: the rows of a large task do not fit into memory together."""
    columns = list(x.values()) if isinstance(x, Mapping) else [x]
    for rows in zip(*(_rows(column) for column in columns), strict=True):
        found = hashlib.blake2b(digest_size=16)
        for row in rows:
            found.update(np.ascontiguousarray(row).data)
        yield found.digest()


def shared_rows(x: Inputs, other: Inputs) -> int:
    """Count the rows of `other` that are in `x` too."""
    seen = set(row_digests(x))
    return sum(row in seen for row in row_digests(other))


def _rows(x: np.ndarray) -> Iterator[np.ndarray]:
    for part in arrays.chunks(x):
        yield from part


def inputs(x: Any, where: str) -> Inputs:
    """Return inputs as an array or a mapping of arrays, token ids as int64.

    Raises
    ------
    DataError
        For a mapping that is empty, whose names are no identifiers, or whose arrays have not as many rows.
    """
    if not isinstance(x, Mapping):
        x = np.asarray(x)
        whole = x.ndim == 2 and x.dtype.kind in "iu" and x.dtype not in (np.uint8, np.int64)
        return x.astype(np.int64) if whole else x
    if not x:
        raise DataError(f"{where}: a mapping of inputs needs an array at least")
    made = {}
    for name in sorted(x, key=str):
        if not isinstance(name, str) or not name.isidentifier():
            raise DataError(f"{where}: inputs of a mapping need names of letters, digits and _, got {name!r}")
        part = np.asarray(x[name])
        if part.dtype.kind in "iu" and part.dtype not in (np.uint8, np.int64):
            part = part.astype(np.int64)
        made[name] = part
    sizes = {name: len(part) if part.ndim else 0 for name, part in made.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{n} {name}" for name, n in sizes.items())
        raise DataError(f"{where}: the inputs of a mapping need one length, got {listed}")
    return made


def check_inputs(x: Inputs, n: int, where: str) -> None:
    """Check that inputs are what networks take, and as many as there are targets.

    Raises
    ------
    DataError
        With the first thing that is wrong.
    """
    if isinstance(x, Mapping):
        if length(x) != n:
            raise DataError(f"{where}: {length(x)} inputs but {n} labels")
        for name, part in x.items():
            _check_numbers(part, f'{where}, "{name}"')
        return
    if x.ndim not in (2, 4):
        raise DataError(f"{where}: inputs must be N x C x H x W or N x D, got shape {x.shape}")
    if len(x) != n:
        raise DataError(f"{where}: {len(x)} inputs but {n} labels")
    if x.size == 0:
        raise DataError(f"{where}: is empty (shape {x.shape})")
    tokens = x.dtype == np.int64 and x.ndim == 2
    if x.dtype != np.uint8 and not tokens and not np.issubdtype(x.dtype, np.floating):
        raise DataError(
            f"{where}: images must be uint8 or float, tables float and token ids integers of shape N x T; "
            f"got {x.dtype} of shape {x.shape}"
        )
    if tokens and (least := arrays.extremes(x)[0]) < 0:
        raise DataError(f"{where}: token ids must be 0 or more, got {least}")
    _check_finite(x, where)


def _check_numbers(x: np.ndarray, where: str) -> None:
    if x.size == 0:
        raise DataError(f"{where}: is empty (shape {x.shape})")
    if x.dtype.kind not in "buif":
        raise DataError(f"{where}: must hold numbers, got {x.dtype} of shape {x.shape}")
    _check_finite(x, where)


def _check_finite(x: np.ndarray, where: str) -> None:
    bad = arrays.first_not_finite(x) if x.dtype.kind == "f" else None
    if bad is not None:
        raise DataError(f"{where}: input {bad} has NaN or infinite values")


def check_alike(x: Inputs, other: Inputs, name: str, what: str) -> None:
    """Check that the inputs of another part are as those of the train pool are: keys, shapes, kinds of number.

    Raises
    ------
    DataError
        With the first thing that is wrong.
    """
    if isinstance(x, Mapping) and isinstance(other, Mapping):
        for key in x:
            if key not in other:
                raise DataError(f'{name}: the {what} inputs lack "{key}", which the train inputs have')
        for key in other:
            if key not in x:
                raise DataError(f'{name}: the {what} inputs have "{key}", which the train inputs lack')
        for key in x:
            check_alike(x[key], other[key], f'{name}, "{key}"', what)
        return
    if isinstance(x, Mapping) != isinstance(other, Mapping):
        kinds = [f"a mapping of {', '.join(part)}" if isinstance(part, Mapping) else "an array" for part in (x, other)]
        raise DataError(f"{name}: train inputs are {kinds[0]} but {what} inputs {kinds[1]}")
    if other.shape[1:] != x.shape[1:]:
        raise DataError(f"{name}: train inputs are {x.shape[1:]} but {what} inputs {other.shape[1:]}")
    if (x.dtype.kind == "i") != (other.dtype.kind == "i"):
        raise DataError(f"{name}: train inputs are {x.dtype} but {what} inputs {other.dtype}")
