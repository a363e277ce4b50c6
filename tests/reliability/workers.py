"""Trials that raise, hang, run out of memory or kill their process: the others never notice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .study import SUITE, Outcome, Study, finished, several

LIMIT = 10.0  # s a trial: far more than it takes
GROUPS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))  # of Linux, where either version keeps memory's
ROOM = 64 * 2**20  # bytes that a trial may take until the kernel kills it
# A backbone that does what a file beside it says, in whatever process comes to read it first.
PLUGIN = """
import os, signal, time
from pathlib import Path

import torch
import bench
from bench.backbones.base import Backbone

ORDER = Path(__file__).with_name("order")


def obey():
    try:
        if ORDER.stat().st_size == 0:
            return
        order, how_often = ORDER.read_text().split()
        if how_often == "once":
            ORDER.rename(ORDER.with_name("taken"))
    except (FileNotFoundError, ValueError):
        return
    if order == "raise":
        raise RuntimeError("a fault of this trial")
    if order == "hang":
        time.sleep(3600)
    if order == "memory":
        bytearray(2**62)
    if order == "exhaust":
        group = Path(ORDER.with_name("group").read_text())
        (group / "cgroup.procs").write_text(str(os.getpid()))
        b"x" * 2**30
    os.kill(os.getpid(), getattr(signal, order))


class Fragile(torch.nn.Flatten):
    def forward(self, x):
        if self.training:
            obey()
        return super().forward(x)


@bench.backbone("fragile", depth=2)
def fragile(shape):
    first = torch.nn.Sequential(Fragile(), torch.nn.Linear(shape[0] * shape[1] * shape[2], 8), torch.nn.ReLU())
    return Backbone({"one": first, "two": torch.nn.Linear(8, 8)}, 8)
"""


def fragile_suite(folder: Path) -> dict:
    """Write the plug-in, and return a suite with it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fragile.py").write_text(PLUGIN)
    return {
        **SUITE, "backbones": ["fragile"], "plugins": ["fragile.py"], "folder": str(folder), "target_sizes": [20],
    }  # fmt: skip


def _faulty(study: Study, tries: int, order: str, how_often: str, said: str) -> Outcome:
    """Judge runs of one worker in which a fault happens once, or in every trial until it is mended."""
    folder = study.folder / "fragile"
    once = how_often == "once"

    def try_it() -> Outcome:
        out = study.fresh()
        (folder / "taken").unlink(missing_ok=True)
        (folder / "order").write_text(f"{order} {how_often}")
        ended = study.run(out, jobs=1, timeout=LIMIT)
        happened = (folder / "taken").exists() or not once
        (folder / "order").unlink(missing_ok=True)
        assert ended.code in (0, 1), ended.said
        stored = finished(out)
        causes = set(study.errors(out))
        assert all(said in cause for cause in causes), causes
        study.finish(out, retry_failed=True)
        outcome = study.judge(out, stored)
        outcome.tried = int(happened)
        outcome.wrong += not once and not causes
        shutil.rmtree(out)
        return outcome

    return several(tries, try_it)


def trial_raises(study: Study, tries: int) -> Outcome:
    """A trial that raises an exception, once."""
    return _faulty(study, tries, "raise", "once", "a fault of this trial")


def trial_always_raises(study: Study, tries: int) -> Outcome:
    """Trials that raise until the fault is mended: rows that say so, and then the table."""
    return _faulty(study, tries, "raise", "always", "a fault of this trial")


def trial_without_memory(study: Study, tries: int) -> Outcome:
    """A trial that asks for more memory than there is."""
    return _faulty(study, tries, "memory", "once", "MemoryError")


def trial_killed_for_memory(study: Study, tries: int) -> Outcome:
    """A trial that takes more memory than its control group has, and that the kernel kills for it."""
    (study.folder / "fragile").mkdir(exist_ok=True)
    with _small_group() as group:
        (study.folder / "fragile" / "group").write_text(str(group))
        outcome = _faulty(study, tries, "exhaust", "once", "SIGKILL")
        killed = _killed_in(group)
    assert killed == outcome.tried, f"the kernel killed {killed} times for memory, not {outcome.tried}"
    return outcome


def can_limit_memory() -> bool:
    """Whether this user may make a control group whose processes the kernel kills when they take too much."""
    try:
        with _small_group() as group:
            _killed_in(group)
    except (OSError, StopIteration):
        return False
    return True


@contextmanager
def _small_group() -> Iterator[Path]:
    """Yield a control group of little memory and no swap."""
    top = next(top for top in GROUPS if (top / "cgroup.procs").exists())
    group = top / f"reliability-{os.getpid()}"
    group.mkdir()
    try:
        limit = next(path for name in ("memory.max", "memory.limit_in_bytes") if (path := group / name).exists())
        limit.write_text(str(ROOM))
        for name, most in (("memory.swap.max", 0), ("memory.memsw.limit_in_bytes", ROOM)):
            with suppress(FileNotFoundError, PermissionError):  # a kernel that does not count swap
                (group / name).write_text(str(most))
        yield group
    finally:
        group.rmdir()


def _killed_in(group: Path) -> int:
    """Return how many processes of a group the kernel has killed for want of memory."""
    counts = next(path for name in ("memory.events", "memory.oom_control") if (path := group / name).exists())
    return int(next(line.split()[1] for line in counts.read_text().splitlines() if line.startswith("oom_kill ")))


def trial_killed(study: Study, tries: int) -> Outcome:
    """A trial whose process somebody kills with SIGKILL."""
    return _faulty(study, tries, "SIGKILL", "once", "SIGKILL")


def trial_crashes(study: Study, tries: int) -> Outcome:
    """A trial whose process dies in compiled code."""
    return _faulty(study, tries, "SIGSEGV", "once", "SIGSEGV")


def trial_hangs(study: Study, tries: int) -> Outcome:
    """A trial that never ends, with --timeout."""
    return _faulty(study, tries, "hang", "once", "timed out")
