"""Faults that are put into a run's own process, by name."""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

YEARS = 20 * 365 * 86400.0


def clock_that_jumps() -> None:
    """Have the time of day jump to and fro by years; the clock that nobody sets goes on."""
    rng, real = random.Random(os.getpid()), time.time

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.fromtimestamp(0, tz or UTC) + timedelta(seconds=time.time())

    time.time = lambda: max(0.0, real() + rng.uniform(-YEARS, YEARS))
    time.time_ns = lambda: int(time.time() * 1e9)
    for module in ("bench.provenance", "bench.ledger.lock"):
        __import__("importlib").import_module(module).datetime = Jumping


def sync_that_fails() -> None:
    """Have the disk refuse to take what was written, from some moment on."""
    real, left = os.fsync, [random.Random(os.getpid()).randrange(40)]

    def fsync(place: int) -> None:
        if left[0] <= 0:
            raise OSError(errno.EIO, "Input/output error")
        left[0] -= 1
        real(place)

    os.fsync = fsync


def damage_behind_its_back() -> None:
    """Flip a bit of each source model just after it was found to be whole."""
    import bench.launch.driver as driver

    real = driver.is_intact

    def is_intact(path: Path, record: Any) -> bool:
        whole = real(path, record)
        if whole:
            flip(path, random.Random(path.name))
        return whole

    driver.is_intact = is_intact


def flip(path: Path, rng: random.Random) -> int:
    """Flip one bit of a file; return the place of its byte."""
    content = bytearray(path.read_bytes())
    place = rng.randrange(len(content))
    content[place] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return place


FAULTS: dict[str, Callable[[], None]] = {
    "clock": clock_that_jumps,
    "sync": sync_that_fails,
    "damage": damage_behind_its_back,
}
