"""Two drivers on one folder, locks that are left behind, and clocks that jump."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

from bench.ledger.lock import LIVE, LOCK, is_held

from .study import Outcome, Study, finished, several


def two_drivers(study: Study, tries: int) -> Outcome:
    """A second run in a folder where one is: refused, at whatever moment it comes."""

    def once() -> Outcome:
        out = study.fresh()
        first = study.start(out)
        _await_lock(out)
        time.sleep(study.rng.uniform(0.0, study.seconds / 2))
        first.kill(signal.SIGSTOP)  # it is slow just now
        there = is_held(out)
        second = study.run(out) if there else None
        first.kill(signal.SIGCONT)
        ended = first.wait()
        assert ended.code == 0, ended.said
        outcome = study.judge(out)
        if second is not None:
            outcome.tried = 1
            outcome.wrong += not (second.code == 2 and "another run is writing to" in second.said)
        shutil.rmtree(out)
        return outcome

    return several(tries, once)


def started_together(study: Study, tries: int) -> Outcome:
    """Three runs into one folder that start at once: one gets it."""

    def once() -> Outcome:
        out = study.fresh()
        ended = [process.wait() for process in [study.start(out) for _ in range(3)]]
        refused = sum(end.code == 2 and "another run is writing to" in end.said for end in ended)
        outcome = study.judge(out)
        outcome.tried = 1
        outcome.wrong += sum(end.code == 0 for end in ended) + refused != 3
        shutil.rmtree(out)
        return outcome

    return several(tries, once)


def stale_lock(study: Study, tries: int) -> Outcome:
    """What a killed run leaves: a lock that nobody holds, and word of a process whose number is another's now."""

    def once() -> Outcome:
        out = study.fresh()
        process = study.start(out)
        _await_lock(out)
        time.sleep(study.rng.uniform(0.0, study.seconds / 2))
        process.kill(signal.SIGKILL)
        if process.wait().code == 0:
            return Outcome()
        assert (out / LOCK).exists()
        assert not is_held(out)
        said = {"pid": os.getpid(), "host": "elsewhere", "since": "2000-01-01", "updated": "2000-01-01"}
        (out / LIVE).write_text(json.dumps(said))
        stored = finished(out)
        study.finish(out)
        outcome = study.judge(out, stored)
        outcome.tried = 1
        shutil.rmtree(out)
        return outcome

    return several(tries, once)


def _await_lock(out: Path) -> None:
    while not (out / LIVE).exists():
        time.sleep(0.005)


def clock_jumps(study: Study, tries: int) -> Outcome:
    """A time of day that jumps by years while it runs and between two runs, and files from the future and the past."""

    def once() -> Outcome:
        out = study.fresh()
        process = study.start(out, faults=["clock"])
        time.sleep(study.rng.uniform(0.0, study.seconds))
        process.kill(signal.SIGKILL)
        process.wait()
        stored = finished(out)
        for path in out.rglob("*") if out.is_dir() else ():
            when = study.rng.choice((0.0, 4e9))
            os.utime(path, (when, when))
        study.finish(out, faults=["clock"])
        outcome = study.judge(out, stored)
        outcome.tried = 1
        shutil.rmtree(out)
        return outcome

    return several(tries, once)
