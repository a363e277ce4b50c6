"""Run a suite: read the data, train missing source models, measure similarity, run missing trials.

The driver alone writes the ledger. Running the same suite into the same folder again *is* resuming.
"""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from bench import provenance
from bench.errors import Problem, StoreError, SuiteError
from bench.launch.data import read_data
from bench.launch.folder import RunFolder, work_folder
from bench.launch.machine import layout
from bench.launch.means import Launcher, Means, make_launcher
from bench.launch.networks import model_checks
from bench.launch.published import Published
from bench.launch.shards import Part, Shard
from bench.launch.units import Done, failure, measurement, setup_to_json
from bench.ledger.file import Ledger, open_ledger
from bench.ledger.model_files import is_intact, path_of
from bench.ledger.predictions import PREDICTIONS
from bench.ledger.records import record_of
from bench.ledger.stored import Stored, read_stored
from bench.suite.model import Suite
from bench.suite.packing import pack_models, pack_trials
from bench.suite.plan import EVERYTHING, Plan, Selection
from bench.suite.weightings import UNIFORM
from bench.trial import Check, Group, Measurement, SourceModel, Trial, Unit

MUCH = 2**30  # bytes of predictions that are announced


class Progress(Protocol):
    """What a run tells whoever watches it."""

    def stage(self, name: str, total: int) -> None:
        """Begin a stage of `total` units."""

    def advance(self, record: dict[str, Any]) -> None:
        """A unit has finished."""

    def note(self, text: str) -> None:
        """Say something worth knowing."""


class Silent:
    """Tells nobody."""

    def stage(self, name: str, total: int) -> None:
        """Begin a stage."""

    def advance(self, record: dict[str, Any]) -> None:
        """Count a unit."""

    def note(self, text: str) -> None:
        """Drop the text."""


@dataclass
class Outcome:
    """What came of a run.

    Attributes
    ----------
    done, failed : int
        Trials of the selection that now have a row, by status.
    missing : int
        Trials that have none, after an interruption.
    unmeasured : tuple of str
        Errors of the measurements of similarity that failed, one each.
    """

    done: int = 0
    failed: int = 0
    missing: int = 0
    unmeasured: tuple[str, ...] = ()
    interrupted: bool = False


