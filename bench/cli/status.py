"""``ntbench status``: how a run folder stands, and what the run in it does."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.options import Folder, TrustedPlugins, load_plugins
from bench.cli.state import NO_MESSAGE, FolderState, RunState, read_folder_once, run_state, state_of
from bench.cli.wording import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.cli.state import Failures

SHOWN_ERRORS = 5
SHOWN_WORKERS = 16
EVERY = 2.0  # s between two looks
IDLE = 10.0  # times the cost of reading the ledger that pass until it is read again


def status(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="For programs; bench/cli/state.py has its shape.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Look again every two seconds, until the run ends.")
    ] = False,
    traceback: Annotated[
        str | None, typer.Option("--traceback", metavar="KEY", help="The traceback of a failed trial, by its key.")
    ] = None,
    log: Annotated[
        str | None, typer.Option("--log", metavar="KEY", help="What a trial printed, by its key or its beginning.")
    ] = None,
    plugin: TrustedPlugins = None,
) -> None:
    """Say how a run folder stands, also from another terminal or machine while the run goes on.

    Trials done, failed and missing, their errors, damage to the ledger, and what ran last with which
    versions; of a run that goes on, its stage, rate, time left, and what each worker has in work.
    """
    load_plugins(plugin)
    if log is not None:
        _print_log(folder, log)
    elif traceback is not None:
        _print_traceback(read_folder_once(folder)[1], traceback)
    elif follow:
        _follow(folder, (lambda found: print(json.dumps(found), flush=True)) if as_json else _Screen())
    else:
        found = state_of(folder, *read_folder_once(folder))
        print(json.dumps(found, indent=2) if as_json else text_of(found))
        if not as_json:
            _print_notes(found)


def _follow(folder: Path, show: Callable[[FolderState], None]) -> None:
    """Show how a folder stands until no run holds it."""
    for found in _looks(folder):
        show(found)
        if not _goes_on(found):
            return
        time.sleep(EVERY)


def _goes_on(found: FolderState) -> bool:
    """Whether a run holds a folder; where locks do not tell, whether one says so that has not taken it back."""
    return found["running"] or (found["running"] is None and found["now"] is not None)


def _looks(folder: Path) -> Iterator[FolderState]:
    """Yield how a folder stands, again and again; what costs time to read only now and then."""
    while True:
        began = time.monotonic()
        found = state_of(folder, *read_folder_once(folder))
        cost = time.monotonic() - began
        yield found
        while _goes_on(found) and time.monotonic() - began < IDLE * cost:
            yield {**found, "now": run_state(folder, found["suites"])}


class _Screen:
    """Shows a state in place of the one before on a terminal, one below the other anywhere else."""

    def __init__(self) -> None:
        from bench.cli.terminal import is_terminal

        self._clear = "\x1b[H\x1b[2J" if is_terminal(sys.stdout) else ""

    def __call__(self, found: FolderState) -> None:
        print(f"{self._clear}{text_of(found)}", flush=True)
        if not _goes_on(found):
            _print_notes(found)


def _print_log(folder: Path, key: str) -> None:
    from bench.errors import BenchError, StoreError
    from bench.launch.folder import LOGS

    if not folder.is_dir():
        raise StoreError(f"no run folder at {folder}")
    logs = sorted(p for p in (folder / LOGS).glob("*.log") if key and p.name.startswith(key) and p.is_file())
    if not logs:
        raise BenchError(f'no trial or source model whose key starts with "{key}" has a log in {folder / LOGS}')
    for path in logs:
        print(printable(f"{path.stem}:"))
        for line in path.read_text(encoding="utf-8", errors="replace").rstrip().splitlines():
            print(printable(line))


def _print_traceback(failures: Failures, key: str) -> None:
    from bench.errors import BenchError

    matching = [record for known, record in failures.records.items() if key and known.startswith(key)]
    if not matching:
        raise BenchError(f'no failed trial or source model has a key that starts with "{key}"')
    for record in matching:
        print(printable(f"{record.key}: {record.error or NO_MESSAGE}"))
        trace = (record.traceback or "").rstrip() or "(no traceback: it was not tried, because of the error above)"
        print(printable(trace))


def text_of(found: FolderState) -> str:
    """Write a state for a person."""
    from bench.cli.wording import counted, duration, state
    from bench.scores import Scale

    unsure = f", running now, unless it was killed after {found['now']['updated']}" if found["now"] else ""
    running = {True: ", running now", False: "", None: unsure}[found["running"]]
    lines = [f"{found['folder']}{running}"]
    if found["now"]:
        lines += _now(found["now"])
    if found["killed"]:
        who = found["killed"]
        lines.append(f"the last run (process {who['pid']} on {who['host']}) was killed after {who['updated']}")
    for name, counts in found["suites"].items():
        for what in ("source_models", "trials"):
            lines.append(f"suite {name}, {what.replace('_', ' ')}: {state(**counts[what])}")
        if "metric" in counts:
            lines.append(f"suite {name}, chosen and judged by {Scale(counts['metric']).label}")
        if counts["seconds_left"]:
            lines.append(f"suite {name}, left: about {duration(counts['seconds_left'])} of training on one worker")
    stored = found["stored"]
    lines.append(f"stored: {counted(stored['done'], 'finished trial')}, {stored['failed']:,} failed")
    if found["seconds_per_trial"] is not None:
        lines.append(f"rate: {duration(found['seconds_per_trial'])} a trial on one worker")
    lines += _errors(found)
    if found["collapsed"]:
        many = counted(len(found["collapsed"]), "finished trial")
        lines.append(f"training collapsed in {many}: ntbench table {found['folder']} says where, and what helps")
    if found["last_run"] and not found["now"]:
        lines.append("last run:")
        lines += [f"  {key}: {_value(value)}" for key, value in found["last_run"].items()]
    return "\n".join(map(printable, lines))


def _now(run: RunState) -> list[str]:
    from bench.cli.wording import counted, duration, rate

    lines, stage = [f"process {run['pid']} on {run['host']}, since {run['since']}"], run["stage"]
    if stage:
        said = [f"{stage['done']:,} of {stage['total']:,}" if stage["total"] else "begins"]
        said += [f"{stage['failed']:,} failed"] if stage["failed"] else []
        said += [rate(run["per_second"])] if run["per_second"] else []
        said += [f"about {duration(run['seconds_left'])} left"] if run["seconds_left"] else []
        lines.append(f"{stage['name'] or 'starting'}: {', '.join(said)}")
    if len(run["nodes"]) > 1:
        for node in run["nodes"]:
            busy = f"{node['busy']} of {counted(node['workers'], 'worker')} busy"
            lines.append(f"  {node['node']}: {busy}, {counted(node['done'], 'unit')} done")
    for worker in run["workers"][:SHOWN_WORKERS]:
        work = "idle"
        if worker["busy"]:
            many = f" and {worker['units'] - 1} more" if worker["units"] > 1 else ""
            work = f"{(worker['keys'] or ['a check'])[0][:10]}{many} since {duration(worker['seconds'])}"
        lines.append(f"  worker {worker['worker']} on {worker['node']}: {work}")
    if len(run["workers"]) > SHOWN_WORKERS:
        lines.append(f"  ... and {len(run['workers']) - SHOWN_WORKERS} more workers (--json has all)")
    return lines


def _errors(found: FolderState) -> list[str]:
    from bench.cli.wording import counted

    errors = found["errors"]
    if not errors:
        return []
    lines = [f"errors ({counted(sum(e['count'] for e in errors), 'failed unit')}):"]
    lines += [f"  {entry['count']} x {entry['error']}" for entry in errors[:SHOWN_ERRORS]]
    if len(errors) > SHOWN_ERRORS:
        lines.append(f"  ... and {len(errors) - SHOWN_ERRORS} more kinds (--json has all)")
    lines.append(f"  a traceback: ntbench status {found['folder']} --traceback {found['a_failed_key'][:10]}")
    return lines


def _value(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def _print_notes(found: FolderState) -> None:
    for problem in filter(None, [found["damage"], *found["problems"]]):
        print(f"note: {printable(problem)}", file=sys.stderr)
