"""What a run says in its folder while it lasts, for ``ntbench status`` from another terminal or machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.ledger.lock import write_live
from bench.trial import Group, Unit

if TYPE_CHECKING:
    from bench.launch.driver import Progress

EVERY = 1.0  # s between two writings
RECENT = 60.0  # s over which the present rate is counted
SHOWN_KEYS = 8  # of a group in work


@dataclass(frozen=True)
class Load:
    """What one worker is doing.

    Attributes
    ----------
    worker : str
    node : str
        The machine that it is on.
    unit : Unit or None
        What it has in work.
    seconds : float
        Since when.
    done : int
        Units that it has finished.
    """

    worker: str
    node: str
    unit: Unit | None = None
    seconds: float = 0.0
    done: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-able values: of a group in work, its number of members and the keys of the first few."""
        members = self.unit.members if isinstance(self.unit, Group) else ()
        keys = [member.key for member in members] or ([getattr(self.unit, "key", "")] if self.unit else [])
        return {
            "worker": self.worker, "node": self.node, "busy": self.unit is not None, "units": max(1, len(members)),
            "keys": [key for key in keys[:SHOWN_KEYS] if key], "seconds": round(self.seconds, 3), "done": self.done,
        }  # fmt: skip


class Published:
    """Hands on what a run tells, and says it in the run folder too, once a second; a context manager.

    Parameters
    ----------
    progress : Progress
        Who is told first.
    folder : Path
    about : dict
        JSON-able: suite, launcher, number of workers.
    launcher : Launcher
        Asked for its loads, if it knows them.
    """

    def __init__(self, progress: Progress, folder: Path, about: dict[str, Any], launcher: Any):
        self._progress, self._folder, self._about, self._launcher = progress, folder, about, launcher
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._begin("", 0)

    def __enter__(self) -> Published:
        self._thread = threading.Thread(target=self._write_now_and_then, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def stage(self, name: str, total: int) -> None:
        """Begin a stage of `total` units."""
        with self._lock:
            self._begin(name, total)
        self._progress.stage(name, total)

    def advance(self, record: dict[str, Any]) -> None:
        """A unit has finished."""
        with self._lock:
            self._done += 1
            self._failed += record.get("row", record).get("status") == "failed" or "error" in record
        self._progress.advance(record)

    def note(self, text: str) -> None:
        """Say something worth knowing."""
        self._progress.note(text)

    def _begin(self, name: str, total: int) -> None:
        self._name, self._total, self._done, self._failed = name, total, 0, 0
        # By the clock that nobody sets: the other may jump.
        self._began = time.monotonic()
        self._marks = [(self._began, 0)]

    def _write_now_and_then(self) -> None:
        while not self._ended.wait(EVERY):
            write_live(self._folder, self._about | self._state())

    def _state(self) -> dict[str, Any]:
        with self._lock:
            now = time.monotonic()
            self._marks = [mark for mark in self._marks if now - mark[0] <= RECENT] or self._marks[-1:]
            first, done = self._marks[0]
            stage = {"name": self._name, "total": self._total, "done": self._done, "failed": self._failed}
            state = {
                "stage": {**stage, "seconds": round(now - self._began, 3)},
                "per_second": (self._done - done) / (now - first) if now > first else None,
            }
            self._marks.append((now, self._done))
        return state | {"workers": [load.to_json() for load in self._loads()]}

    def _loads(self) -> Sequence[Load]:
        loads = getattr(self._launcher, "loads", None)
        return loads() if loads else ()
