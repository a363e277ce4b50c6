"""How a run folder stands, as ``ntbench status --json`` gives it.

The shape below is for programs: names keep their meaning and their type, more may be added. Times are in
seconds; what is not known is null.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

if TYPE_CHECKING:
    from bench.ledger.records import FinishedTrial, Record, SimilarityRecord, SourceRecord, TrialRecord
    from bench.ledger.stored import Stored

VERSION = 1
NO_MESSAGE = "no message"
GUESSED = 0.05  # share of a time left up to which it is more than a guess


class Tally(TypedDict):
    """Units of a suite by state; together they are all of it."""

    done: int
    failed: int
    missing: int


class SuiteState(TypedDict):
    """One suite that was run in the folder, as it was last; `seconds_left` is of training on one worker.

    `metric` is there where it is another than accuracy.
    """

    trials: Tally
    source_models: Tally
    seconds_left: float | None
    metric: NotRequired[str]


class StageState(TypedDict):
    """What the run is at: reading data, source models, similarity or trials."""

    name: str
    total: int
    done: int
    failed: int
    seconds: float


class WorkerState(TypedDict):
    """One worker: the machine it is on, and what it has in work since how many seconds.

    `units` trials or source models are trained side by side; `keys` names the first eight. `done` counts
    units of work, each of which may be several trials.
    """

    worker: str
    node: str
    busy: bool
    units: int
    keys: list[str]
    seconds: float
    done: int


class NodeState(TypedDict):
    """The workers of one machine."""

    node: str
    workers: int
    busy: int
    done: int


class RunState(TypedDict):
    """The run that holds the folder now, by its own words at `updated`.

    `per_second` counts units of the stage that finished lately (a minute, at most); `seconds_left` is for all
    that is missing of the suite where that can be told, else for the stage.
    """

    pid: int
    host: str
    since: str
    updated: str
    suite: str | None
    launcher: str | None
    jobs: int | None
    stage: StageState | None
    per_second: float | None
    seconds_left: float | None
    workers: list[WorkerState]
    nodes: list[NodeState]


class FolderState(TypedDict):
    """A run folder.

    Attributes
    ----------
    version : int
        Of this shape: 1.
    running : bool or None
        Whether a run holds the folder; None where that cannot be told: on a file system without locks.
    now : RunState or None
        What that run does; where `running` is None, what a run says that has not ended, or was killed.
    killed : dict or None
        `pid`, `host`, `since` and `updated` of a run that ended without saying so.
    stored : dict
        Trials with a row by state, and source models, of whatever suite: `done`, `failed`, `source_models`.
    suites : dict of str to SuiteState
    seconds_per_trial : float or None
        Mean over finished trials.
    errors : list of dict
        `error`, `count` and the `key` of one such trial or source model; the most frequent first.
    a_failed_key : str or None
    collapsed : list of str
        Keys of finished trials whose model comes from a training that collapsed.
    logs : str or None
        Folder of logs, one a trial or source model that said something, each named by its key.
    damage : str or None
        Lines of the ledger that are ignored.
    problems : list of str
        Why a suite cannot be read again, and plug-ins that have changed since rows were made.
    last_run : dict or None
        What the last run was made with: versions, machine, commit.
    """

    version: int
    folder: str
    running: bool | None
    now: RunState | None
    killed: dict[str, Any] | None
    stored: dict[str, int]
    suites: dict[str, SuiteState]
    seconds_per_trial: float | None
    errors: list[dict[str, Any]]
    a_failed_key: str | None
    collapsed: list[str]
    logs: str | None
    damage: str | None
    problems: list[str]
    last_run: dict[str, Any] | None


@dataclass
class Failures:
    """What went wrong in a folder: the last failure of every unit that has not succeeded, and trainings that collapsed.

    Attributes
    ----------
    records : dict of key -> record
    collapsed : set of str
        Keys of finished trials whose training collapsed at the learning rate that was kept.
    """

    records: dict[str, TrialRecord | SourceRecord | SimilarityRecord] = field(default_factory=dict)
    collapsed: set[str] = field(default_factory=set)
    _good: set[str] = field(default_factory=set)

    def add(self, record: Record | FinishedTrial) -> None:
        """Take one record in."""
        from bench.ledger.records import FinishedTrial, SimilarityRecord, SourceRecord, TrialRecord
        from bench.stats.collapse import is_collapsed

        match record:
            case FinishedTrial() | TrialRecord(ok=True):
                self.records.pop(record.key, None)
                self._good.add(record.key)
                if isinstance(record, TrialRecord) and is_collapsed(record.row):
                    self.collapsed.add(record.key)
            case SourceRecord(ok=True) | SimilarityRecord(ok=True):
                self.records.pop(record.key, None)
            case TrialRecord() | SourceRecord() | SimilarityRecord() if record.key not in self._good:
                self.records[record.key] = record

    def errors(self) -> list[dict[str, Any]]:
        """Return each error with how often it stands there and one key, the most frequent first."""
        counts = Counter(record.error or NO_MESSAGE for record in self.records.values())
        keys = {record.error or NO_MESSAGE: key for key, record in reversed(self.records.items())}
        return [{"error": error, "count": n, "key": keys[error]} for error, n in counts.most_common()]


def read_folder_once(folder: Path) -> tuple[Stored, Failures]:
    """Index a run folder's ledger and its failures in one reading.

    Raises
    ------
    StoreError
        When there is no such folder or it holds no ledger.
    """
    from bench.cli.stored import demand_ledger
    from bench.ledger.file import parse_summary, read_records
    from bench.ledger.stored import Stored

    demand_ledger(folder)
    stored, failures = Stored(), Failures()
    for record in read_records(folder, stored.damage, parse_summary):
        stored.add(record)
        failures.add(record)
    return stored, failures


def state_of(folder: Path, stored: Stored, failures: Failures) -> FolderState:
    """Gather what there is to say of a folder."""
    from bench.cli.stored import plugin_notes, suites_of
    from bench.launch.folder import LOGS
    from bench.ledger.lock import is_held

    suites, problems = suites_of(folder, stored)
    by_suite = {suite.name: _suite(suite, stored) for suite in suites}
    seconds = sum(stored.done.values())
    last = {k: v for k, v in stored.runs[-1].items() if k not in ("kind", "config")} if stored.runs else None
    running = is_held(folder)
    return {
        "version": VERSION,
        "folder": str(folder),
        "running": running,
        "now": None if running is False else run_state(folder, by_suite),
        "killed": _killed(folder) if running is False else None,
        "stored": {"done": len(stored.done), "failed": len(stored.failed), "source_models": len(stored.models)},
        "suites": by_suite,
        "seconds_per_trial": seconds / len(stored.done) if stored.done else None,
        "errors": failures.errors(),
        "a_failed_key": next(iter(failures.records), None),
        "collapsed": sorted(failures.collapsed),
        "logs": str(folder / LOGS) if (folder / LOGS).is_dir() else None,
        "damage": str(stored.damage) or None,
        "problems": [*problems, *plugin_notes(folder, stored)],
        "last_run": last,
    }


def _suite(suite: Any, stored: Stored) -> SuiteState:
    from bench.schema import ACCURACY
    from bench.suite import Plan
    from bench.suite.count import count
    from bench.suite.estimate import estimate

    plan = Plan.of(suite, stored)
    counts = count(plan, stored)
    left = estimate(plan, counts)
    tallies = [
        Tally(done=tally.done, failed=tally.failed, missing=tally.missing)
        for tally in (counts.all_trials, counts.all_models)
    ]
    known = left.seconds if left.guessed <= GUESSED else None
    found = SuiteState(trials=tallies[0], source_models=tallies[1], seconds_left=known)
    if suite.metric not in (None, ACCURACY):
        found["metric"] = suite.metric
    return found


def _killed(folder: Path) -> dict[str, Any] | None:
    from bench.ledger.lock import read_live

    live = read_live(folder)
    return live and {name: live[name] for name in ("pid", "host", "since", "updated")}


def run_state(folder: Path, suites: dict[str, SuiteState]) -> RunState | None:
    """Return what the run that holds a folder says of itself; None where it has not said anything sound."""
    from bench.ledger.lock import read_live

    live = read_live(folder)
    if live is None:
        return None
    known = {"suite": str, "launcher": str, "jobs": int, "stage": dict, "per_second": float, "workers": list}
    said = {name: live[name] if isinstance(live.get(name), kind) else None for name, kind in known.items()}
    said["workers"] = [worker for worker in said["workers"] or [] if _is_worker(worker)]
    if said["stage"] is not None and not _fits(said["stage"], StageState):
        said["stage"] = None
    who = {name: live[name] for name in ("pid", "host", "since", "updated")}
    return {**who, **said, "seconds_left": _left(said, suites), "nodes": _nodes(said["workers"])}


def _is_worker(worker: Any) -> bool:
    return isinstance(worker, dict) and _fits(worker, WorkerState) and all(isinstance(k, str) for k in worker["keys"])


def _fits(values: dict[str, Any], shape: type) -> bool:
    """Whether values have what a shape says, and the types it says."""
    types = {"str": str, "int": int, "bool": bool, "float": (int, float), "list[str]": list}
    wanted = {name: types[getattr(kind, "__forward_arg__", kind)] for name, kind in shape.__annotations__.items()}
    return all(isinstance(values.get(name), kind) for name, kind in wanted.items())


def _left(said: dict[str, Any], suites: dict[str, SuiteState]) -> float | None:
    """Return the seconds left: by what the missing units cost, else by the pace of the stage."""
    whole = suites.get(said["suite"] or "", {}).get("seconds_left")
    if whole is not None:
        return whole / max(1, said["jobs"] or 1)
    stage, pace = said["stage"], said["per_second"]
    return (stage["total"] - stage["done"]) / pace if stage and pace else None


def _nodes(workers: list[WorkerState]) -> list[NodeState]:
    nodes: dict[str, NodeState] = {}
    for worker in workers:
        node = nodes.setdefault(worker["node"], NodeState(node=worker["node"], workers=0, busy=0, done=0))
        node["workers"] += 1
        node["busy"] += worker["busy"]
        node["done"] += worker["done"]
    return list(nodes.values())
