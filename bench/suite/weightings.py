"""What the entries of a suite's `weighting` mean: registered names, with arguments and a label of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.errors import BenchError, Problem
from bench.identity import digest
from bench.registry import WEIGHTINGS
from bench.suite.specs import read_entry
from bench.trial import SINGLE_LABEL, UNIFORM, Card


@dataclass(frozen=True)
class WeightingSpec:
    """A weighting as a suite asks for it.

    Attributes
    ----------
    label : str
        What rows call it.
    learns_from : {"labels", "inputs"} or None
        What it uses of the target's labelled examples.
    judges : {"harmful", "domains", "classes"} or None
        What the source must have for it to differ from uniform weights.
    """

    label: str
    name: str
    arguments: Mapping[str, Any]
    version: int
    learns_from: str | None = None
    judges: str | None = None

    @property
    def digest(self) -> str:
        """Digest of everything but the label."""
        return digest([self.name, self.version, dict(self.arguments)])

    @property
    def own_head(self) -> bool:
        """Whether target examples are looked at through a head of their own."""
        return self.learns_from == "labels" and self.arguments.get("head", "own") == "own"

    @property
    def meta_share(self) -> float:
        """Share of the trial's training examples that make the meta set."""
        return float(self.arguments.get("meta_share", 1.0))

    def applies(self, card: Card) -> bool:
        """Whether it can differ from uniform weights on a source."""
        has = {"harmful": card.n_harmful > 0, "domains": card.n_domains > 1, "classes": card.kind == SINGLE_LABEL}
        return has.get(self.judges, True)


def read_weighting(value: str | Mapping[str, Any], place: str, problems: list[Problem]) -> WeightingSpec | None:
    """Read one entry of `weighting`."""
    table = {"weighting": value} if isinstance(value, str) else dict(value)
    name, label = table.pop("weighting", None), table.pop("name", None)
    found: list[str] = []
    if not isinstance(label, str | None) or label == "":
        found.append(f"name = {label!r} is not text")
    if not isinstance(name, str):
        found.append('say which: weighting = "..."')
    elif (entry := read_entry(WEIGHTINGS, name, table, found)) and (check := entry.meta.get("check")):
        try:
            check(**table)
        except BenchError as error:
            found.append(str(error))
    problems.extend(Problem(place, message) for message in found)
    if found:
        return None
    return WeightingSpec(
        label or name, name, table, entry.version, entry.meta.get("learns_from"), entry.meta.get("judges")
    )


def read_weightings(values: tuple[str | Mapping[str, Any], ...], problems: list[Problem]) -> dict[str, WeightingSpec]:
    """Read the entries of `weighting` by label: uniform first, which every other is compared with."""
    found: dict[str, WeightingSpec] = {}
    for index, value in enumerate((UNIFORM, *values)):
        place = f"weighting[{index - 1}]"
        spec = read_weighting(value, place, problems)
        if spec is None or (spec.label == UNIFORM == spec.name and UNIFORM in found):
            continue
        if spec.label in found:
            message = f'two weightings are called "{spec.label}"; give one a name = "..."'
            problems.append(Problem(place, message))
            continue
        same = next((label for label, other in found.items() if other.digest == spec.digest), None)
        if same is not None:
            problems.append(Problem(place, f'"{spec.label}" is the same as "{same}"'))
            continue
        found[spec.label] = spec
    return found
