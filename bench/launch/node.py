"""A worker on a machine of a cluster: a folder for what it is sent, and a worker process that uses it."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench import __version__, provenance
from bench.atomic_write import write_whole
from bench.errors import BenchError, StoreError
from bench.launch.process import Worker
from bench.launch.shipping import unpacked
from bench.trial import Unit

PREFIX = "ntbench-"


class Folder:
    """A folder that the workers of one machine share, and that goes when the last of them does.

    A shared lock says that a worker lives; the system takes it away with the worker, however that ends. So
    folders of workers that were killed are recognised, and go when another worker starts or ends.

    Parameters
    ----------
    name : str
        The same for the workers of one run on one machine.
    """

    def __init__(self, name: str, parent: Path | None = None):
        parent = parent or Path(tempfile.gettempdir())
        self.path = parent / f"{PREFIX}{name}"
        self._mark = parent / f"{PREFIX}{name}.lock"
        self._lock = self._hold()
        self._sweep_others()

    def _hold(self) -> int:
        import fcntl

        while True:
            lock = os.open(self._mark, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(lock, fcntl.LOCK_SH)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), os.stat(self._mark)):
                    self.path.mkdir(mode=0o700, exist_ok=True)
                    return lock
            os.close(lock)  # the last worker before has just taken it away

    def receive(self, files: Mapping[str, Any], fetch: Callable[[Any], Any]) -> None:
        """Write files that are not there yet, by their place; other workers may do the same meanwhile."""
        for place, reference in files.items():
            path = self.path / place
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, fetch(reference), shared=True, sync=False)

    def _sweep_others(self) -> None:
        for mark in self._mark.parent.glob(f"{PREFIX}*.lock"):
            if mark != self._mark:
                _sweep(mark)

    def close(self) -> None:
        """Let go of the folder; the last one removes it."""
        os.close(self._lock)
        _sweep(self._mark)
        self._sweep_others()


def _sweep(mark: Path) -> None:
    """Remove a folder that no worker holds."""
    import fcntl

    try:
        lock = os.open(mark, os.O_RDWR)
    except OSError:
        return  # gone already, or another user's
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(mark.with_suffix(""), ignore_errors=True)
        mark.unlink(missing_ok=True)
    except OSError:
        pass  # it is held
    finally:
        os.close(lock)


class Node:
    """One worker of a cluster; it answers in plain values.

    Parameters
    ----------
    name : str
        Of the folder that it shares with others of its machine and run.
    fetch : callable
        From a reference that it is sent to the bytes of a file.
    environment : mapping of str to str
        Variables to set.
    """

    def __init__(self, name: str, fetch: Callable[[Any], Any], environment: Mapping[str, str]):
        os.environ.update(environment)
        self._fetch, self._folder = fetch, Folder(name)
        self._worker = Worker(self._folder.path / f"worker-{os.getpid()}")

    def configure(self, setup: dict[str, Any], files: Mapping[str, Any]) -> dict[str, Any]:
        """Take in what all units need; return the machine's name ("node") and "versions" that results depend on."""
        with suppress(OSError, StoreError):  # a full disk shows again with the first unit, and is said there
            self._folder.receive(files, self._fetch)
        self._worker.configure(unpacked(setup, self._folder.path))
        return {"node": platform.node(), "versions": versions()}

    def run(self, unit: Unit, files: Mapping[str, Any], limit: float | None) -> dict[str, Any]:
        """Run a unit that reads `files`, as far as they were not sent before, and return what came of it.

        Returns
        -------
        dict
            "error" alone where this machine cannot run units at all; else "records", "files" (their bytes by
            place), "log", "seconds" and "death", which is None or (cause, whether it hung).
        """
        try:
            self._folder.receive(files, self._fetch)
            done = self._worker.run(unit, limit)
            made = {place: _taken(path) for place, path in done.files.items()}
        except (BenchError, OSError) as error:
            return {"error": f"{platform.node()}: {error}"}
        death = (done.death.cause, done.death.hung) if done.death else None
        return {"records": done.records, "files": made, "log": done.log, "seconds": done.seconds, "death": death}

    def close(self) -> None:
        """End the process and let go of the folder."""
        self._worker.close()
        self._folder.close()


def _taken(path: Path) -> bytes:
    """Read a file that is needed here no more."""
    content = path.read_bytes()
    path.unlink()
    return content


def versions() -> dict[str, str]:
    """Return the versions of what computes results."""
    found = provenance.versions()
    return {"ntbench": __version__} | {name: found[name] for name in ("torch", "numpy")}
