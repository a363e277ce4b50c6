"""The process that runs are forked from; see :class:`tests.reliability.study.Zygote`.

It reads orders as JSON lines from standard input and answers each with one. Runs are its children, so that it
can tell how they ended.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.reliability import inject


def run(
    suite: dict[str, Any], out: str, *, jobs: int = 0, launcher: str | None = None, timeout: float | None = None,
    where: tuple[str, ...] = (), retry_failed: bool = False, largest: int | None = None, user: int | None = None,
    faults: tuple[str, ...] = (),
) -> int:  # fmt: skip
    """Run a suite in this process and return its exit code.

    Parameters
    ----------
    largest : int, optional
        Bytes that a file may have: writing more fails half-way, as on a full disk.
    user : int, optional
        To become before.
    faults : sequence of str
        Of :data:`tests.reliability.inject.FAULTS`.
    """
    import bench
    from bench.errors import BenchError

    if largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    if user is not None:
        os.setgid(user)
        os.setuid(user)
    for fault in faults:
        inject.FAULTS[fault]()
    try:
        means = {"launcher": launcher} if launcher else {}
        means |= {"timeout": timeout} if timeout else {}
        rows = bench.run(suite, out, jobs=jobs, where=where, retry_failed=retry_failed, device="cpu", **means)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return int((rows["status"] != "ok").any())


def main() -> None:
    """Serve until the input ends."""
    import torch

    import bench
    from tests.reliability.study import SUITE

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:  # imports whatever a run imports
        bench.run({**SUITE, "seeds": 1, "target_sizes": [20]}, folder, jobs=0, device="cpu")
    ended: dict[int, int] = {}
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(_DO[order.pop("do")](ended, **order)), flush=True)
    for pid in [pid for pid in _children if pid not in ended]:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


_children: list[int] = []


def _start(ended: dict[int, int], said: str, **how: Any) -> dict[str, Any]:
    Path(said).touch()
    pid = os.fork()
    if pid == 0:
        _child(said, how)
    _children.append(pid)
    return {"pid": pid}


def _child(said: str, how: dict[str, Any]) -> None:
    code = 70
    try:
        place = os.open(said, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(place, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = run(**how)
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _signal(ended: dict[int, int], pid: int, **how: int) -> dict[str, Any]:
    if _poll(ended, pid)["code"] is None:
        os.kill(pid, how["signal"])
    return {}


def _poll(ended: dict[int, int], pid: int) -> dict[str, Any]:
    if pid not in ended:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            ended[pid] = os.waitstatus_to_exitcode(status)
    return {"code": ended.get(pid)}


_DO: dict[str, Callable[..., dict[str, Any]]] = {"start": _start, "signal": _signal, "poll": _poll}

if __name__ == "__main__":
    main()
