"""Run a suite: read the data, train missing source models, measure similarity, run missing trials.

The driver alone writes the ledger. Running the same suite into the same folder again *is* resuming.
"""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench import provenance
from bench.errors import BenchError, Problem, StoreError, SuiteError
from bench.launch.inline import Inline
from bench.launch.machine import choose_device, default_jobs, layout
from bench.launch.processes import LocalProcesses
from bench.launch.units import failure, measurement, setup_to_json
from bench.model_files import is_intact, path_of, weights_path
from bench.store import Ledger, Stored, open_ledger, read_stored
from bench.suite.model import Suite
from bench.suite.packing import pack_models, pack_trials
from bench.suite.plan import EVERYTHING, Plan, Selection
from bench.suite.ruled_out import ruled_out
from bench.suite.weightings import UNIFORM
from bench.trial import Card, Check, Group, Measurement, SourceModel, Trial, Unit


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
    *,
    jobs: int | None = None,
    device: str = "auto",
    select: Callable[[Plan], Selection] = lambda plan: EVERYTHING,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Run what is missing of a suite into the folder `out`.

    Parameters
    ----------
    jobs : int, optional
        Worker processes; 0 runs in this process; one a core by default.
    select : callable
        From the plan to the selection of trials to run.

    Raises
    ------
    BenchError
        For a suite, data or a folder that cannot be used; before anything is trained where it can be
        known by then. A trial that fails raises nothing: it is a row.
    """
    progress = progress or Silent()
    device = choose_device(device)
    jobs = default_jobs(device) if jobs is None else jobs
    if jobs < 0:
        raise BenchError(f"--jobs {jobs}: must be 0 (in this process) or more")
    selection = select(Plan(suite))
    with open_ledger(out) as ledger:
        stored = read_stored(ledger.folder)
        if stored.damage.lines:
            progress.note(str(stored.damage))
        launcher = LocalProcesses(jobs) if jobs else Inline()
        with launcher, _work_folder(ledger.folder) as work:
            plan = _read_data(suite, stored, ledger, work, progress, selection, stored.machine or device)
            what = {"suite": suite.name, "layout": plan.machine, "config": suite.to_run(ledger.folder)}
            progress.note(layout(plan))
            ledger.append({"kind": "run", **provenance.describe(device, jobs), **what})
            sources = ledger.folder / "sources"
            for folder in (sources, weights_path(sources, "").parent):
                folder.mkdir(exist_ok=True)
            launcher.configure(plan, setup_to_json(plan, work, sources, device))
            with _interruptible(launcher, progress) as interrupted:
                run = _Run(plan, stored, ledger, sources, launcher, progress, selection, retry_failed, interrupted)
                run.check()
                run.everything()
    return _outcome(plan, stored, selection, bool(interrupted))


def _outcome(plan: Plan, stored: Stored, selection: Selection, interrupted: bool) -> Outcome:
    outcome = Outcome(interrupted=interrupted)
    for trial in plan.trials(selection):
        if trial.key in stored.done:
            outcome.done += 1
        elif trial.key in stored.failed:
            outcome.failed += 1
        else:
            outcome.missing += 1
    if stored.unmeasured:
        wanted = dict.fromkeys(unit.key for unit in _measurements(plan, selection))
        outcome.unmeasured = tuple(stored.unmeasured[key] for key in wanted if key in stored.unmeasured)
    return outcome


def _measurements(plan: Plan, selection: Selection) -> Iterator[Measurement]:
    """Yield each measurement of similarity that the selected trials ask for, once.

    It belongs to the pair, and is made with the source model that weights its examples equally.
    """
    seen: set[str] = set()
    for trial in plan.trials(selection) if plan.suite.measures else ():
        if trial.model is None or trial.model.joint or trial.model.weighting != UNIFORM:
            continue
        unit = measurement(plan, trial.model, trial.target)
        if unit.key not in seen:
            seen.add(unit.key)
            yield unit


@contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    """Make the folder through which workers get their tasks; what a killed run left there goes first."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _interruptible(launcher: Any, progress: Progress) -> Iterator[list[int]]:
    """Let the first Ctrl-C finish what is in flight, and the second stop at once."""
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
            progress.note("stopping when what is in flight is done; Ctrl-C again stops at once")

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


def _read_data(
    suite: Suite, stored: Stored, ledger: Ledger, work: Path, progress: Progress, selection: Selection, machine: str
) -> Plan:
    """Build every task, hand it to the workers and check what the data rule out."""
    from bench.tasks.build import build_task, card_of, save_task

    plan = Plan(suite)
    cards: dict[str, Card] = {}
    progress.stage("reading data", len(plan.tasks))
    problems: list[Problem] = []
    labels = {}
    for name, spec in plan.tasks.items():
        try:
            task = build_task(spec, suite.root())
        except BenchError as error:
            problems.append(Problem(f'task "{name}"', str(error).removeprefix(f"{name}: ")))
            continue
        card = cards[spec.digest] = card_of(task)
        path = work / f"{card.fingerprint}.safetensors"
        if not path.exists():
            save_task(task, path)
        if name in plan.targets:
            labels[name] = task.y
        if (known := stored.cards.get(spec.digest)) is None or Card.from_json(known) != card:
            if spec.digest in stored.cards:
                progress.note(f'the data of "{name}" are not those of the stored rows: their trials will be run again')
            ledger.append({"kind": "task", "key": spec.digest, "card": card.to_json()})
        progress.advance({"kind": "task"})
    plan = Plan(suite, cards, machine)
    problems += check_data(plan, labels, selection)
    if problems:
        raise SuiteError(f'suite "{suite.name}"', problems)
    return plan


