"""Trials that raise, hang, run out of memory or kill their process: the others never notice."""

from __future__ import annotations

import shutil
from pathlib import Path

from .study import SUITE, Outcome, Study, finished, several

LIMIT = 10.0  # s a trial: far more than it takes
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
    """A trial whose process the kernel kills, as it does when memory runs out."""
    return _faulty(study, tries, "SIGKILL", "once", "SIGKILL")


def trial_crashes(study: Study, tries: int) -> Outcome:
    """A trial whose process dies in compiled code."""
    return _faulty(study, tries, "SIGSEGV", "once", "SIGSEGV")


def trial_hangs(study: Study, tries: int) -> Outcome:
    """A trial that never ends, with --timeout."""
    return _faulty(study, tries, "hang", "once", "timed out")