def run_suite(
    suite: Suite,
    out: str | Path,
    means: Means | None = None,
    *,
    select: Callable[[Plan], Selection] = lambda plan: EVERYTHING,
    shard: Shard | None = None,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Run what is missing of a suite into the folder `out`.

    Parameters
    ----------
    means : Means, optional
        Launcher, workers, device; local processes, one a core, by default.
    select : callable
        From the plan to the selection of trials to run.
    shard : Shard, optional
        A share of the selection.

    Raises
    ------
    BenchError
        For a suite, data, a folder or means that cannot be used; before anything is trained where it can
        be known by then. A trial that fails raises nothing: it is a row.
    """
    progress = progress or Silent()
    means = (means or Means()).resolved()
    selection = select(Plan(suite))
    with open_ledger(out) as ledger, work_folder(ledger.folder) as work, make_launcher(means, work) as launcher:
        stored = read_stored(ledger.folder)
        if stored.damage.lines:
            progress.note(str(stored.damage))
        about = {"suite": suite.name, "launcher": means.launcher, "jobs": launcher.jobs}
        with Published(progress, ledger.folder, about, launcher) as progress:
            plan = _read_data(suite, stored, ledger, work, progress, selection, stored.machine or means.device)
            part = Part(plan, selection, shard)
            progress.note(layout(plan))
            config = suite.to_run(ledger.folder)
            what = {"suite": suite.name, "layout": plan.machine, "config": config}
            if plugins := dict(zip(config["plugins"], map(suite.resolve, suite.plugins), strict=True)):
                what["plugins"] = provenance.plugin_digests(plugins)
                for note in provenance.changed_plugins(
                    ledger.folder, plugins, stored.runs, lambda: [t.key for t in part.trials() if t.key in stored.done]
                ):
                    progress.note(note)
            how = {"launcher": means.launcher} | ({"shard": str(shard)} if shard else {})
            ledger.append({"kind": "run", **provenance.describe(means.device, launcher.jobs), **how, **what})
            folder = RunFolder(ledger)
            folder.make()
            launcher.configure(plan, setup_to_json(plan, work, folder.sources, means.device))
            with _interruptible(launcher, progress) as interrupted:
                run = _Run(part, stored, folder, launcher, progress, retry_failed, interrupted)
                run.check()
                run.everything()
    return _outcome(part, stored, bool(interrupted))


def _read_data(
    suite: Suite, stored: Stored, ledger: Ledger, work: Path, progress: Progress, selection: Selection, machine: str
) -> Plan:
    """Read the data and keep the cards of the tasks."""
    progress.stage("reading data", len(Plan(suite).tasks))
    plan, records = read_data(
        suite, stored, work, machine, selection, progress.note, lambda: progress.advance({"kind": "task"})
    )
    if records:
        ledger.append(*records)
    return plan


def _outcome(part: Part, stored: Stored, interrupted: bool) -> Outcome:
    outcome = Outcome(interrupted=interrupted)
    for trial in part.trials():
        if trial.key in stored.done:
            outcome.done += 1
        elif trial.key in stored.failed:
            outcome.failed += 1
        else:
            outcome.missing += 1
    if stored.unmeasured:
        wanted = dict.fromkeys(unit.key for unit in _measurements(part))
        outcome.unmeasured = tuple(stored.unmeasured[key] for key in wanted if key in stored.unmeasured)
    return outcome


def _measurements(part: Part) -> Iterator[Measurement]:
    """Yield each measurement of similarity that the trials ask for, once.

    It belongs to the pair, and is made with the source model that weights its examples equally.
    """
    seen: set[str] = set()
    for trial in part.trials() if part.plan.suite.measures else ():
        if trial.model is None or not trial.model.trained or trial.model.weighting != UNIFORM:
            continue
        unit = measurement(part.plan, trial.model, trial.target)
        if unit.key not in seen:
            seen.add(unit.key)
            yield unit


@contextmanager
def _interruptible(launcher: Launcher, progress: Progress) -> Iterator[list[int]]:
    """Let the first Ctrl-C, or SIGTERM, finish what is in flight, and the second stop at once."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return

    def handle(number: int, frame: object) -> None:
        seen.append(number)
        launcher.stop()
        if len(seen) > 1:
            raise KeyboardInterrupt
        # The signal may have come in the middle of a write to the same stream, which forbids another.
        with suppress(RuntimeError):
            progress.note("finishing trials in flight; Ctrl-C again to abort")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Run:
    """The stages of one run."""

    def __init__(
        self, part: Part, stored: Stored, folder: RunFolder, launcher: Launcher, progress: Progress,
        retry_failed: bool, interrupted: list[int],
    ):  # fmt: skip
        self.part, self.plan, self.stored, self.folder = part, part.plan, stored, folder
        self.launcher, self.progress, self.interrupted = launcher, progress, interrupted
        self.retried = set(stored.failed) if retry_failed else set()
        self.retry_failed = retry_failed

    def check(self) -> None:
        """Try the networks that missing trials need, and load the models that are handed in.

        Raises
        ------
        SuiteError
            With each that cannot be: it would fail in every trial.
        """
        missing = list(dict.fromkeys((trial.target, trial.backbone) for trial in self._missing_trials()))
        problems = self._problems(Check(target, backbone) for target, backbone in missing)
        if not problems:
            models = (
                check
                for target, backbone in missing
                for check in model_checks(self.plan, target, backbone, self.part.selection)
            )
            problems = self._problems(models)
        if problems:
            raise SuiteError(f'suite "{self.plan.suite.name}"', problems)

    def _problems(self, checks: Iterable[Check]) -> list[Problem]:
        records = [record for done in self.launcher.run(checks) for unit in done for record in unit.records]
        return sorted(Problem(record["place"], record["error"]) for record in records if "error" in record)

    def everything(self) -> None:
        """Train, measure and run what is missing, in this order."""
        wanted = list(self._missing_measurements())
        models = list(self._missing_models([unit.model for unit in wanted if self._status(unit.model) == "ok"]))
        self._stage("source models", len(models), pack_models(self.plan, models))
        measurements = [unit for unit in wanted if self._status(unit.model) == "ok"]
        self._stage("similarity", len(measurements), measurements)
        self._trials()

    def _trials(self) -> None:
        missing = Counter(trial.target for trial in self._missing_trials())
        if not missing or self.interrupted:
            return
        self._say_room(missing)
        self.progress.stage("trials", missing.total())
        self._keep([self._without_model(t) for t in self._missing_trials() if self._status(t.model) == "failed"])
        for done in self.launcher.run(pack_trials(self.plan, self._missing_trials())):
            self._keep(done)

    def _say_room(self, missing: Counter[str]) -> None:
        """Say what room predictions take, where it is much."""
        cards = {target: self.plan.card(target) for target in missing}
        room = sum(n * cards[t].n_test * (2 * len(cards[t].classes) + 1) for t, n in missing.items())
        if self.plan.suite.predictions and room > MUCH:
            self.progress.note(
                f"predictions of every test example will take up to {room / 2**30:.1f} GiB of "
                f"{self.folder.path / PREDICTIONS}; predictions = false in the suite keeps none"
            )

    def _without_model(self, trial: Trial) -> Done:
        unit, error = Group((trial,)), self.stored.models[trial.model.key].error
        self.retried.discard(trial.key)
        return Done(unit, [failure(self.plan, unit, f"source model failed: {error}", "", 0.0)])

    def _missing_trials(self) -> Iterator[Trial]:
        stored = self.stored
        for trial in self.part.trials():
            if trial.key not in stored.done and (trial.key not in stored.failed or trial.key in self.retried):
                yield trial

    def _status(self, model: SourceModel | None) -> str:
        """Return "ok", "failed" or "missing" for what a trial starts from."""
        if not self.plan.trains(model):
            return "ok"
        record = self.stored.models.get(model.key)
        return "missing" if record is None else record.status

    def _missing_models(self, measured: Iterable[SourceModel]) -> Iterator[SourceModel]:
        """Yield the source models to train: of missing trials, and of those `measured` whose files are gone."""
        seen: set[SourceModel] = set()
        for model in chain((trial.model for trial in self._missing_trials()), measured):
            if model in seen or not self.plan.trains(model):
                continue
            seen.add(model)
            status, path = self._status(model), path_of(self.folder.sources, model)
            if status == "ok" and not is_intact(path, self.stored.models[model.key]):
                what = "is damaged" if path.exists() else "is gone"
                self.progress.note(f"source model {path.name} ({model.source}) {what}; it is trained again")
                status = "missing"
            if status == "missing" or (status == "failed" and self.retry_failed):
                yield model

    def _missing_measurements(self) -> Iterator[Measurement]:
        """Yield the measurements that are not there, whether or not their source model is."""
        for unit in _measurements(self.part):
            failed = unit.key in self.stored.unmeasured and not self.retry_failed
            if unit.key not in self.stored.measured and not failed:
                yield unit

    def _stage(self, name: str, number: int, units: Iterable[Unit]) -> None:
        if not number or self.interrupted:
            return
        self.progress.stage(name, number)
        for done in self.launcher.run(units):
            self._keep(done)

    def _keep(self, done: Sequence[Done]) -> None:
        stops = [record["error"] for unit in done for record in unit.records if record["kind"] == "stop"]
        done = [unit for unit in done if not any(record["kind"] == "stop" for record in unit.records)]
        records = [record for unit in done for record in unit.records]
        for record in records:
            model = self.stored.models.get(record.get("source_model"))
            if model is not None:
                record["row"]["source_seconds"] = model.seconds
        self.folder.keep(done)
        for record in records:
            self.stored.add(record_of(record))
            self.progress.advance(record)
        if stops:
            raise StoreError(stops[0])
