"""One trial, or source model, of a run folder run again in this process, where what goes wrong is raised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, DataError, TrialError
from bench.launch.shipping import tasks_of
from bench.ledger.model_files import file_digest, is_intact, path_of
from bench.ledger.stored import Stored
from bench.suite.plan import Plan
from bench.suite.specs import missing_file
from bench.trial import SourceModel, Trial

if TYPE_CHECKING:
    from bench.runner import Runner
    from bench.tasks.base import Task


class MissingData(BenchError):
    """The data of a stored trial are not there, or no longer what they were."""


def find_unit(plan: Plan, key: str) -> Trial | SourceModel | None:
    """Return the trial or source model of a plan with a key; None where there is none."""
    for trial in plan.trials():
        if trial.key == key:
            return trial
        if trial.model is not None and trial.model.key == key and trial.model.trained:
            return trial.model
    return None


def run_alone(plan: Plan, unit: Trial | SourceModel, stored: Stored, folder: Path, device: str) -> dict[str, Any]:
    """Run a trial or source model and return its record; nothing is written to the run folder.

    The source model of a trial is taken from the run folder, where it is intact, and else trained again.

    Raises
    ------
    MissingData
        When a file of the suite is not where it was, or holds something else.
    Exception
        Whatever else happens; TrialError for a training that diverges.
    """
    with _runner(plan, unit, stored, folder, device) as runner:
        train = runner.train_sources if isinstance(unit, SourceModel) else runner.run_trials
        (record,) = train([unit])
        return _demand_ok(record)


@contextmanager
def _runner(plan: Plan, unit: Trial | SourceModel, stored: Stored, folder: Path, device: str) -> Iterator[Runner]:
    import torch

    from bench.runner import Runner
    from bench.tasks.build import save_task

    with TemporaryDirectory(prefix="ntbench-") as scratch:
        work = Path(scratch)
        model = unit.model if isinstance(unit, Trial) else None
        trained = plan.trains(model)
        kept = trained and is_intact(path_of(folder / "sources", model), stored.models.get(model.key))
        for name in {*tasks_of(plan, unit), *(tasks_of(plan, model) if trained and not kept else ())}:
            if name in plan.tasks:
                save_task(_task(plan, name), work / f"{plan.card(name).fingerprint}.safetensors")
        if model is not None and model.source in plan.models:
            _demand_file(plan, model.source)
        runner = Runner(plan, work, folder / "sources" if kept else work / "sources", torch.device(device))
        runner.made = work
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as a worker has
        try:
            if trained and not kept:
                _demand_ok(runner.train_sources([model])[0])
            yield runner
        finally:
            torch.set_num_threads(threads)


def _task(plan: Plan, name: str) -> Task:
    """Build a task, and see that it is the one that the stored rows were made with.

    Raises
    ------
    MissingData
    """
    from bench.tasks.build import build_task

    try:
        task = build_task(plan.tasks[name], plan.suite.root())
    except DataError as error:
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        if isinstance(first, BenchError):
            raise MissingData(str(error)) from error
        raise  # what the code of a plug-in raised is for the debugger
    if task.fingerprint != plan.card(name).fingerprint:
        raise MissingData(f'the data of "{name}" are not those of the stored rows')
    return task


def _demand_file(plan: Plan, name: str) -> None:
    """Demand that a handed-in model's file is the one that the stored rows were made with."""
    spec = plan.models[name]
    if (problem := missing_file(spec)) is not None:
        raise MissingData(str(problem))
    if spec.state_dict and file_digest(Path(spec.state_dict)) != plan.contents.get(spec.digest):
        raise MissingData(f'the file of the model "{name}" is not that of the stored rows')


def _demand_ok(record: dict[str, Any]) -> dict[str, Any]:
    row = record.get("row", record)
    if row["status"] != "ok":
        raise TrialError(row["error"])
    return record
