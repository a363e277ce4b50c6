"""A small suite, its undisturbed table, and what a disturbed folder's table has lost, twice or wrong against it."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bench.ledger.file import Damage, read_records
from bench.ledger.results import load_results

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300.0  # s: a run that takes longer hangs
TIMES = ("seconds", "source_seconds")  # the only columns in which two runs may differ

SUITE = {
    "name": "faults",
    "backbones": [{"backbone": "cnn", "channels": [4, 4], "name": "cnn"}],
    "strategies": ["feature-extraction", "fine-tune"],
    "target_sizes": [20, 40],
    "seeds": 3,
    "image_size": 8,
    "tasks": {
        "source": {"task": "printed-digits", "n": 200, "n_test": 50},
        "noisy": {"task": "source", "label_noise": 0.5},
    },
    "pairs": [{"target": "digits", "sources": ["source", "noisy"]}],
    "recipe": {"steps": 6, "learning_rates": [0.05, 0.2], "checkpoints": 2},
    "source_recipe": {"steps": 10},
}


@dataclass
class Outcome:
    """What came of a fault that was tried several times.

    Attributes
    ----------
    tried : int
        How often it happened.
    lost : int
        Rows that were stored and are gone, or that the whole run should have and has not.
    duplicated : int
        Rows that are there twice, and finished trials that were run again.
    wrong : int
        Rows that differ from those of the undisturbed run, and damage that nothing was said about.
    """

    tried: int = 0
    lost: int = 0
    duplicated: int = 0
    wrong: int = 0

    def __iadd__(self, other: Outcome) -> Outcome:
        self.tried += other.tried
        self.lost += other.lost
        self.duplicated += other.duplicated
        self.wrong += other.wrong
        return self

    @property
    def clean(self) -> bool:
        """Whether the fault happened and cost nothing."""
        return self.tried > 0 and not (self.lost or self.duplicated or self.wrong)


@dataclass
class Ended:
    """How a run ended: its exit code (minus the signal's number), and what it said."""

    code: int
    said: str


class Process:
    """A run in a process of its own that can be killed; it has imported everything when this is made."""

    def __init__(self, zygote: Zygote, pid: int, said: Path):
        self.pid, self._zygote, self._said = pid, zygote, said

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to it alone."""
        self._zygote.send(self.pid, number)

    def wait(self, patience: float = PATIENCE) -> Ended:
        """Return how it ended.

        Raises
        ------
        TimeoutError
            When it does not; it is killed then.
        """
        return Ended(self._zygote.wait(self.pid, patience), self._said.read_text(errors="replace"))


class Zygote:
    """A process that has imported torch, and forks for every run: a run starts at once."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.zygote"], cwd=ROOT, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._number = 0

    def start(self, out: Path, **how: Any) -> Process:
        """Start a run of the suite into a folder; `how` is as :func:`tests.reliability.zygote.run` takes it."""
        self._number += 1
        said = self._folder / f"said-{self._number}"
        pid = self._ask({"do": "start", "out": str(out), "said": str(said), **how})["pid"]
        return Process(self, pid, said)

    def send(self, pid: int, number: int) -> None:
        """Send a signal to a run, unless it has ended."""
        self._ask({"do": "signal", "pid": pid, "signal": int(number)})

    def wait(self, pid: int, patience: float) -> int:
        """Wait for the end of a run and return its exit code, or minus the signal's number."""
        end = time.monotonic() + patience
        while (code := self._ask({"do": "poll", "pid": pid})["code"]) is None:
            if time.monotonic() > end:
                self.send(pid, signal.SIGKILL)
                raise TimeoutError(f"a run took more than {patience} s")
            time.sleep(0.005)
        return code

    def _ask(self, what: dict[str, Any]) -> dict[str, Any]:
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@dataclass
class Study:
    """A suite, and the table of its undisturbed run.

    Attributes
    ----------
    whole : Path
        The folder of the undisturbed run.
    seconds : float
        How long that took.
    """

    folder: Path
    zygote: Zygote
    suite: dict[str, Any] = field(default_factory=lambda: SUITE)
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    _number: int = 0

    def __post_init__(self) -> None:
        self.whole = self.fresh()
        self.finish(self.whole)
        again = self.fresh()
        began = time.monotonic()  # of the second run: before the first, the zygote has to start
        self.finish(again)
        self.seconds = time.monotonic() - began
        self.truth = table(self.whole)
        assert len(self.truth) > 20
        assert (self.truth["status"] == "ok").all(), self.truth["error"].dropna().tolist()
        assert self.judge(again) == Outcome(), "two undisturbed runs differ"

    def fresh(self) -> Path:
        """Return a run folder that is not there yet."""
        self._number += 1
        return self.folder / f"run-{self._number}"

    def copy(self) -> Path:
        """Return a copy of the undisturbed run's folder."""
        return Path(shutil.copytree(self.whole, self.fresh()))

    def start(self, out: Path, **how: Any) -> Process:
        """Start a run into a folder."""
        return self.zygote.start(out, **{"suite": self.suite, **how})

    def run(self, out: Path, **how: Any) -> Ended:
        """Run into a folder and return how that ended."""
        return self.start(out, **how).wait()

    def finish(self, out: Path, **how: Any) -> Ended:
        """Run what is missing in a folder, undisturbed."""
        ended = self.run(out, **how)
        assert ended.code == 0, ended.said
        return ended

    def errors(self, out: Path) -> list[str]:
        """Return why trials of a folder failed."""
        return table(out)["error"].dropna().tolist()

    def judge(self, out: Path, stored: Iterable[str] = ()) -> Outcome:
        """Compare a folder's table with the undisturbed one.

        Parameters
        ----------
        stored : iterable of str
            Keys of rows that were stored before the fault.
        """
        found, truth = table(out), self.truth
        keys = Counter(found["key"])
        again = Counter(r["key"] for r in read_records(out) if r["kind"] == "trial" and r["row"]["status"] == "ok")
        rows, wanted = _by_key(found), _by_key(truth)
        wrong = sum(rows[key] != wanted.get(key) for key in rows)
        if list(found["key"]) != list(truth["key"]) and sorted(found["key"]) == sorted(truth["key"]):
            wrong += 1  # the same rows in another order
        return Outcome(
            lost=len((set(wanted) | set(stored)) - set(rows)),
            duplicated=sum(n - 1 for n in keys.values()) + sum(n - 1 for n in again.values()),
            wrong=wrong,
        )


def _by_key(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in rows.astype(object).where(rows.notna(), None).to_dict("records")}


def table(folder: Path) -> pd.DataFrame:
    """Return a folder's table without what may differ between two runs."""
    return load_results(folder).drop(columns=[*TIMES])


def finished(folder: Path) -> set[str]:
    """Return the keys of the trials whose rows a folder holds."""
    if not folder.is_dir():
        return set()
    return {r["key"] for r in read_records(folder) if r["kind"] == "trial" and r["row"]["status"] == "ok"}


def damage(folder: Path) -> list[int]:
    """Return the lines of a folder's ledger that are noticed to be damaged."""
    found = Damage()
    for _ in read_records(folder, found):
        pass
    return found.lines


def several(tries: int, once: Callable[[], Outcome]) -> Outcome:
    """Try a fault until it has happened so many times."""
    outcome = Outcome()
    for _ in range(20 * tries):
        if outcome.tried >= tries:
            break
        outcome += once()
    return outcome
