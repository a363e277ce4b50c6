"""One trial, or source model, of a run folder run again in this process, where what goes wrong is raised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bench.errors import TrialError
from bench.launch.shipping import tasks_of
from bench.model_files import is_intact, path_of
from bench.store import Stored
from bench.suite.plan import Plan
from bench.trial import SourceModel, Trial

if TYPE_CHECKING:
    from bench.runner import Runner


def find_unit(plan: Plan, key: str) -> Trial | SourceModel | None:
    """Return the trial or source model of a plan with a key; None where there is none."""
    for trial in plan.trials():
        if trial.key == key:
            return trial
        if trial.model is not None and trial.model.key == key and not trial.model.joint:
            return trial.model
    return None


def run_alone(plan: Plan, unit: Trial | SourceModel, stored: Stored, folder: Path, device: str) -> dict[str, Any]:
    """Run a trial or source model and return its record; nothing is written to the run folder.

    The source model of a trial is taken from the run folder, where it is intact, and else trained again.

    Raises
    ------
    Exception
        Whatever happens; TrialError for a training that diverges.
    """
    with _runner(plan, unit, stored, folder, device) as runner:
        train = runner.train_sources if isinstance(unit, SourceModel) else runner.run_trials
        (record,) = train([unit])
        return _demand_ok(record)


@contextmanager
def _runner(plan: Plan, unit: Trial | SourceModel, stored: Stored, folder: Path, device: str) -> Iterator[Runner]:
    import torch

    from bench.runner import Runner
    from bench.tasks.build import build_task, save_task

    with TemporaryDirectory(prefix="ntbench-") as scratch:
        work = Path(scratch)
        model = unit.model if isinstance(unit, Trial) else None
        trained = model is not None and not model.joint and model.source not in plan.models
        kept = trained and is_intact(path_of(folder / "sources", model), stored.models.get(model.key, {}))
        for name in {*tasks_of(plan, unit), *(tasks_of(plan, model) if trained and not kept else ())}:
            if name in plan.tasks:
                task = build_task(plan.tasks[name], plan.suite.root())
                save_task(task, work / f"{plan.card(name).fingerprint}.safetensors")
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


def _demand_ok(record: dict[str, Any]) -> dict[str, Any]:
    row = record.get("row", record)
    if row["status"] != "ok":
        raise TrialError(row["error"])
    return record
