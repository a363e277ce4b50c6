"""Runs that are killed: the driver, its workers, politely or not, at random moments."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

from .study import Outcome, Study, finished


def driver_killed(study: Study, tries: int) -> Outcome:
    """kill -9 of a run in one process, again and again until it gets through; then another."""
    return _killed(study, tries, signal.SIGKILL)


def driver_with_workers_killed(study: Study, tries: int) -> Outcome:
    """kill -9 of the driver of two worker processes, which must end by themselves."""
    return _killed(study, tries, signal.SIGKILL, jobs=2)


def interrupted_once(study: Study, tries: int) -> Outcome:
    """Ctrl-C: what is in flight is finished."""
    return _killed(study, tries, signal.SIGINT)


def interrupted_twice(study: Study, tries: int) -> Outcome:
    """Ctrl-C twice: the run stops at once."""
    return _killed(study, tries, signal.SIGINT, twice=True)


def _killed(study: Study, tries: int, number: int, *, jobs: int = 0, twice: bool = False) -> Outcome:
    outcome = Outcome()
    out, stored = study.fresh(), set()
    seconds = study.seconds if not jobs else study.seconds + 6.0  # workers import torch first
    while outcome.tried < tries:
        process = study.start(out, jobs=jobs)
        time.sleep(study.rng.uniform(0.0, seconds))
        workers = _children(process.pid)
        process.kill(number)
        if twice:
            time.sleep(study.rng.uniform(0.0, 0.05))
            process.kill(number)
        ended = process.wait()
        assert ended.code in (0, 130, -number), ended.said
        _demand_no_orphans(workers)
        now = finished(out)
        outcome.lost += len(stored - now)
        stored = now
        whole = len(now) == len(study.truth)  # it got through before
        outcome.tried += not whole
        if whole or outcome.tried == tries:
            study.finish(out)
            outcome += study.judge(out, stored)
            shutil.rmtree(out)
            out, stored = study.fresh(), set()
    return outcome


def worker_killed(study: Study, tries: int) -> Outcome:
    """kill -9 of one of two workers at a random moment: its unit is run again."""
    outcome = Outcome()
    while outcome.tried < tries:
        out = study.fresh()
        process = study.start(out, jobs=2)
        while not (workers := _children(process.pid)) and _alive(process.pid):
            time.sleep(0.05)
        time.sleep(study.rng.uniform(0.0, study.seconds + 6.0))
        victims = [pid for pid in workers if _alive(pid)]
        if victims:
            os.kill(study.rng.choice(victims), signal.SIGKILL)
        ended = process.wait()
        assert ended.code == 0, ended.said
        outcome.tried += bool(victims)
        outcome += study.judge(out)
        shutil.rmtree(out)
    return outcome


def _children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _demand_no_orphans(workers: list[int], patience: float = 30.0) -> None:
    """Demand that workers end when their driver has gone."""
    end = time.monotonic() + patience
    while any(map(_alive, workers)):
        assert time.monotonic() < end, f"workers {[w for w in workers if _alive(w)]} live on without their driver"
        time.sleep(0.05)
