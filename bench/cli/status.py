"""``ntbench status``: how a run folder stands."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.options import Folder

if TYPE_CHECKING:
    from bench.store import Stored

SHOWN_ERRORS = 5
GUESSED = 0.05  # share of a time left up to which it is more than a guess


@dataclass
class _Failures:
    """What went wrong in a folder: the last failure of every unit that has not succeeded since."""

    records: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, record: dict[str, Any]) -> None:
        """Take one record in."""
        if record["kind"] not in ("trial", "source", "similarity"):
            return
        from bench.cli.progress import has_failed

        key = record.get("key", "")
        if has_failed(record):
            self.records[key] = record
        else:
            self.records.pop(key, None)

    def counts(self) -> Counter[str]:
        """How often each error stands there."""
        return Counter(error_of(record) for record in self.records.values())


def error_of(record: dict[str, Any]) -> str:
    """Return the error of a failed unit's record."""
    return record.get("row", record).get("error") or "no message"


def trace_of(record: dict[str, Any]) -> str:
    """Return the traceback of a failed unit's record."""
    return record.get("detail", record).get("traceback") or ""


def status(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    traceback: Annotated[
        str | None, typer.Option("--traceback", metavar="KEY", help="The traceback of a failed trial, by its key.")
    ] = None,
) -> None:
    """Say how a run folder stands.

    Trials done, failed and missing, their errors, damage to the ledger, and what ran last with which
    versions.
    """
    from bench.cli.stored import read_folder
    from bench.store import read_records

    stored = read_folder(folder)
    failures = _Failures()
    for record in read_records(folder):
        failures.add(record)
    if traceback is not None:
        _print_traceback(failures, traceback)
        return
    found = _state(folder, stored, failures)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _print_state(found)


def _print_traceback(failures: _Failures, key: str) -> None:
    from bench.errors import BenchError

    matching = [record for known, record in failures.records.items() if key and known.startswith(key)]
    if not matching:
        raise BenchError(f'no failed trial or source model has a key that starts with "{key}"')
    for record in matching:
        print(f"{record['key']}: {error_of(record)}")
        print(trace_of(record).rstrip() or "(no traceback: it was not tried, because of the error above)")


def _state(folder: Path, stored: Stored, failures: _Failures) -> dict[str, Any]:
    """Gather what there is to say."""
    from bench.cli.stored import suites_of
    from bench.suite import Plan
    from bench.suite.count import count
    from bench.suite.estimate import estimate

    suites, problems = suites_of(folder, stored)
    by_suite = {}
    for suite in suites:
        plan = Plan.of(suite, stored)
        counts = count(plan, stored)
        by_suite[suite.name] = {
            name: {"done": tally.done, "failed": tally.failed, "missing": tally.missing}
            for name, tally in (("trials", counts.all_trials), ("source_models", counts.all_models))
        }
        left = estimate(plan, counts)
        by_suite[suite.name]["seconds_left"] = left.seconds if left.guessed <= GUESSED else None
    seconds = sum(stored.done.values())
    last = {k: v for k, v in stored.runs[-1].items() if k not in ("kind", "config")} if stored.runs else None
    return {
        "folder": str(folder),
        "stored": {"done": len(stored.done), "failed": len(stored.failed), "source_models": len(stored.models)},
        "suites": by_suite,
        "seconds_per_trial": seconds / len(stored.done) if stored.done else None,
        "errors": [{"error": error, "count": n} for error, n in failures.counts().most_common()],
        "a_failed_key": next(iter(failures.records), None),
        "damage": str(stored.damage) or None,
        "problems": problems,
        "running": _is_held(folder),
        "last_run": last,
    }


def _is_held(folder: Path) -> bool | None:
    """Whether a run holds the folder now; None where that cannot be told."""
    from filelock import FileLock, Timeout

    path = folder / ".lock"
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return None


def _print_state(found: dict[str, Any]) -> None:
    from bench.cli.wording import counted, duration, state

    running = {True: ", running now", False: "", None: ""}[found["running"]]
    print(f"{found['folder']}{running}")
    for name, counts in found["suites"].items():
        for what in ("source_models", "trials"):
            print(f"suite {name}, {what.replace('_', ' ')}: {state(**counts[what])}")
        if counts["seconds_left"]:
            print(f"suite {name}, left: about {duration(counts['seconds_left'])} of training on one worker")
    stored = found["stored"]
    print(f"stored: {counted(stored['done'], 'finished trial')}, {stored['failed']:,} failed")
    if found["seconds_per_trial"] is not None:
        print(f"rate: {duration(found['seconds_per_trial'])} a trial on one worker")
    if found["errors"]:
        print(f"errors ({counted(sum(e['count'] for e in found['errors']), 'failed unit')}):")
        for entry in found["errors"][:SHOWN_ERRORS]:
            print(f"  {entry['count']} x {entry['error']}")
        if len(found["errors"]) > SHOWN_ERRORS:
            print(f"  ... and {len(found['errors']) - SHOWN_ERRORS} more kinds (--json has all)")
        print(f"  a traceback: ntbench status {found['folder']} --traceback {found['a_failed_key'][:10]}")
    for problem in filter(None, [found["damage"], *found["problems"]]):
        print(f"note: {problem}", file=sys.stderr)
    if found["last_run"]:
        print("last run:")
        for key, value in found["last_run"].items():
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            print(f"  {key}: {shown}")
