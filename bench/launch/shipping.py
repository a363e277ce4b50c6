"""What the machines of a cluster are sent, since they share no disk with the driver: files, by their place there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.ledger.model_files import path_of
from bench.suite.plan import Plan
from bench.trial import Check, Group, Measurement, SourceModel, Trial, Unit

TASKS, SOURCES = "tasks", "sources"


def portable(setup: dict[str, Any], plan: Plan) -> tuple[dict[str, Any], dict[str, Path]]:
    """Return a worker's setup whose files are named by their place, and where they lie on this machine.

    They are plug-ins and the source models that are handed in. Plug-ins are single files: what else they
    import must be installed on every machine.
    """
    suite, files = dict(setup["suite"]), {}
    plugins = []
    for number, name in enumerate(suite["plugins"]):
        path = plan.suite.resolve(name)
        plugins.append(f"plugins/{number}/{path.name}")
        files[plugins[-1]] = path
    models = {}
    for number, (name, table) in enumerate(suite["models"].items()):
        models[name] = dict(table)
        if "state_dict" in table:
            path = plan.suite.resolve(table["state_dict"])
            models[name]["state_dict"] = f"models/{number}/{path.name}"
            files[models[name]["state_dict"]] = path
    return {**setup, "suite": {**suite, "plugins": plugins, "models": models}}, files


def unpacked(setup: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the setup of a worker on the machine where everything lies in `folder`."""
    suite = dict(setup["suite"])
    suite["folder"] = str(folder)
    suite["plugins"] = [str(folder / place) for place in suite["plugins"]]
    suite["models"] = {
        name: {**table, "state_dict": str(folder / table["state_dict"])} if "state_dict" in table else table
        for name, table in suite["models"].items()
    }
    return {**setup, "suite": suite, "task_folder": str(folder / TASKS), "source_folder": str(folder / SOURCES)}


def needs(plan: Plan, unit: Unit, task_folder: Path, source_folder: Path) -> dict[str, Path]:
    """Return the files that a unit reads: its tasks and source models."""
    tasks: dict[str, None] = {}
    models: dict[str, Path] = {}
    for member in unit.members if isinstance(unit, Group) else (unit,):
        for name in tasks_of(plan, member):
            if name in plan.tasks:
                tasks[plan.card(name).fingerprint] = None
        if (model := _model(member)) and model.source not in plan.models:
            path = path_of(source_folder, model)
            models[f"{SOURCES}/{path.name}"] = path
    files = {}
    for fingerprint in tasks:
        files |= _task_files(task_folder / f"{fingerprint}.safetensors")
    return files | models


@lru_cache(maxsize=1024)
def _task_files(folder: Path) -> dict[str, Path]:
    """Return the files of a task, which never change while a run lasts."""
    return {f"{TASKS}/{folder.name}/{path.name}": path for path in sorted(folder.iterdir())}


def tasks_of(plan: Plan, member: Trial | SourceModel | Measurement | Check) -> Iterator[str]:
    """Yield the tasks whose data a member reads, those that standardise its tables included."""
    model, target = (member, None) if isinstance(member, SourceModel) else (member.model, member.target)
    sees_source = isinstance(member, Trial) and plan.strategy(member).how.sources
    if model is member or isinstance(member, Measurement) or sees_source:
        yield from plan.members(model.source)
        if model.standardised_by:
            yield model.standardised_by
    if model is member and model.meta:
        target = model.meta.target
    if target and not isinstance(member, Check):
        yield target
        if by := plan.standardised_by(target, target):
            yield by


def _model(member: Trial | SourceModel | Measurement | Check) -> SourceModel | None:
    """Return the source model that a member loads."""
    if isinstance(member, SourceModel) or member.model is None or not member.model.trained:
        return None
    return member.model
