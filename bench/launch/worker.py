"""A worker process: reads its setup and units from standard input, writes each unit's records as a line."""

from __future__ import annotations

import atexit
import faulthandler
import json
import os
import queue
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from bench.launch.units import make_runner, run_unit
from bench.trial import unit_from_json

ORPHANED = 3
CHUNK = 2**16
FIRST = 300  # of 1,000: by how much the kernel, out of memory, rather ends this process than another as large


def main() -> None:
    """Serve until the input ends."""
    # Records alone go to the driver: what a plug-in prints goes to standard error.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    faulthandler.enable()  # a crash in compiled code says where it was
    _leave_signals_to_the_driver()
    _go_before_the_driver()
    import torch

    torch.set_num_threads(1)
    asked = _Asked()
    setup = asked.next()
    if setup is None:
        return
    runner = make_runner(setup)
    _answer(answers, {"ready": True})
    while (order := asked.next()) is not None:
        if order["seconds"]:
            faulthandler.dump_traceback_later(order["seconds"])  # the driver ends what takes longer
        records = run_unit(runner, unit_from_json(order["unit"]), Path(order["made"]))
        faulthandler.cancel_dump_traceback_later()
        sys.stdout.flush()
        asked.idle()
        _answer(answers, {"records": records})


def _end() -> None:
    """End this process at once: the interpreter would take a second or two to take PyTorch apart."""
    atexit._run_exitfuncs()  # what plug-ins have asked for
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _go_before_the_driver() -> None:
    """Have the kernel end this process rather than the driver when memory runs out: a trial, and not the run."""
    place = Path("/proc/self/oom_score_adj")
    with suppress(OSError, ValueError):  # no Linux, or forbidden
        if int(place.read_text(encoding="ascii")) < FIRST:
            place.write_text(str(FIRST), encoding="ascii")


def _leave_signals_to_the_driver() -> None:
    """Take no notice of signals that whoever ends a whole job sends to all of its processes, as Slurm does.

    The driver hears them too, and lets what is in flight finish; it needs none of them to end this process. A
    process that a plug-in forks from this one, and ends by such a signal, is to end.
    """
    here = os.getpid()

    def heard(number: int, frame: object) -> None:
        if os.getpid() != here:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, heard)


class _Asked:
    """Lines of standard input; when it ends amid a unit, the driver is gone, and so is this process at once."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._busy = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        # Not by sys.stdin: the interpreter cannot end while another thread waits within its buffer.
        begun = b""
        while chunk := os.read(sys.stdin.fileno(), CHUNK):
            *lines, begun = (begun + chunk).split(b"\n")
            for line in lines:
                self._busy.set()
                self._lines.put(line)
        if self._busy.is_set():
            os._exit(ORPHANED)
        self._lines.put(None)

    def idle(self) -> None:
        """Say that nothing is in work."""
        self._busy.clear()

    def next(self) -> dict[str, Any] | None:
        """Return what is asked next; None when the input has ended."""
        line = self._lines.get()
        return None if line is None else json.loads(line)


def _answer(answers: BinaryIO, values: dict[str, Any]) -> None:
    answers.write(json.dumps(values, allow_nan=False).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    main()
    _end()
