"""Run units in local worker processes of one thread each.

Workers are told what to do, and answer, in JSON lines over their standard streams: nothing is pickled,
the caller's script is not imported again, and a worker whose driver dies sees its input end and stops.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from bench.errors import BenchError
from bench.launch.feed import Feed, singly
from bench.launch.units import failure
from bench.suite.plan import Plan
from bench.trial import Unit, unit_to_json

# One thread a worker: results then do not depend on the number of workers, and two workers of two
# threads on two cores are several times slower than two of one.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class WorkerDied(Exception):
    """A worker process ended in the middle of a unit."""


class _Worker:
    """One worker process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.launch.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **_ONE_THREAD},
            # Ctrl-C is the driver's to handle: it lets what is in flight finish.
            start_new_session=True,
        )
        self._ready = False

    def ask(self, setup: dict[str, Any], unit: Unit) -> list[dict[str, Any]]:
        """Have a unit run and return its records.

        Raises
        ------
        WorkerDied
            When the process ends before it answers.
        """
        if not self._ready:
            self._send(setup)
            self._ready = True
        self._send(unit_to_json(unit))
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise WorkerDied(self._cause())
        return json.loads(line)

    def _send(self, values: dict[str, Any]) -> None:
        try:
            self._process.stdin.write(json.dumps(values).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise WorkerDied(self._cause()) from None

    def _cause(self) -> str:
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "the worker process closed its output"
        if code >= 0:
            return f"the worker process ended with exit code {code}"
        name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the worker process was killed by {name}{hint}"

    def close(self, patience: float) -> None:
        """End the process: by itself within `patience` seconds, else by force."""
        with suppress(OSError):  # it may have gone already
            self._process.stdin.close()
        try:
            self._process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class LocalProcesses:
    """Runs units in `jobs` worker processes; a context manager.

    Parameters
    ----------
    jobs : int
        Number of workers.
    """

    def __init__(self, jobs: int):
        self.jobs = jobs
        self._stopping = threading.Event()

    def __enter__(self) -> LocalProcesses:
        # Starting is slow (torch is imported), so it begins now, beside whatever the driver does next.
        self._workers = [_Worker() for _ in range(self.jobs)]
        return self

    def __exit__(self, kind: type | None, *exception: object) -> None:
        self._stopping.set()
        for worker in self._workers:
            worker.close(patience=0.0 if kind else 5.0)

    def configure(self, plan: Plan, setup: dict[str, Any]) -> None:
        """Say what the units belong to; `setup` is as :func:`bench.launch.units.setup_to_json` gives it."""
        self._plan, self._setup = plan, setup

    def stop(self) -> None:
        """Start no further unit; those in flight are still finished and yielded."""
        self._stopping.set()

    def run(self, units: Iterable[Unit]) -> Iterator[dict[str, Any]]:
        """Yield each unit's records when it is done, in the order in which units finish."""
        feed = Feed(units, self.jobs)
        answers: queue.SimpleQueue[list[dict[str, Any]] | BaseException | None] = queue.SimpleQueue()

        def serve(index: int) -> None:
            try:
                while not self._stopping.is_set() and (unit := feed.next(index)) is not None:
                    answers.put(self._ask(index, unit, feed))
            except BaseException as error:
                answers.put(error)
            finally:
                answers.put(None)

        threads = [threading.Thread(target=serve, args=(i,), daemon=True) for i in range(self.jobs)]
        for thread in threads:
            thread.start()
        running = len(threads)
        while running:
            answer = answers.get()
            if answer is None:
                running -= 1
            elif isinstance(answer, BaseException):
                raise answer
            else:
                yield from answer

    def _ask(self, index: int, unit: Unit, feed: Feed) -> list[dict[str, Any]]:
        began = time.perf_counter()
        try:
            return self._workers[index].ask(self._setup, unit)
        except WorkerDied as death:
            self._workers[index].close(patience=0.0)
            self._workers[index] = _Worker()
            if alone := singly(unit):
                # Whichever member it was, it shall take no other with it.
                feed.again(index, alone)
                return []
            return [failure(self._plan, unit, str(death), str(death), time.perf_counter() - began)]
        except ValueError as error:
            raise BenchError(f"a worker process sent something that is no record: {error}") from error
