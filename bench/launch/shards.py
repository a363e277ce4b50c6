"""A part of a suite's trials: a selection, and of that a share for one of several machines.

The division follows from the suite (and the selection) alone: the trials, packed to groups that are trained
side by side, are laid out in the plan's order and cut into stretches of about equal cost. So no group is
ever divided, what shares source models mostly stays together, and whoever runs a share needs to know no
more than its number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bench.errors import BenchError
from bench.suite.packing import pack_trials
from bench.suite.plan import EVERYTHING, Plan, Selection
from bench.trial import Group, Trial

_FORM = re.compile(r"(\d{1,9})/(\d{1,9})")
UNTRAINED = 0.1  # of a training, what a trial costs that trains nothing


@dataclass(frozen=True)
class Shard:
    """Share number `index`, from 1, of `of`."""

    index: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read a share such as ``2/8``.

        Raises
        ------
        BenchError
            For anything else.
        """
        found = _FORM.fullmatch(text.strip())
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise BenchError(f'--shard "{text}": write i/n, such as 2/8 for the second of eight')
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    @property
    def suffix(self) -> str:
        """What the name of its run folder ends with."""
        return f"-shard-{self.index}-of-{self.of}"

    def keys(self, plan: Plan, selection: Selection = EVERYTHING) -> frozenset[str]:
        """Return the keys of this share's trials; the plan needs the cards of all tasks."""
        total = sum(_cost(plan, group) for group in pack_trials(plan, plan.trials(selection)))
        found, before = [], 0.0
        for group in pack_trials(plan, plan.trials(selection)):
            cost = _cost(plan, group)
            if int((before + cost / 2) / total * self.of) == self.index - 1:
                found += [trial.key for trial in group.members]
            before += cost
        return frozenset(found)


def _cost(plan: Plan, group: Group) -> float:
    """Return what a group costs in trainings, roughly."""
    strategy = plan.strategy(group.members[0])
    return len(group.members) * (strategy.steps if strategy.trained else UNTRAINED)


class Part:
    """The trials that a run is about.

    Parameters
    ----------
    plan : Plan
        With the cards of all tasks.
    selection : Selection
    shard : Shard, optional
        Of the selection.
    """

    def __init__(self, plan: Plan, selection: Selection = EVERYTHING, shard: Shard | None = None):
        self.plan, self.selection = plan, selection
        self._keys = shard.keys(plan, selection) if shard else None

    def trials(self) -> Iterator[Trial]:
        """Yield each trial once, in the plan's order."""
        for trial in self.plan.trials(self.selection):
            if self._keys is None or trial.key in self._keys:
                yield trial
