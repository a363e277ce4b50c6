"""A local worker process of one thread, and a worker that outlives its processes.

A process is told what to do, and answers, in JSON lines over its standard streams: nothing is pickled, the
caller's script is not imported again, and a process whose driver dies sees its input end and stops. What it
prints goes to a file, and from there to the log of the unit that printed it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.launch.units import Death, Done, new_files
from bench.trial import Unit, unit_to_json

# One thread a worker: results then do not depend on the number of workers, and two workers of two
# threads on two cores are several times slower than two of one.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
LOG_BYTES = 20_000  # of a unit's output: the end says what happened
GRACE = 1.0  # s beyond the time limit, in which the process writes down where it is
STARTS = 3  # processes that end before they take any work, one after the other, until the run gives up


class _Ended(Exception):
    """A process ended before it answered; the text says how."""


class _Process:
    """One process."""

    def __init__(self, log: Path):
        self._log = log
        self._kills = _kernel_kills()
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb"), log.open("ab") as output:  # appending, so that it can be emptied meanwhile
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "bench.launch.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=output,
                    env={**os.environ, **_ONE_THREAD},
                    # Ctrl-C is the driver's to handle: it lets what is in flight finish.
                    start_new_session=True,
                )
        except OSError as error:
            raise BenchError(f"cannot start a worker process: {error.strerror}; its folder is {log.parent}") from error
        self.ready = self.expired = False
        self._asked, self._answering = 0, threading.Lock()

    def prepare(self, setup: dict[str, Any]) -> None:
        """Hand over what all units need, and wait until it is taken in."""
        self._send(setup)
        self._receive()
        self.ready = True

    def ask(self, unit: Unit, made: Path, limit: float | None) -> list[dict[str, Any]]:
        """Have a unit run and return its records."""
        self._send({"unit": unit_to_json(unit), "made": str(made), "seconds": limit})
        timer = threading.Timer(limit + GRACE, self._expire, [self._asked]) if limit else None
        if timer:
            timer.start()
        try:
            return self._receive()["records"]
        finally:
            if timer:
                timer.cancel()
                with self._answering:
                    self._asked += 1

    def _expire(self, asked: int) -> None:
        """End the process, unless it has answered in this very moment: the next unit is not to pay for it."""
        with self._answering:
            if asked == self._asked:
                self.expired = True
                self.kill()

    def _send(self, values: dict[str, Any]) -> None:
        try:
            self._process.stdin.write(json.dumps(values).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise _Ended(self._cause()) from None

    def _receive(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise _Ended(self._cause())
        try:
            return json.loads(line)
        except ValueError as error:
            raise BenchError(f"a worker process sent something that is no record: {error}") from error

    def _cause(self) -> str:
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "the worker process closed its output"
        if code >= 0:
            return f"the worker process ended with exit code {code}"
        name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
        hint = ""
        if name == "SIGKILL":
            sure = self._kills is not None and _kernel_kills() != self._kills
            hint = " (out of memory: the kernel killed a process meanwhile)" if sure else " (out of memory?)"
        return f"the worker process was killed by {name}{hint}"

    def said(self) -> str:
        """Return what was printed since this was asked last, as far as its end."""
        size = self._log.stat().st_size
        if not size:
            return ""
        with self._log.open("r+b") as file:
            file.seek(max(0, size - LOG_BYTES))
            text = file.read().decode(errors="replace")
            file.truncate(0)
        return text

    def kill(self) -> None:
        """End the process, and what it may have started, by force."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self, patience: float) -> None:
        """End the process: by itself within `patience` seconds, else by force."""
        with suppress(OSError):  # it may have gone already
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=patience)
        self.kill()  # what a plug-in has started may outlive the process itself
        self._process.wait()
        self._process.stdout.close()


def _kernel_kills() -> str | None:
    """Return how many processes the kernel has killed for want of memory; None where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line for line in lines if line.startswith("oom_kill ")), None)


class Worker:
    """Runs units in a process of its own, in another one when that has died.

    Parameters
    ----------
    folder : Path
        Made if need be: for what its processes print and make.

    Raises
    ------
    BenchError
        When the system lets no process start.
    """

    def __init__(self, folder: Path):
        self._folder, self._units, self._failed_starts = folder, 0, 0
        self._closed, self._changing = False, threading.Lock()
        # Starting is slow (torch is imported), so it begins now, beside whatever the driver does next.
        self._process = _Process(folder / "output")

    def configure(self, setup: dict[str, Any]) -> None:
        """Say what the units belong to; `setup` is as :func:`bench.launch.units.setup_to_json` gives it."""
        self._setup = setup

    def run(self, unit: Unit, limit: float | None) -> Done:
        """Run a unit, whatever happens to the process.

        Raises
        ------
        BenchError
            When processes do not even start.
        """
        self._prepare()
        self._units += 1
        made = self._folder / f"made-{self._units}"
        began = time.perf_counter()
        try:
            records = self._process.ask(unit, made, limit)
        except _Ended as end:
            hung = self._process.expired
            cause = f"timed out: no result after {limit:g} s" if hung else str(end)
            log, seconds = self._process.said(), time.perf_counter() - began
            self._restart()
            shutil.rmtree(made, ignore_errors=True)
            return Done(unit, [], log=log, seconds=seconds, death=Death(cause, hung))
        done = Done(unit, records, new_files(made), self._process.said(), time.perf_counter() - began)
        if self._process.expired:  # in the very moment in which it answered
            self._restart()
        return done

    def _prepare(self) -> None:
        while not self._process.ready:
            try:
                self._process.prepare(self._setup)
                self._failed_starts = 0
            except _Ended as end:
                self._failed_starts += 1
                said = self._process.said().strip()
                if self._failed_starts >= STARTS:
                    raise BenchError(f"worker processes do not start: {end}\n{said}".rstrip()) from None
                self._restart()

    def _restart(self) -> None:
        with self._changing:
            if not self._closed:
                self._process.close(patience=0.0)
                self._process = _Process(self._folder / "output")

    def close(self, patience: float = 0.0) -> None:
        """End the process; there will be no other."""
        with self._changing:
            self._closed = True
            self._process.close(patience)
