"""What a file that `torch.save` wrote would have its reader build, looked at before anything is built.

Reading with `weights_only` runs no code, but lets a file of a hundred bytes take all memory or time: by
functions that make much of little, and by tuples of tuples that each stand twice in the next, whose hash takes
2^n steps. No state dict needs either.
"""

from __future__ import annotations

import pickletools
import zipfile
from itertools import takewhile
from pathlib import Path
from typing import IO

MOST = 10_000_000  # values, each counted as often as it is reached; one of a thousand tensors has some 20,000
LEGACY = 5  # pickles that an older file begins with: mark, version, machine, the object, the names of its numbers
GROWING = frozenset(
    f"{module} {name}"
    for module, name in (
        ("builtins", "bytearray"), ("__builtin__", "bytearray"), ("_codecs", "encode"),
        ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"),
        ("torch._utils", "_rebuild_device_tensor_from_numpy"),
    )
)  # fmt: skip
_PUT, _GET = ("PUT", "BINPUT", "LONG_BINPUT"), ("GET", "BINGET", "LONG_BINGET")
_FILLS = ("SETITEM", "SETITEMS", "APPEND", "APPENDS")  # what has no hash, so that nobody walks through all of it


def growth(path: Path) -> str | None:
    """Say what a file holds that would grow beyond any state dict; None where there is nothing of the kind.

    A file that is damaged may have nothing either: whoever reads it finds that.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":  # by which torch tells archives from older files
            file.seek(0)
            return _first(_Bounded(file, path.stat().st_size), LEGACY)
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.lower().endswith("data.pkl"):
                with archive.open(member) as file:
                    if found := _first(file, 1):
                        return found
    return None


class _Bounded:
    """Reads what a file has of the bytes that it is asked for: no room is made for 2^60 because a file says so."""

    def __init__(self, file: IO[bytes], size: int):
        self._file, self._size = file, size
        self.readline, self.tell = file.readline, file.tell

    def read(self, number: int) -> bytes:
        return self._file.read(min(number, self._size - self._file.tell()))


def _first(file: IO[bytes] | _Bounded, pickles: int) -> str | None:
    """Return what the first pickles of a file hold that grows."""
    try:
        for _ in range(pickles):
            if found := _one(file):
                return found
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError):
        pass  # damaged from here on, or no more of them
    return None


def _one(file: IO[bytes] | _Bounded) -> str | None:
    """Go through a pickle as its reader would, with the number of values in each in place of the values."""
    stack: list[int | None] = []  # None is a mark
    memo: dict[int, int | None] = {}
    reached = 0
    for op, argument, _ in pickletools.genops(file):
        if op.name == "GLOBAL" and argument in GROWING:
            return f"a call of {argument.replace(' ', '.')}"
        if op.name in _PUT:
            memo[argument] = stack[-1]
        elif op.name in _GET:
            stack.append(memo[argument])
        elif op.name == "MARK":
            stack.append(None)
        else:
            taken = _take(op, stack)
            reached += sum(taken)
            whole = 1 if op.name in _FILLS else 1 + sum(taken)
            stack += [whole] * len(op.stack_after)
        if reached > MOST:
            return f"more than {MOST:,} values within each other"
    return None


def _take(op: pickletools.OpcodeInfo, stack: list[int | None]) -> list[int]:
    """Take off the stack what an instruction works on."""
    needed, taken = op.stack_before, []
    if pickletools.markobject in needed:
        taken = list(takewhile(lambda size: size is not None, reversed(stack)))
        del stack[len(stack) - len(taken) - 1 :]
        needed = needed[: needed.index(pickletools.markobject)]
    return taken + [stack.pop() for _ in needed]
