"""Handing units of work out to workers that run side by side."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator

from bench.trial import Group, Unit


class Feed:
    """Units for several workers; safe to be asked from several threads.

    A worker gets all groups with one start, which read the same source models, one after the other; at
    the end, those with nothing left take from those with most.

    Parameters
    ----------
    units : iterable of Unit
        Read as they are needed.
    """

    def __init__(self, units: Iterable[Unit]):
        self._units: Iterator[Unit] = iter(units)
        self._ahead: Unit | None = next(self._units, None)
        self._queues: defaultdict[int, deque[Unit]] = defaultdict(deque)  # by worker; there may come more
        self._lock = threading.Lock()

    def next(self, worker: int) -> Unit | None:
        """Return a worker's next unit, or None when there is none left."""
        with self._lock:
            own = self._queues[worker]
            if not own and self._ahead is not None:
                self._fill(own)
            if own:
                return own.popleft()
            longest = max(self._queues.values(), key=len)
            return longest.pop() if longest else None

    def is_empty(self) -> bool:
        """Whether there is no unit left for any worker."""
        with self._lock:
            return self._ahead is None and not any(self._queues.values())

    def again(self, worker: int, units: Iterable[Unit]) -> None:
        """Put units at the front of a worker's queue."""
        with self._lock:
            self._queues[worker].extendleft(units)

    def _fill(self, queue: deque[Unit]) -> None:
        first = self._ahead
        while self._ahead is not None and _together(first, self._ahead):
            queue.append(self._ahead)
            self._ahead = next(self._units, None)
            if not isinstance(first, Group):
                return


def _together(first: Unit, other: Unit) -> bool:
    return first is other or (isinstance(first, Group) and isinstance(other, Group) and first.start == other.start)


def singly(unit: Unit) -> list[Group]:
    """Return the members of a group of several as groups of their own; none for any other unit."""
    if not isinstance(unit, Group) or len(unit.members) == 1:
        return []
    return [Group((member,), unit.start) for member in unit.members]
