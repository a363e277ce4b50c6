"""Reading a suite's data: tasks for the workers, cards for the plan, and what they rule out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.errors import BenchError, Problem, SuiteError
from bench.model_files import file_digest
from bench.store import Stored
from bench.suite.model import Suite
from bench.suite.plan import Plan, Selection
from bench.suite.ruled_out import ruled_out
from bench.suite.specs import missing_file
from bench.trial import Card


def read_data(
    suite: Suite, stored: Stored, work: Path, machine: str, selection: Selection, say: Callable[[str], None],
    step: Callable[[], None],
) -> tuple[Plan, list[dict[str, Any]]]:  # fmt: skip
    """Build every task, leave it in the folder `work` for the workers, and check what the data rule out.

    Parameters
    ----------
    machine : {"cpu", "cuda"}
        For which trainings are laid out.
    say, step : callable
        Told what is worth knowing, and of each task.

    Returns
    -------
    plan : Plan
        With the cards of all tasks.
    records : list of dict
        Of the cards and contents that are new, for the ledger.

    Raises
    ------
    SuiteError
        With everything that cannot be.
    """
    from bench.tasks.build import build_task, card_of, save_task

    plan = Plan(suite)
    cards: dict[str, Card] = {}
    problems: list[Problem] = []
    labels, records = {}, []
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
        known = Card.from_json(stored.cards[spec.digest]) if spec.digest in stored.cards else None
        if known != card:
            # A card of an earlier version may say less of the same data.
            if known is not None and (known.fingerprint, known.version) != (card.fingerprint, card.version):
                say(f'the data of "{name}" are not those of the stored rows: their trials will be run again')
            records.append({"kind": "task", "key": spec.digest, "card": card.to_json()})
        step()
    contents = _read_models(plan, stored, records, problems, say)
    plan = Plan(suite, cards, machine, contents)
    problems += check_data(plan, labels, selection)
    if problems:
        raise SuiteError(f'suite "{suite.name}"', problems)
    return plan, records


def _read_models(
    plan: Plan, stored: Stored, records: list[dict[str, Any]], problems: list[Problem], say: Callable[[str], None]
) -> dict[str, str]:
    """Return what the files of handed-in models hold, by digest; note what is new, and files that are not there."""
    contents = {}
    for name, spec in plan.models.items():
        if (problem := missing_file(spec)) is not None:
            problems.append(problem)
        elif spec.state_dict is not None:
            content = contents[spec.digest] = file_digest(Path(spec.state_dict))
            known = stored.contents.get(spec.digest)
            if known not in (None, content):
                say(f'the file of "{name}" is not that of the stored rows: their trials will be run again')
            if known != content:
                records.append({"kind": "model", "key": spec.digest, "name": name, "content": content})
    return contents


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
