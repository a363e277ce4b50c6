"""Run units in this process: for a debugger, and for tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from bench.launch.units import make_runner, run_unit
from bench.suite.plan import Plan
from bench.trial import Unit


class Inline:
    """Runs units here, one after the other, on one thread as a worker would."""

    jobs = 1

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

    def run(self, units: Iterable[Unit]) -> Iterator[dict[str, Any]]:
        """Yield each unit's records when it is done."""
        for unit in units:
            if self._stopping:
                return
            yield from run_unit(self._runner, unit)
