"""Run one unit of work and turn whatever happens into a record."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import StoreError
from bench.launch.feed import singly
from bench.ledger.unit_records import describe_error, failed_source, failed_trial
from bench.registry import MEASURES, load_plugin
from bench.suite.model import Suite
from bench.suite.plan import Plan
from bench.trial import Card, Check, Group, Measurement, SourceModel, Unit, combine

if TYPE_CHECKING:
    from bench.runner import Runner


@dataclass
class Death:
    """How a worker ended in the middle of a unit.

    Attributes
    ----------
    cause : str
        For a row.
    hung : bool
        Whether it was ended because it took too long.
    lost : bool
        Whether the whole worker went, and perhaps its machine, so that the unit may have no part in it.
    """

    cause: str
    hung: bool = False
    lost: bool = False


@dataclass
class Done:
    """What came of a unit of work.

    Attributes
    ----------
    records : list of dict
        For the ledger; none where the worker died.
    files : mapping of str to path or buffer
        New files for the run folder by their place in it: where they lie on this machine, or their bytes.
    log : str
        What the unit said on the worker's output, as far as its end.
    """

    unit: Unit
    records: list[dict[str, Any]]
    files: Mapping[str, Any] = field(default_factory=dict)
    log: str = ""
    seconds: float = 0.0
    death: Death | None = None


def new_files(made: Path) -> dict[str, Path]:
    """Return the files that a unit made, by their place in the run folder."""
    if not made.is_dir():
        return {}
    return {path.relative_to(made).as_posix(): path for path in sorted(made.rglob("*")) if path.is_file()}


def time_limit(unit: Unit, timeout: float | None) -> float | None:
    """Return the seconds that a unit may take: `timeout` for each trial or model of it; a check takes its time."""
    if timeout is None or isinstance(unit, Check):
        return None
    return timeout * (len(unit.members) if isinstance(unit, Group) else 1)


def setup_to_json(plan: Plan, task_folder: Path, source_folder: Path, device: str) -> dict[str, Any]:
    """Return all that a worker needs besides its units, as JSON-able values."""
    return {
        "suite": plan.suite.model_dump(mode="json"),
        "cards": {key: card.to_json() for key, card in plan.cards.items()},
        "contents": dict(plan.contents),
        "task_folder": str(task_folder),
        "source_folder": str(source_folder),
        "device": device,
        "machine": plan.machine,
    }


def make_runner(setup: dict[str, Any]) -> Runner:
    """Build this process's runner from what :func:`setup_to_json` gave."""
    import torch

    from bench.runner import Runner

    suite = Suite.model_validate(setup["suite"])
    for plugin in suite.plugins:
        load_plugin(suite.resolve(plugin))
    cards = {key: Card.from_json(values) for key, values in setup["cards"].items()}
    plan = Plan(suite, cards, setup["machine"], setup["contents"])
    return Runner(plan, Path(setup["task_folder"]), Path(setup["source_folder"]), torch.device(setup["device"]))


def measurement(plan: Plan, model: SourceModel, target: str) -> Measurement:
    """Return the measurement of a source model against a target, with its key.

    The key has the versions of the measures, so that one that changed is taken again, and the names of source
    and target, by which rows find it: two sources with one content both have theirs.
    """
    versions = [f"{name}@{MEASURES.get(name).version}" for name in plan.suite.measures]
    card = plan.card(target)
    seen = [card.fingerprint, *(plan.transform(target, target) or []), model.source, target]
    return Measurement(combine(["similarity", model.key, *seen, *versions]), model, target)


def run_unit(runner: Runner, unit: Unit, made: Path) -> list[dict[str, Any]]:
    """Run a unit and return its records; an exception becomes the record of a failure, never more.

    New files are left in the folder `made`, as they are to lie in the run folder. Where a group fails, its
    members are run one by one: one trial's fault costs that trial alone. What cannot be written is no failure
    of the unit: its record, of kind "stop", ends the run.
    """
    began = time.perf_counter()
    runner.made = made
    try:
        records = _run(runner, unit)
        json.dumps(records, allow_nan=False)  # what cannot be stored is a failure of the unit, here and now
        return records
    except StoreError as error:
        return [{"kind": "stop", "error": str(error)}]
    except Exception as error:
        if alone := singly(unit):
            return [record for part in alone for record in run_unit(runner, part, made)]
        line, trace = describe_error(error)
        return [failure(runner.plan, unit, line, trace, time.perf_counter() - began)]


def _run(runner: Runner, unit: Unit) -> list[dict[str, Any]]:
    if isinstance(unit, Check):
        runner.check(unit)
        return [{"kind": "check"}]
    if isinstance(unit, Measurement):
        return [runner.measure(unit.key, unit.model, unit.target)]
    if isinstance(unit.members[0], SourceModel):
        return runner.train_sources(unit.members)
    return runner.run_trials(unit.members)


def failure(plan: Plan, unit: Unit, error: str, trace: str, seconds: float) -> dict[str, Any]:
    """Return the record of a unit that failed: of a group, that of its one member."""
    if isinstance(unit, Group):
        (member,) = unit.members
        failed = failed_source if isinstance(member, SourceModel) else failed_trial
        return failed(plan, member, error, trace, seconds)
    if isinstance(unit, Check):
        place = f"backbone {plan.backbones[unit.backbone].label}, target {unit.target}"
        return {"kind": "check", "place": place, "error": error}
    return {
        "kind": "similarity", "key": unit.key, "source": unit.model.source, "target": unit.target,
        "backbone": plan.backbones[unit.model.backbone].label, "weighting": unit.model.weighting,
        "source_seed": unit.model.seed, "values": {}, "error": error, "traceback": trace,
    }  # fmt: skip
