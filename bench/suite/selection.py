"""Which of a suite's trials are meant: the conditions that ``--where`` takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import BenchError, nearest
from bench.suite.model import parse_seeds

if TYPE_CHECKING:
    from bench.suite.plan import Plan
    from bench.triangle import Strategy

_KEYS = {
    "source": "sources", "target": "targets", "backbone": "backbones", "strategy": "strategies",
    "n": "transfer_depths", "f": "frozen_depths", "method": "methods", "adapt": "adaptations",
    "weighting": "weightings", "size": "sizes", "seed": "seeds",
}  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """Which of a suite's trials are meant: every given set must hold the trial's value.

    Scratch trials are kept for every target that a selection leaves, whatever source it names.
    """

    pairs: frozenset[tuple[str, str]] | None = None
    sources: frozenset[str] | None = None
    targets: frozenset[str] | None = None
    backbones: frozenset[str] | None = None
    strategies: frozenset[str] | None = None
    transfer_depths: frozenset[str] | None = None
    frozen_depths: frozenset[str] | None = None
    methods: frozenset[str] | None = None
    adaptations: frozenset[str] | None = None
    weightings: frozenset[str] | None = None
    sizes: frozenset[str] | None = None
    seeds: frozenset[int] | None = None

    @classmethod
    def parse(cls, conditions: Iterable[str], plan: Plan) -> Selection:
        """Read conditions such as ``strategy=fine-tune,scratch`` or ``pair=noise->digits``.

        Values of one key add up, whether they stand in one condition or in several; every key must hold.

        Raises
        ------
        BenchError
            For an unknown key or value, with the nearest match.
        """
        values: dict[str, set] = {}
        for condition in conditions:
            key, equals, text = condition.partition("=")
            key, items = key.strip(), [item.strip() for item in text.split(",") if item.strip()]
            if not equals or not items:
                raise BenchError(f'--where "{condition}": write key=value, such as strategy=fine-tune')
            if key == "pair":
                values.setdefault("pairs", set()).update(pair for item in items for pair in plan.pairs_named(item))
            elif key in _KEYS:
                if key == "seed":
                    items = cls._seeds(items)
                for item in items:
                    demand(key, item, plan.values(key))
                values.setdefault(_KEYS[key], set()).update(int(i) if key == "seed" else i for i in items)
            else:
                raise BenchError(f'--where: unknown key "{key}"{nearest(key, [*_KEYS, "pair"])}')
        return cls(**{name: frozenset(items) for name, items in values.items()})

    @staticmethod
    def _seeds(items: list[str]) -> list[str]:
        try:
            return [str(seed) for seed in parse_seeds(",".join(items))]
        except ValueError as error:
            raise BenchError(f"--where seed: {error}") from None

    def has_pair(self, source: str, target: str) -> bool:
        """Whether a pair passes the conditions on pairs and sources."""
        return self.has("pairs", (source, target)) and self.has("sources", source)

    def has_target(self, target: str) -> bool:
        """Whether a target passes: by its name, and as the end of a selected pair."""
        chosen = self.pairs is None or any(end == target for _, end in self.pairs)
        return chosen and self.has("targets", target)

    def has_strategy(self, strategy: Strategy) -> bool:
        """Whether a strategy passes: by its name, its depths, its method and its adaptation."""
        asked = {
            "strategies": strategy.name, "transfer_depths": str(strategy.transfer),
            "frozen_depths": str(strategy.frozen), "methods": strategy.how.name, "adaptations": strategy.adapt.name,
        }  # fmt: skip
        return all(self.has(field_name, value) for field_name, value in asked.items())

    def has(self, field_name: str, value: object) -> bool:
        """Whether `value` passes the condition on `field_name`."""
        allowed = getattr(self, field_name)
        return allowed is None or value in allowed


EVERYTHING = Selection()


def demand(key: str, item: str, known: set[str]) -> None:
    """Demand a value that the suite has."""
    if item not in known:
        hint = nearest(item, known) or f"; the suite has: {', '.join(sorted(known))}"
        raise BenchError(f'--where {key}: the suite has no {key} "{item}"{hint}')
