"""The index of a run folder's ledger, which planning and resuming read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import StoreError
from bench.ledger.file import Damage, brief, read_records


@dataclass
class Stored:
    """What a run folder holds, indexed for planning and resuming.

    Attributes
    ----------
    done, failed : dict of key -> seconds
        Finished and failed trials.
    models : dict of key -> record
        Source models that were trained.
    measured : set of str
        Similarity records.
    unmeasured : dict of key -> error
        Similarity that could not be measured.
    cards : dict of digest -> card as JSON
    contents : dict of digest -> digest of a handed-in model's file
    runs : list of records
        Provenance, one a time the suite was run.
    """

    done: dict[str, float] = field(default_factory=dict)
    failed: dict[str, float] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    measured: set[str] = field(default_factory=set)
    unmeasured: dict[str, str] = field(default_factory=dict)
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    damage: Damage = field(default_factory=Damage)

    @property
    def machine(self) -> str | None:
        """For which kind of machine ("cpu", "cuda") the folder's runs lay trainings out; None before the first."""
        return self.runs[-1].get("layout") if self.runs else None

    def add(self, record: dict[str, Any]) -> None:
        """Take one record in."""
        kind, key = record["kind"], record.get("key", "")
        if kind == "trial":
            row = record["row"]
            if row["status"] == "ok":
                self.done[key] = row["seconds"]
                self.failed.pop(key, None)
            elif key not in self.done:  # a result stands, whatever failed before or, elsewhere, after it
                self.failed[key] = row["seconds"]
        elif kind == "source":
            self.models[key] = record
        elif kind == "similarity" and "error" in record:
            self.unmeasured[key] = record["error"]
        elif kind == "similarity":
            self.measured.add(key)
            self.unmeasured.pop(key, None)
        elif kind == "task":
            self.cards[key] = record["card"]
        elif kind == "model":
            self.contents[key] = record["content"]
        elif kind == "run":
            self.runs.append(record)


def read_stored(folder: str | Path) -> Stored:
    """Index a run folder; empty where there is no folder yet.

    Raises
    ------
    StoreError
        When a file stands in its place, or a ledger cannot be read.
    """
    stored = Stored()
    if Path(folder).exists() and not Path(folder).is_dir():
        raise StoreError(f"{folder} is a file, not a folder")
    if Path(folder).is_dir():
        for record in read_records(Path(folder), stored.damage, brief):
            stored.add(record)
    return stored
