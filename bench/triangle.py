"""Strategies as points and paths in the triangle 0 <= f <= n <= L.

`L` is the backbone's number of blocks, `n` how many are copied from the source model and `f` how many
of those stay fixed. Scratch is (0, 0), feature extraction (L, L), full fine-tuning (L, 0); Yosinski et
al. (2014) call (k, k) AnB and (k, 0) AnB+. A path changes f on the way.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from bench.errors import BenchError

# On a field of Strategy: trials that are trained together may differ in it, since it is read trial by trial.
_PER_LANE = {"per_lane": True}


@dataclass(frozen=True)
class Choice:
    """Something registered, with its arguments.

    Parameters
    ----------
    name : str
    given : str
        Its arguments where they are not at their defaults, as JSON.
    version : int
    lanes : bool
        Whether several such trainings can share a stack.
    """

    name: str
    given: str = "{}"
    version: int = 1
    lanes: bool = True

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that are not at their defaults."""
        return json.loads(self.given)

    @property
    def label(self) -> str:
        """What rows call it: "norm", "lora:rank=16"."""
        said = ",".join(f"{name}={value}" for name, value in self.arguments.items())
        return f"{self.name}:{said}" if said else self.name

    @property
    def identity(self) -> list[Any]:
        """What decides the result."""
        return [self.name, self.version, self.arguments]


@dataclass(frozen=True)
class Adapt(Choice):
    """What trains above the frozen depth: an adaptation."""


@dataclass(frozen=True)
class How(Choice):
    """What a step minimises: a method.

    Parameters
    ----------
    sources, unlabelled : bool
        Whether it takes batches of the sources' examples, and of target examples without their labels.
    copied : bool
        Whether it only makes a difference to copied blocks that train.
    kinds : tuple of str
        The kinds of task that it serves; empty for all.
    """

    sources: bool = False
    unlabelled: bool = False
    copied: bool = False
    kinds: tuple[str, ...] = ()


FULL, PLAIN = Adapt("full"), How("plain")
JOINT = How("joint", sources=True)


@dataclass(frozen=True)
class Phase:
    """A stretch of training with a fixed number of frozen blocks.

    Parameters
    ----------
    freeze : int
        Frozen depth f during this phase.
    share : float
        Share of the strategy's steps, relative to its other phases.
    lr : float
        Multiplier of the learning rate in this phase.
    """

    freeze: int
    share: float = 1.0
    lr: float = 1.0


@dataclass(frozen=True)
class Strategy:
    """How the target model starts and is trained.

    Trials are trained together where their strategies agree in every field but those that are declared to be
    per lane; see :attr:`shared`. A field that is added, here or in a subclass, keeps them apart until it is.

    Parameters
    ----------
    name : str
        What rows call it.
    transfer : int
        Transfer depth n: how many blocks, counted from the input, come from the source model.
    path : tuple of Phase
        Training phases in order; empty means that nothing is trained.
    keep_head : bool
        Whether the source model's head is kept; it needs the target's classes among the source's.
    copied_lr : float or None
        Learning rate of copied blocks relative to new ones; None leaves it to the recipe.
    steps : float
        Step budget relative to the recipe's: above 1 only for longer arms.
    how : How
        What a step minimises: the head's loss of the labelled examples by default. The suite's `method` sets it.
    adapt : Adapt
        What trains above the frozen depth; everything by default. The suite's `adapt` sets it.

    Raises
    ------
    BenchError
        For a point outside the triangle 0 <= f <= n.
    """

    name: str = field(metadata=_PER_LANE)
    transfer: int = field(metadata=_PER_LANE)
    path: tuple[Phase, ...] = ()
    keep_head: bool = field(default=False, metadata=_PER_LANE)
    copied_lr: float | None = field(default=None, metadata=_PER_LANE)
    steps: float = 1.0
    how: How = PLAIN
    adapt: Adapt = FULL

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", tuple(self.path))
        where = f'strategy "{self.name}"'
        if not isinstance(self.name, str) or not self.name:
            raise BenchError(f"a strategy's name must be text, got {self.name!r}")
        if not all(isinstance(phase, Phase) for phase in self.path):
            raise BenchError(f"{where}: path must hold bench.Phase objects, got {self.path!r}")
        for depth in (self.transfer, *(phase.freeze for phase in self.path)):
            if isinstance(depth, bool) or not isinstance(depth, int):
                raise BenchError(f"{where}: a depth must be an int (a number of blocks), got {depth!r}")
        for factor in (self.steps, self.copied_lr or 1.0, *(f for phase in self.path for f in (phase.share, phase.lr))):
            if not isinstance(factor, int | float) or not math.isfinite(factor):
                raise BenchError(f"{where}: share, lr, copied_lr and steps must be finite numbers, got {factor!r}")
        if self.transfer < 0:
            raise BenchError(f"{where}: transfer depth {self.transfer} is below 0")
        for phase in self.path:
            if not 0 <= phase.freeze <= self.transfer:
                raise BenchError(f"{where}: frozen depth {phase.freeze} is not within 0 <= f <= n = {self.transfer}")
            if phase.share <= 0 or phase.lr <= 0:
                raise BenchError(f"{where}: a phase's share and lr must be above 0")
        if not self.path and not self.keep_head:
            raise BenchError(f"{where}: with a new head, something must be trained")
        if self.copied_lr is not None and self.copied_lr <= 0:
            raise BenchError(f"{where}: copied_lr must be above 0; freeze the blocks instead")
        if self.steps <= 0:
            raise BenchError(f"{where}: steps must be above 0")

    @property
    def frozen(self) -> int:
        """Frozen depth f at the end of training (n where nothing is trained)."""
        return self.path[-1].freeze if self.path else self.transfer

    @property
    def uses_source(self) -> bool:
        """Whether a source enters at all: by what is copied from its model, or by its examples."""
        return self.transfer > 0 or self.how.sources

    @property
    def only_examples(self) -> bool:
        """Whether of a source only its examples are used: there is no source model then."""
        return self.how.sources and self.transfer == 0

    @property
    def trained(self) -> bool:
        """Whether anything is trained at all."""
        return bool(self.path)

    @cached_property
    def shared(self) -> tuple[object, ...]:
        """What the strategies of trials that are trained together have in common: their fields, but those per lane.

        What trains nothing is tested at the cut of its transfer depth, which all of them must share then.
        """
        common = tuple(getattr(self, f.name) for f in fields(self) if not f.metadata.get("per_lane"))
        # What is copied is one thing for all lanes where a method may look at it.
        return common if self.trained and self.how == PLAIN else (*common, self.transfer, self.keep_head)

    def identity(self) -> dict[str, Any]:
        """What decides the result: everything but the name."""
        identity = {
            "transfer": self.transfer,
            "path": [[p.freeze, p.share, p.lr] for p in self.path],
            "keep_head": self.keep_head,
            # Nothing is copied, or what is copied is never trained: the ratio has no effect.
            "copied_lr": self.copied_lr if any(p.freeze < self.transfer for p in self.path) else None,
            "steps": self.steps,
        }
        if self.how == JOINT:
            identity["joint"] = True  # as keys have it that are older than methods
        elif self.how != PLAIN:
            identity["method"] = self.how.identity
        if self.adapt != FULL:
            identity["adapt"] = self.adapt.identity
        return identity


def point(name: str, transfer: int, freeze: int, **options: Any) -> Strategy:
    """Return the strategy that stays at the point (n, f) = (`transfer`, `freeze`)."""
    return Strategy(name, transfer, (Phase(freeze),), **options)
