"""Run units in local worker processes of one thread each."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.launch.deaths import Deaths
from bench.launch.feed import Feed
from bench.launch.process import Worker
from bench.launch.published import Load
from bench.launch.units import Done, time_limit
from bench.suite.plan import Plan
from bench.trial import Unit


class LocalProcesses:
    """Runs units in `jobs` worker processes; a context manager.

    Parameters
    ----------
    jobs : int
        Number of workers.
    scratch : Path
        Folder for what workers print and make.
    timeout : float, optional
        Seconds that a trial, source model or measurement may take.
    """

    def __init__(self, jobs: int, scratch: Path, timeout: float | None = None):
        self.jobs, self._scratch, self._timeout = jobs, scratch, timeout
        self._stopping = threading.Event()
        self._loads = [Load(str(i), socket.gethostname()) for i in range(jobs)]
        self._since = [0.0] * jobs

    def __enter__(self) -> LocalProcesses:
        self._workers = [Worker(self._scratch / f"worker-{i}") for i in range(self.jobs)]
        return self

    def __exit__(self, kind: type | None, *exception: object) -> None:
        self._stopping.set()
        for worker in self._workers:
            worker.close(patience=0.0 if kind else 5.0)

    def configure(self, plan: Plan, setup: dict[str, Any]) -> None:
        """Say what the units belong to; `setup` is as :func:`bench.launch.units.setup_to_json` gives it."""
        self._deaths = Deaths(plan)
        for worker in self._workers:
            worker.configure(setup)

    def stop(self) -> None:
        """Start no further unit; those in flight are still finished and yielded."""
        self._stopping.set()

    def loads(self) -> list[Load]:
        """Return what each worker is doing."""
        now = time.monotonic()
        pairs = zip(self._loads, self._since, strict=True)
        return [replace(load, seconds=now - since if load.unit else 0.0) for load, since in pairs]

    def run(self, units: Iterable[Unit]) -> Iterator[list[Done]]:
        """Yield what came of units, as many as have finished meanwhile, in the order in which they finish."""
        feed = Feed(units)
        answers: queue.SimpleQueue[Done | BaseException | None] = queue.SimpleQueue()

        def serve(index: int) -> None:
            try:
                while not self._stopping.is_set() and (unit := feed.next(index)) is not None:
                    answers.put(self._run(index, unit, feed))
            except BaseException as error:
                answers.put(error)
            finally:
                answers.put(None)

        threads = [threading.Thread(target=serve, args=(i,), daemon=True) for i in range(self.jobs)]
        for thread in threads:
            thread.start()
        running = len(threads)
        while running:
            found = [answers.get()]
            while not answers.empty():
                found.append(answers.get())
            running -= found.count(None)
            done = [answer for answer in found if isinstance(answer, Done)]
            if done:
                yield done
            for error in (answer for answer in found if isinstance(answer, BaseException)):
                raise error

    def _run(self, index: int, unit: Unit, feed: Feed) -> Done:
        self._since[index] = time.monotonic()
        self._loads[index] = replace(self._loads[index], unit=unit)
        done = self._workers[index].run(unit, time_limit(unit, self._timeout))
        self._loads[index] = replace(self._loads[index], unit=None, done=self._loads[index].done + 1)
        if done.death:
            again, done.records = self._deaths.after(done)
            feed.again(index, again)
        return done
