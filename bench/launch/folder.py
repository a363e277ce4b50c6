"""What a run writes: its ledger, source models, weights and logs. The driver alone does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from bench.atomic_write import write_whole
from bench.errors import StoreError
from bench.launch.units import Done
from bench.ledger.file import Ledger
from bench.trial import Group, Unit

KEPT = ("sources", "weights", "predictions")  # folders of files that units make
LOGS = "logs"


@contextmanager
def work_folder(folder: Path) -> Iterator[Path]:
    """Make the folder through which local workers get their tasks; what a killed run left there goes first."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir()
    except OSError as error:
        raise StoreError(f"cannot write {work}: {error.strerror}") from error
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


class RunFolder:
    """A run folder with its open ledger.

    Parameters
    ----------
    ledger : Ledger
    """

    def __init__(self, ledger: Ledger):
        self.path, self._ledger = ledger.folder, ledger

    @property
    def sources(self) -> Path:
        """Where source models are kept."""
        return self.path / "sources"

    def make(self) -> None:
        """Make the folders of what units make.

        Raises
        ------
        StoreError
            When that cannot be.
        """
        for name in KEPT:
            try:
                (self.path / name).mkdir(exist_ok=True)
            except OSError as error:
                raise StoreError(f"cannot write {self.path / name}: {error.strerror}") from error

    def keep(self, done: Sequence[Done]) -> None:
        """Keep what units made and said, then their records, which so never speak of files that are not there.

        Raises
        ------
        StoreError
            When the disk is full or the folder cannot be written.
        """
        for unit in done:
            for place, content in unit.files.items():
                self._keep_file(place, content)
            if unit.records:
                self._keep_log(unit.unit, unit.log)
        self.append([record for unit in done for record in unit.records])

    def append(self, records: Sequence[dict[str, Any]]) -> None:
        """Write records to the ledger."""
        if records:
            self._ledger.append(*records)

    def _keep_file(self, place: str, content: Any) -> None:
        parts = PurePosixPath(place).parts
        if len(parts) != 2 or parts[0] not in KEPT:
            raise StoreError(f"a worker made {place}, which is no file of a run folder")
        path = self.path.joinpath(*parts)
        if isinstance(content, Path):
            try:
                content.replace(path)  # on the same disk: whole or not at all
            except OSError as error:
                raise StoreError(f"cannot write {path}: {error.strerror}") from error
        else:
            write_whole(path, content)

    def _keep_log(self, unit: Unit, text: str) -> None:
        """Keep what the trials or source models of a unit said together, under each of their keys."""
        if not isinstance(unit, Group):
            return
        logs = self.path / LOGS
        if not text and not logs.is_dir():
            return
        for member in unit.members:
            path = logs / f"{member.key}.log"
            try:
                _put_log(path, text)
            except OSError as error:
                raise StoreError(f"cannot write {path}: {error.strerror}") from error


def _put_log(path: Path, text: str) -> None:
    """Have a log say a text, or be gone; what stands in its place already, a link even, is never written into."""
    if not text:
        path.unlink(missing_ok=True)  # of an earlier try
        return
    path.parent.mkdir(exist_ok=True)
    write_whole(path, text, sync=False)
