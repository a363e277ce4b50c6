"""What becomes of units of work whose worker died: tried again, their members alone, or a failure."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from bench.launch.feed import singly
from bench.launch.units import Done, failure
from bench.suite.plan import Plan
from bench.trial import Unit

DEATHS = 2  # of workers by one trial: the first may have been the machine's making
LOSSES = 3  # of whole workers, with their machines perhaps, under one unit, until they count as its making


class Deaths:
    """Keeps count; may be asked from several threads.

    A group whose worker died is run again member by member, so that whichever it was takes no other with
    it. A trial, or source model, alone is tried once more: the kernel may have killed it to make room for
    another. What hung is not tried again.
    """

    def __init__(self, plan: Plan):
        self._plan = plan
        self._deaths: Counter[Unit] = Counter()
        self._losses: Counter[Unit] = Counter()
        self._lock = threading.Lock()

    def after(self, done: Done) -> tuple[list[Unit], list[dict[str, Any]]]:
        """Return the units to run now, or the record of the failure, of a unit whose worker died."""
        unit, death = done.unit, done.death
        with self._lock:
            if death.lost:
                self._losses[unit] += 1
                if self._losses[unit] % LOSSES:
                    return [unit], []
            if alone := singly(unit):
                return alone, []
            self._deaths[unit] += 1
            tries = self._deaths[unit]
        if tries < DEATHS and not death.hung:
            return [unit], []
        again = f", {tries} times" if tries > 1 else ""
        trace = "\n".join(filter(None, [f"{death.cause}{again}", done.log.rstrip()]))
        return [], [failure(self._plan, unit, f"{death.cause}{again}", trace, done.seconds)]
