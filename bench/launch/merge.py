"""One run folder of many: shards, or a suite's runs on several machines, in whatever order they are named.

Records are told apart by their keys. Of those that agree, timings aside, one is kept; a result stands
against a failure; two results that disagree are an error, since one of them must be wrong.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.atomic_write import write_whole
from bench.errors import StoreError
from bench.identity import digest
from bench.launch.folder import KEPT, LOGS
from bench.ledger.file import Damage, Ledger, ledgers, open_ledger, read_records
from bench.ledger.lock import is_held
from bench.ledger.model_files import file_digest
from bench.schema import SCORES
from bench.suite.specs import without_paths

KEYED = ("task", "model", "source", "similarity", "trial")
MAX_SHARDS = 100_000
BATCH = 1000  # records that are synced together
_TIMINGS = ("seconds", "source_seconds")
# Whether predictions are kept is no part of a suite, and in which file depends on what ran beside a trial; what
# earlier versions did not say is derived from the rest.
_BESIDE = ("predictions",)
_LATER = {
    "row": ("majority_accuracy", "classes_predicted", *SCORES),
    "detail": ("by_class",),
    "card": ("test_counts", "n_val", "n_groups", "notes"),
}
SUFFIXES = (".safetensors", ".npz")

Name = tuple[str, str]  # kind and key


@dataclass
class Merged:
    """What came of a merge.

    Attributes
    ----------
    added : int
        Records that were written.
    known : int
        Records that were there already, or in several places.
    notes : list of str
        Damage, and shards that are missing.
    """

    added: int = 0
    known: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass
class _Place:
    """A run folder and what it holds: of each key the state and the digest of the record that counts there."""

    path: Path
    runs: list[dict[str, Any]] = field(default_factory=list)
    held: dict[Name, tuple[bool, str]] = field(default_factory=dict)
    damage: Damage = field(default_factory=Damage)

    @classmethod
    def read(cls, path: Path) -> _Place:
        """Read a folder's ledger."""
        place = cls(path)
        for record in read_records(path, place.damage):
            if record["kind"] == "run":
                place.runs.append(record)
            elif record["kind"] in KEYED:
                name, ok = _name(record), _is_ok(record)
                if ok or not place.held.get(name, (False,))[0]:
                    place.held[name] = ok, _digest(record)
        return place

    def order(self) -> tuple[str, str]:
        """Return by what places are ordered, however they were named on the command line."""
        share = self.runs[0].get("shard", "") if self.runs else ""
        return ".".join(part.zfill(9) for part in str(share).split("/")), str(self.path.resolve())


def merge(out: str | Path, shards: Sequence[str | Path]) -> Merged:
    """Merge run folders into `out`, which may hold some of it already; merging again adds nothing.

    Raises
    ------
    StoreError
        When a folder holds no run, is written to now, holds another suite or layout than the others, or a
        result that disagrees with another's; with both places. Nothing is written then.
    """
    out, folders = Path(out), {Path(shard).resolve(): Path(shard) for shard in shards}
    if not folders:
        raise StoreError("merge: name at least one folder to merge")
    folders.pop(out.resolve(), None)
    for path in folders.values():
        if not path.is_dir() or not ledgers(path):
            raise StoreError(f"{path} holds no ledger.jsonl: nothing was run there")
        if is_held(path):
            raise StoreError(f"a run is writing to {path}; wait for it")
    places = sorted((_Place.read(path) for path in folders.values()), key=_Place.order)
    _choose(places)  # before there is a folder to write to
    with open_ledger(out) as ledger:
        there = _Place.read(out)
        chosen, known = _choose([there, *places])
        merged = Merged(known=known, notes=_notes([there, *places]))
        for place in places:
            _copy_files(place.path, out)
        for place in places:
            merged.added += _append(ledger, there, place, {n for n, chooser in chosen.items() if chooser is place})
    return merged


def _notes(places: Sequence[_Place]) -> list[str]:
    """Say what is damaged and, where shards alone were run, which of them are not among the places."""
    notes = [f"{place.path}: {place.damage}" for place in places if place.damage.lines]
    runs = [run for place in places for run in place.runs]
    shares = {str(run["shard"]) for run in runs if "shard" in run}
    if len(shares) < len({str(run.get("shard")) for run in runs}):
        return notes  # some machine was asked for all: what is missing is no share
    of = {share.partition("/")[2] for share in shares}
    if len(of) == 1 and (n := next(iter(of))).isdigit():
        lacking = [f"{i}/{n}" for i in range(1, min(int(n), MAX_SHARDS) + 1) if f"{i}/{n}" not in shares]
        if lacking:
            shown = ", ".join(lacking[:8]) + (", ..." if len(lacking) > 8 else "")
            notes.append(f"not among them: shard {shown}")
    return notes


def _name(record: dict[str, Any]) -> Name:
    return record["kind"], record["key"]


def _is_ok(record: dict[str, Any]) -> bool:
    row = record.get("row", record)
    return row.get("status", "ok") == "ok" and not row.get("error")


def _digest(record: dict[str, Any]) -> str:
    """Return the digest of what a record says, timings and what earlier versions did not say left out."""
    values = {name: value for name, value in record.items() if name not in (*_TIMINGS, *_BESIDE)}
    for part, later in _LATER.items():
        if part in values:
            values[part] = {name: value for name, value in values[part].items() if name not in (*_TIMINGS, *later)}
    return digest(values)