def check_data(plan: Plan, labels: dict[str, Any], selection: Selection) -> list[Problem]:
    """Find sizes, classes and shapes that cannot be, before anything is trained."""
    from bench.tasks.fit import problem
    from bench.training.protocol import split_pool

    problems = ruled_out(plan)
    for target, sources in plan.targets.items():
        card = plan.card(target)
        if card is None:
            continue
        for source in sources:
            other = plan.card(source)
            why = problem(other.shape, plan.input_shape(target)) if other else None
            if why:
                problems.append(Problem(f"pair {source} -> {target}", why))
        if problems:
            continue
        for size in plan.sizes(target):
            for seed in plan.suite.seeds:
                try:
                    split_pool(labels[target], card.fingerprint, size, seed, plan.suite.recipe, card.classes)
                except BenchError as error:
                    problems.append(Problem(f'target "{target}"', str(error)))
                    break
    return problems


class _Run:
    """The stages of one run."""

    def __init__(
        self, plan: Plan, stored: Stored, ledger: Ledger, sources: Path, launcher: Any, progress: Progress,
        selection: Selection, retry_failed: bool, interrupted: list[int],
    ):  # fmt: skip
        self.plan, self.stored, self.ledger, self.sources = plan, stored, ledger, sources
        self.launcher, self.progress, self.selection = launcher, progress, selection
        self.interrupted = interrupted
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
                Check(target, backbone, self.plan.source_model(source, target, backbone, "uniform", 0))
                for target, backbone in missing
                for source in self.plan.targets[target]
                if source in self.plan.models and self.selection.has_pair(source, target)
            )
            problems = self._problems(models)
        if problems:
            raise SuiteError(f'suite "{self.plan.suite.name}"', problems)

    def _problems(self, checks: Iterable[Check]) -> list[Problem]:
        records = self.launcher.run(checks)
        return sorted(Problem(record["place"], record["error"]) for record in records if "error" in record)

    def everything(self) -> None:
        """Train, measure and run what is missing, in this order."""
        models = list(self._missing_models())
        self._stage("source models", len(models), pack_models(self.plan, models))
        measurements = list(self._missing_measurements())
        self._stage("similarity", len(measurements), measurements)
        self._trials()

    def _trials(self) -> None:
        missing = sum(1 for _ in self._missing_trials())
        if not missing or self.interrupted:
            return
        self.progress.stage("trials", missing)
        for trial in self._missing_trials():
            if self._status(trial.model) == "failed":
                error = self.stored.models[trial.model.key].get("error")
                self._keep(failure(self.plan, Group((trial,)), f"source model failed: {error}", "", 0.0))
                self.retried.discard(trial.key)
        for record in self.launcher.run(pack_trials(self.plan, self._missing_trials())):
            self._keep(record)

    def _missing_trials(self) -> Iterator[Trial]:
        stored = self.stored
        for trial in self.plan.trials(self.selection):
            if trial.key not in stored.done and (trial.key not in stored.failed or trial.key in self.retried):
                yield trial

    def _status(self, model: SourceModel | None) -> str:
        """Return "ok", "failed" or "missing" for what a trial starts from."""
        if model is None or model.joint or model.source in self.plan.models:
            return "ok"
        return self.stored.models.get(model.key, {"status": "missing"})["status"]

    def _missing_models(self) -> Iterator[SourceModel]:
        seen: set[SourceModel] = set()
        for trial in self._missing_trials():
            model = trial.model
            if model is None or model in seen or model.joint or model.source in self.plan.models:
                continue
            seen.add(model)
            status = self._status(model)
            if status == "ok" and not is_intact(path := path_of(self.sources, model), self.stored.models[model.key]):
                what = "is damaged" if path.exists() else "is gone"
                self.progress.note(f"source model {path.name} ({model.source}) {what}; it is trained again")
                status = "missing"
            if status == "missing" or (status == "failed" and self.retry_failed):
                yield model

    def _missing_measurements(self) -> Iterator[Unit]:
        for unit in _measurements(self.plan, self.selection):
            failed = unit.key in self.stored.unmeasured and not self.retry_failed
            if unit.key not in self.stored.measured and not failed and self._status(unit.model) == "ok":
                yield unit

    def _stage(self, name: str, number: int, units: Iterable[Unit]) -> None:
        if not number or self.interrupted:
            return
        self.progress.stage(name, number)
        for record in self.launcher.run(units):
            self._keep(record)

    def _keep(self, record: dict[str, Any]) -> None:
        if record["kind"] == "stop":
            raise StoreError(record["error"])
        model = self.stored.models.get(record.get("source_model"))
        if model is not None:
            record["row"]["source_seconds"] = model["seconds"]
        self.ledger.append(record)
        self.stored.add(record)
        self.progress.advance(record)
