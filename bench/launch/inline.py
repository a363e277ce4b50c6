"""Run units in this process: for a debugger, and for tests."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bench.launch.units import Done, make_runner, new_files, run_unit
from bench.suite.plan import Plan
from bench.trial import Unit


class Inline:
    """Runs units here, one after the other, on one thread as a worker would.

    Parameters
    ----------
    scratch : Path
        Folder for new files.
    """

    jobs = 1

    def __init__(self, scratch: Path):
        self._scratch = scratch

    def __enter__(self) -> Inline:
        import torch

        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)
        self._stopping = False
        return self

    def __exit__(self, *exception: object) -> None:
        import torch

        torch.set_num_threads(self._threads)

    def configure(self, plan: Plan, setup: dict[str, Any]) -> None:
        """Say what the units belong to."""
        self._runner = make_runner(setup)

    def stop(self) -> None:
        """Start no further unit."""
        self._stopping = True

    def run(self, units: Iterable[Unit]) -> Iterator[list[Done]]:
        """Yield what came of each unit when it is done."""
        for number, unit in enumerate(units):
            if self._stopping:
                return
            made, began = self._scratch / f"made-{number}", time.perf_counter()
            records = run_unit(self._runner, unit, made)
            yield [Done(unit, records, new_files(made), seconds=time.perf_counter() - began)]