# --- what must agree ----------------------------------------------------------------------------------


def _demand_one_suite(places: Sequence[_Place]) -> None:
    first: tuple[_Place, dict[str, Any]] | None = None
    for place in places:
        if not place.runs:
            continue
        suites = {run["suite"]: _comparable(run) for run in place.runs}
        if first is None:
            first = place, suites
        elif suites != first[1]:
            what = _first_difference(first[1], suites)
            raise StoreError(f"{first[0].path} and {place.path} hold runs of different suites: {what}")


def _comparable(run: dict[str, Any]) -> dict[str, Any]:
    said = without_paths(run.get("config", {})).items()  # keys that came later are not there, or say nothing
    config = {name: value for name, value in said if name not in _BESIDE and value is not None}
    return {"layout": run.get("layout"), **config}


def _first_difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    if set(one) != set(other):
        return f"{', '.join(sorted(one))}; {', '.join(sorted(other))}"
    for suite, values in one.items():
        for name in sorted({*values, *other[suite]}):
            a, b = values.get(name), other[suite].get(name)
            if a != b:
                return f"{name} = {_short(a)}; {_short(b)}"
    return ""


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _choose(places: Sequence[_Place]) -> tuple[dict[Name, _Place], int]:
    """Return which place's record counts for each key, and how many others there are; all must agree."""
    _demand_one_suite(places)
    _demand_one_file(places)
    chosen: dict[Name, _Place] = {}
    known = 0
    for place in places:
        for name, (ok, content) in place.held.items():
            before = chosen.get(name)
            if before is None:
                chosen[name] = place
                continue
            known += 1
            ok_before, content_before = before.held[name]
            if ok and ok_before and content != content_before:
                raise StoreError(_disagreement(name, before, place))
            if ok and not ok_before:
                chosen[name] = place
    return chosen, known


def _disagreement(name: Name, one: _Place, other: _Place) -> str:
    a, b = (_flat(_record(place, name)) for place in (one, other))
    unsaid = {*_TIMINGS, *_BESIDE, *(name for later in _LATER.values() for name in later)}
    differ = [key for key in sorted({*a, *b}) if a.get(key) != b.get(key) and key.rpartition(".")[2] not in unsaid]
    said = "; ".join(f"{key} {_short(a.get(key))} and {_short(b.get(key))}" for key in differ[:3])
    return f"{one.path} and {other.path} disagree on the {name[0]} {name[1]}: {said}. One of them must be wrong"


def _record(place: _Place, name: Name) -> dict[str, Any]:
    return next(r for r in _records(place, {name}))


def _records(place: _Place, names: set[Name]) -> Iterator[dict[str, Any]]:
    """Yield the records that count in a place, once each."""
    left = set(names)
    for record in read_records(place.path):
        name = _name(record) if record["kind"] in KEYED else None
        if name in left and (_is_ok(record), _digest(record)) == place.held[name]:
            left.discard(name)
            yield record


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


# --- files --------------------------------------------------------------------------------------------


def _files(folder: Path) -> Iterator[Path]:
    for kind in KEPT:
        if (folder / kind).is_dir():
            yield from sorted(p for p in (folder / kind).iterdir() if p.suffix in SUFFIXES and p.is_file())


def _demand_one_file(places: Sequence[_Place]) -> None:
    """Demand that weights of one key are the same everywhere; source models' digests are in their records."""
    seen: dict[str, tuple[Path, str]] = {}
    for place in places:
        for path in _files(place.path):
            if path.parent.name == "sources":
                continue
            content = file_digest(path)
            before, known = seen.setdefault(path.name, (path, content))
            if known != content:
                raise StoreError(f"{before} and {path} disagree, and should be the same. One of them must be wrong")


def _copy_files(source: Path, out: Path) -> None:
    for path in _files(source):
        if not (out / path.parent.name / path.name).exists():
            _copy(path, out / path.parent.name / path.name)
    if (source / LOGS).is_dir():
        for path in sorted((source / LOGS).glob("*.log")):
            if path.is_file():
                _copy(path, out / LOGS / path.name)


def _copy(path: Path, to: Path) -> None:
    try:
        to.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {to.parent}: {error.strerror}") from error
    write_whole(to, lambda beside: shutil.copyfile(path, beside))


# --- the ledger ---------------------------------------------------------------------------------------


def _append(ledger: Ledger, there: _Place, place: _Place, names: set[Name]) -> int:
    """Write a place's runs and the records that count; return how many of the latter."""
    runs = [_moved(run, place.path, ledger.folder) for run in place.runs]
    batch = [run for run in runs if run not in there.runs]
    count = 0
    for record in _records(place, names):
        batch.append(record)
        count += 1
        if len(batch) >= BATCH:
            ledger.append(*batch)
            batch = []
    if batch:
        ledger.append(*batch)
    return count


def _moved(run: dict[str, Any], source: Path, out: Path) -> dict[str, Any]:
    """Return the record of a run with the suite's folder as it is seen from another run folder."""
    config = run.get("config", {})
    if not isinstance(config.get("folder"), str):
        return run
    there = source.resolve() / config["folder"]
    try:
        folder = Path(os.path.relpath(there, out.resolve())).as_posix()
    except ValueError:  # on another drive
        folder = str(there)
    return {**run, "config": {**config, "folder": folder}}
