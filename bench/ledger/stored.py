"""The index of a run folder's ledger, which planning and resuming read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import StoreError
from bench.ledger.file import Damage, parse_summary, read_records
from bench.ledger.records import (
    FinishedTrial,
    ModelRecord,
    Record,
    RunRecord,
    SimilarityRecord,
    SourceRecord,
    TaskRecord,
    TrialRecord,
)


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
    models: dict[str, SourceRecord] = field(default_factory=dict)
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

    def add(self, record: Record | FinishedTrial | None) -> None:
        """Take one record in."""
        match record:
            case FinishedTrial() | TrialRecord(ok=True):
                self.done[record.key] = record.seconds
                self.failed.pop(record.key, None)
            case TrialRecord() if record.key not in self.done:
                # A result stands, whatever failed before or, elsewhere, after it.
                self.failed[record.key] = record.seconds
            case SourceRecord():
                self.models[record.key] = record
            case SimilarityRecord(ok=True):
                self.measured.add(record.key)
                self.unmeasured.pop(record.key, None)
            case SimilarityRecord():
                self.unmeasured[record.key] = record.error
            case TaskRecord():
                self.cards[record.key] = record.card
            case ModelRecord():
                self.contents[record.key] = record.content
            case RunRecord():
                self.runs.append(record.to_json())


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
        for record in read_records(Path(folder), stored.damage, parse_summary):
            stored.add(record)
    return stored
