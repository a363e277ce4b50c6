"""The ledger of a run: an append-only file of JSON Lines, one record a line, synced as it is written.

A line is ``{"crc":"xxxxxxxx",...}``: the checksum covers every byte after it, so that a torn or damaged
line is noticed, reported and ignored. Ledgers of several machines merge by concatenation: of records
with one key the last good one counts. Nothing is ever rewritten in place.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from bench.atomic_write import sync_folder
from bench.errors import StoreError
from bench.ledger.lock import hold
from bench.ledger.records import MAX_SECONDS, FinishedTrial, Record, read_object, record_of

T = TypeVar("T")
LEDGER = "ledger.jsonl"
MAX_LINE = 2**26  # bytes: a longer line is nothing that a run writes, and could be larger than memory
_PREFIX = b'{"crc":"'
_BODY = len(_PREFIX) + 8 + 2  # after the checksum: '",'


def encode(record: dict[str, Any]) -> bytes:
    """Write a record as one line with its checksum.

    Raises
    ------
    ValueError
        For a record with NaN or an infinity, which JSON has no form for.
    """
    body = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()[1:]
    return b'%s%08x",%s\n' % (_PREFIX, zlib.crc32(body), body)


def decode(line: bytes) -> dict[str, Any] | None:
    """Read one line; None if it is torn or damaged."""
    body = _checked(line)
    return None if body is None else parse_object(body)


def _checked(line: bytes) -> bytes | None:
    """Return what the checksum of a line covers, if it is right."""
    if not line.startswith(_PREFIX) or len(line) <= _BODY:
        return None
    body = line[_BODY:].rstrip(b"\n")
    return body if line[len(_PREFIX) : _BODY] == b'%08x",' % zlib.crc32(body) else None


def parse_object(body: bytes) -> dict[str, Any] | None:
    """Read what the checksum of a line covers, as it stands there; None if it is no record."""
    values = read_object(b"{" + body)
    return None if record_of(values) is None else values


def parse_record(body: bytes) -> Record | None:
    """Read what the checksum of a line covers; None if it is no record."""
    return record_of(read_object(b"{" + body))


TRIAL_START = b'"kind":"trial","key":"'
_OK, _SECONDS = b'"status":"ok"', re.compile(rb'"seconds":(\d+(?:\.\d+)?(?:e[+-]?\d+)?)[,}]')
_KEY = re.compile(rb'[A-Za-z0-9]{1,99}"')
_COLLAPSED = b'"collapsed_rates":"'


def parse_summary(body: bytes) -> Record | FinishedTrial | None:
    """Read of a finished trial no more than its key and seconds, which takes a tenth of the time.

    One in which a training collapsed is read whole: it is rare, and there is something to say of it.

    A quote within a JSON string is escaped, so these bytes can only be the names and values they look like.
    """
    key = _KEY.match(body, len(TRIAL_START)) if body.startswith(TRIAL_START) else None
    seconds = _SECONDS.match(body, body.find(b'"seconds":', key.end())) if key else None
    plain = seconds and body.find(_OK, key.end()) > 0 and _COLLAPSED not in body
    if plain and (value := float(seconds[1])) < MAX_SECONDS:
        return FinishedTrial(key[0][:-1].decode(), value)
    return parse_record(body)


@dataclass
class Damage:
    """Lines of a ledger that were ignored.

    Attributes
    ----------
    lines : list of int
        Their numbers, from 1.
    torn : bool
        Whether one of them is the last line, which an interrupted write leaves.
    """

    lines: list[int] = field(default_factory=list)
    torn: bool = False

    def __str__(self) -> str:
        if not self.lines:
            return ""
        shown = ", ".join(map(str, self.lines[:8])) + (", ..." if len(self.lines) > 8 else "")
        what = "1 line" if len(self.lines) == 1 else f"{len(self.lines)} lines"
        why = "cut short by an interruption" if self.torn and len(self.lines) == 1 else "damaged"
        return f"{what} of the ledger ({shown}) {why}; ignored, so what stood there will be run again"


def ledgers(folder: Path) -> list[Path]:
    """Return a run folder's ledgers: its own, and any that were copied beside it (``*.ledger.jsonl``)."""
    return [p for p in [folder / LEDGER, *sorted(folder.glob("*.ledger.jsonl"))] if p.is_file()]


def read_records(
    folder: Path, damage: Damage | None = None, read: Callable[[bytes], T | None] = parse_object
) -> Iterator[T]:
    """Yield the good records of a run folder in order; note the others in `damage`.

    Parameters
    ----------
    read : callable
        From what the checksum of a line covers to a record, or to None where it is none: :func:`parse_object`,
        :func:`parse_record` or :func:`parse_summary`.

    Raises
    ------
    StoreError
        When the folder or a ledger cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise StoreError(f"no run folder at {folder}")
    for path in ledgers(folder):
        try:
            with path.open("rb") as file:
                for number, line in enumerate(_lines(file), 1):
                    body = _checked(line)
                    record = None if body is None else read(body)
                    if record is not None:
                        yield record
                    elif damage is not None and line.strip():
                        damage.lines.append(number)
                        damage.torn = not line.endswith(b"\n")
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}") from error


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file; of one that is too long, no more than its end, which is no record."""
    while line := file.readline(MAX_LINE):
        while len(line) == MAX_LINE and not line.endswith(b"\n"):
            line = b"..." + file.readline(MAX_LINE - 3)
        yield line


class Ledger:
    """A run folder that this process alone writes to.

    Use :func:`open_ledger`. Every :meth:`append` is on the disk when it returns.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.path = folder / LEDGER
        try:
            new = not self.path.exists()
            # Unbuffered: what a failed write leaves behind must not be written later by surprise.
            self._file = self.path.open("ab", buffering=0)
            if new:
                sync_folder(folder)
            # A torn last line would swallow the next record: it is ended, so that only it is lost.
            self._torn = bool(self._file.tell()) and not _ends_with_newline(self.path)
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror}") from error

    def append(self, *records: dict[str, Any]) -> None:
        """Write records and sync them to the disk, all at once.

        Raises
        ------
        StoreError
            When the disk is full or the file cannot be written; what was stored before stays intact.
        """
        line = memoryview(b"".join(map(encode, records)))
        start = self._file.seek(0, os.SEEK_END)
        try:
            if self._torn:
                self._file.write(b"\n")
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
            self._torn = False
        except OSError as error:
            self._undo(start)
            raise StoreError(
                f"cannot write {self.path}: {error.strerror}; everything finished before is stored, "
                "and the same command goes on from there"
            ) from error

    def _undo(self, start: int) -> None:
        """Cut a half-written record off, if the file lets us; if not, its checksum gives it away."""
        try:
            os.ftruncate(self._file.fileno(), start)
        except OSError:
            self._torn = True

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


@contextmanager
def open_ledger(folder: str | Path) -> Iterator[Ledger]:
    """Make the run folder if need be, hold it against other runs, and open its ledger.

    Raises
    ------
    StoreError
        When the folder cannot be made or written, or another run holds it.
    """
    if not str(folder):
        raise StoreError('the run folder has no name; give one, or "." for the current folder')
    folder = Path(folder)
    with hold(folder):
        ledger = Ledger(folder)
        try:
            yield ledger
        finally:
            ledger.close()
