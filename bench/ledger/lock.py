"""The lock of a run folder, which one run holds at a time, and what that run says there of itself.

The lock is the system's (``flock``), so that it ends with the process that holds it, however that ends. On
file systems without such locks filelock leaves a mark with the holder's process, and takes it away when that
process is gone. What the holder says of itself stands in ``live.json``; a run that is killed leaves it.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.atomic_write import write_whole
from bench.errors import StoreError
from bench.ledger.records import read_object

LOCK, LIVE = ".lock", "live.json"
PATIENCE = 2.0  # s: whoever looks whether a folder is held, may hold it for a moment
MAX_LIVE = 2**22  # bytes


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Make a folder if need be, and hold it against other runs.

    Raises
    ------
    StoreError
        When the folder cannot be made or written, or another run holds it.
    """
    from filelock import FileLock, Timeout

    if folder.is_file():
        raise StoreError(f"{folder} is a file, not a folder; give another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=PATIENCE, poll_interval=0.05)
        lock.acquire()
    except Timeout:
        raise StoreError(
            f"another run is writing to {folder}{_who(folder)}; wait for it, or give this one another --out"
        ) from None
    except NotImplementedError as error:
        raise StoreError(f"{folder}: this file system has no locks ({error}); give another --out") from error
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}; give another --out") from error
    try:
        write_live(folder, {})
        yield
    finally:
        with suppress(OSError):
            (folder / LIVE).unlink(missing_ok=True)
        lock.release()


def _who(folder: Path) -> str:
    live = read_live(folder)
    return f" (process {live['pid']} on {live['host']}, since {live['since']})" if live else ""


def is_held(folder: Path) -> bool | None:
    """Whether a run holds a folder now; None where that cannot be told."""
    try:
        import fcntl

        place = os.open(folder / LOCK, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except (OSError, ImportError):
        return None
    try:
        fcntl.flock(place, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(place)
    return False


def write_live(folder: Path, values: Mapping[str, Any]) -> None:
    """Say what a run does now; whoever reads finds all of it. A folder that cannot be written stays silent.

    Parameters
    ----------
    values : mapping
        JSON-able; joined to the process's number, its machine and the times.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with suppress(OSError, StoreError):
        since = (read_live(folder) or {}).get("since") if values else None
        said = {"pid": os.getpid(), "host": socket.gethostname(), "since": since or now, "updated": now, **values}
        write_whole(folder / LIVE, json.dumps(said), sync=False)


def read_live(folder: Path) -> dict[str, Any] | None:
    """Return what the run that holds a folder, or held it last and was killed, says of itself; None for nothing."""
    place = folder / LIVE
    try:
        if not place.is_file():  # a pipe would be waited for
            return None
        with place.open("rb") as file:
            said = read_object(file.read(MAX_LIVE))
    except OSError:
        return None
    known = {"pid": int, "host": str, "since": str, "updated": str}
    if said is None or not all(isinstance(said.get(name), kind) for name, kind in known.items()):
        return None
    return said
