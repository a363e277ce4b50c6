"""``ntbench check``: every mistake of a suite or plug-in at once, and the contracts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import Plugins

if TYPE_CHECKING:
    from bench.registry import Entry
    from bench.suite import Suite

OFFLINE = {
    "tasks": ("digits", "printed-digits", "glyphs", "patches", "noise", "moons"),
    "backbones": ("mlp", "cnn"),
}


def check(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE|NAME]...", help="Suites, plug-in files or names; the offline built-ins if none."),
    ] = None,
    data: Annotated[
        bool, typer.Option("--data", help="Read a suite's data too: contract of every task, sizes, shapes.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Check suites, plug-ins or names.

    Of a suite, every mistake is said at once, each with its place. Of a plug-in or a name, the contract
    is run that all tasks, changes, backbones, strategies, methods, adaptations, measures, weightings and metrics
    keep.

    Exit codes: 0 nothing is wrong, 2 something is.
    """
    from bench.errors import BenchError
    from bench.registry import load_plugin

    for path in plugin or ():
        load_plugin(path)
    wrong = 0
    for item in what or [""]:
        try:
            wrong += _check_item(item, data)
        except BenchError as error:
            print(f"error: {error}", file=sys.stderr)
            wrong += 1
    if wrong:
        raise typer.Exit(2)


def _check_item(item: str, data: bool) -> int:
    """Check one argument and return how many things are wrong."""
    from bench.errors import DataError

    path = Path(item)
    if not item:
        return _check_entries(_offline())
    if path.is_dir():
        raise DataError(f"{path} is a folder; check takes suites, plug-in files and names")
    if path.suffix == ".toml" or (path.is_file() and path.suffix != ".py"):
        return _check_suite(path, data)
    if path.suffix == ".py":
        return _check_entries(_registered_by(path))
    return _check_entries(_named(item))


# --- what to check -------------------------------------------------------------------------------------


def _offline() -> list[tuple[str, Entry]]:
    from bench.cli.listing import registries

    known = registries()
    every = ("changes", "strategies", "methods", "adaptations", "measures", "weightings", "metrics")
    names = {**{kind: known[kind].names() for kind in every}, **OFFLINE}
    return [(kind, known[kind].get(name)) for kind in known for name in names.get(kind, ())]


def _registered_by(path: Path) -> list[tuple[str, Entry]]:
    from bench.cli.listing import registries
    from bench.errors import DataError
    from bench.registry import load_plugin

    known = registries()
    before = {kind: set(registry.names()) for kind, registry in known.items()}
    load_plugin(path)
    file = str(path.expanduser().resolve())
    found = []
    for kind, registry in known.items():
        for name in registry.names():
            new = name not in before[kind]
            module = sys.modules.get(registry.get(name).function.__module__)
            if new or getattr(module, "__file__", None) == file:
                found.append((kind, registry.get(name)))
    if not found:
        raise DataError(f"plug-in {path} registers nothing; decorate a function with @bench.task, @bench.strategy, ...")
    return found


def _named(name: str) -> list[tuple[str, Entry]]:
    from bench.cli.listing import registries
    from bench.errors import unknown

    known = registries()
    found = [(kind, registry.get(name)) for kind, registry in known.items() if name in registry]
    if not found:
        raise unknown("file or name", name, {n for registry in known.values() for n in registry.names()})
    return found


# --- contracts -----------------------------------------------------------------------------------------


def _check_entries(entries: Iterable[tuple[str, Entry]]) -> int:
    wrong = 0
    for kind, entry in entries:
        try:
            wrong += _say(f"{entry.kind} {entry.name}", CONTRACTS[kind](entry))
        except _Skipped as why:
            print(f"skipped  {entry.kind} {entry.name}: {why}; name it in a suite: ntbench check SUITE --data")
    return wrong


class _Skipped(Exception):
    """Something cannot be checked by its name alone: it needs arguments."""


def _demand_defaults(entry: Entry) -> None:
    """Skip what cannot be called without arguments of the user's."""
    for problem in entry.problems({}):
        raise _Skipped(problem)


def _say(subject: str, problems: list[str]) -> int:
    print(f"{'WRONG' if problems else 'ok':<8} {subject}", flush=True)
    for problem in problems:
        print(f"         {problem}")
    return len(problems)


def _check_task(entry: Entry) -> list[str]:
    import os

    from bench.suite.specs import TaskSpec
    from bench.tasks.build import build_task
    from bench.tasks.contract import check_task

    _demand_defaults(entry)
    root = Path(os.environ.get("NTBENCH_DATA", "data"))
    return check_task(lambda: build_task(TaskSpec(entry.name, base=entry.name), root))


def _check_backbone(entry: Entry) -> list[str]:
    from bench.backbones.contract import check_backbone
    from bench.backbones.trial_shapes import first_built
    from bench.errors import BenchError

    _demand_defaults(entry)
    try:
        shape, _ = first_built(entry.name, {})
    except BenchError as error:
        return [str(error)]
    return check_backbone(entry.name, shape)


def _check_strategy(entry: Entry) -> list[str]:
    from bench.transfer.contract import check_strategy

    _demand_defaults(entry)
    return check_strategy(entry)


def _check_method(entry: Entry) -> list[str]:
    from bench.training.method_contract import KINDS, check_method

    _demand_defaults(entry)
    kinds = entry.meta["kinds"]
    if kinds and not set(kinds) & set(KINDS):
        raise _Skipped(f"there are no toy data for tasks of the kind {', '.join(kinds)}")
    return check_method(entry)


def _check_head(entry: Entry) -> list[str]:
    from bench.registry import METRICS

    name = entry.function().metric
    if name and (name not in METRICS or entry.name not in METRICS.get(name).meta["kinds"]):
        return [f'its metric is "{name}", which judges no tasks of this kind']
    raise _Skipped("only a task of its kind says what targets and outputs are")


def _check_adaptation(entry: Entry) -> list[str]:
    from bench.adaptations.contract import check_adaptation

    _demand_defaults(entry)
    return check_adaptation(entry)


def _check_change(entry: Entry) -> list[str]:
    from bench.tasks.contract_change import EXAMPLES, check_change, refusals

    arguments = EXAMPLES.get(entry.name)
    if arguments is None:
        for problem in entry.problems(dict.fromkeys(entry.meta.get("tasks", ()))):
            raise _Skipped(problem)
        refused = refusals(entry, {})
        if len(refused) == 2 and entry.parameters:
            raise _Skipped(f"its defaults alone are not enough ({refused[True]})")
    return check_change(entry, arguments)


def _check_measure(entry: Entry) -> list[str]:
    from bench.similarity.contract import check_measure

    return check_measure(entry)


def _check_weighting(entry: Entry) -> list[str]:
    from bench.training.contract import check_weighting

    _demand_defaults(entry)
    return check_weighting(entry)


def _check_metric(entry: Entry) -> list[str]:
    from bench.metrics.contract import check_metric

    return check_metric(entry)


CONTRACTS: dict[str, Callable[[Entry], list[str]]] = {
    "tasks": _check_task,
    "changes": _check_change,
    "backbones": _check_backbone,
    "strategies": _check_strategy,
    "adaptations": _check_adaptation,
    "methods": _check_method,
    "measures": _check_measure,
    "weightings": _check_weighting,
    "metrics": _check_metric,
    "heads": _check_head,
}


# --- suites --------------------------------------------------------------------------------------------


def _check_suite(path: Path, data: bool) -> int:
    from bench.cli.check_suite import model_problems, sound_part
    from bench.cli.wording import counted, recipe_line
    from bench.errors import SuiteError
    from bench.suite import Plan, load_suite
    from bench.suite.count import count

    try:
        suite = load_suite(path, further=model_problems)
    except SuiteError as error:
        print(f"error: {error}", file=sys.stderr)
        part = sound_part(error.suite) if data and error.suite else None
        return len(error.problems) + (_check_data(part) if part else 0)
    counts = count(Plan(suite))
    models, trials = counts.all_models.total, counts.all_trials.total
    if data:
        wrong = _check_data(suite)
        if wrong:
            return wrong
    read = "" if data else "; its data were not read (--data)"
    print(f"ok       suite {suite.name}: {counted(models, 'source model')}, {counted(trials, 'trial')}{read}")
    print(f"         {recipe_line(suite)}")
    return 0


def _check_data(suite: Suite) -> int:
    """Build every task, run its contract, and check what only data can show."""
    from bench.cli.check_suite import description, pairs_of
    from bench.launch.data import check_data, looks, notes
    from bench.launch.networks import network_problems
    from bench.suite import Plan, Selection
    from bench.tasks.base import Task
    from bench.tasks.build import build_task, card_of
    from bench.tasks.contract import check_task
    from bench.training.protocol import Pool

    plan = Plan(suite)
    cards, pools, wrong = {}, {}, 0
    for name, spec in plan.tasks.items():
        built: list[Task] = []

        def build(spec=spec, built=built) -> Task:  # noqa: ANN001
            built[:] = [build_task(spec, suite.root())]
            return built[0]

        wrong += _say(f"task {name}", check_task(build))
        if built:
            cards[spec.digest] = card_of(built[0])
            pools[name] = Pool.of(built[0], look=looks(suite))
            for text in description(built[0]):
                print(f"         {text}")
    pairs = pairs_of(suite, lambda name: name in suite.models or plan.tasks[name].digest in cards)
    if pairs:
        plan = Plan(suite.model_copy(update={"pairs": pairs}), cards)
        problems = check_data(plan, pools, Selection())
        problems += network_problems(plan)
        if problems:
            wrong += _say(f"suite {suite.name}", list(dict.fromkeys(map(str, problems))))
        for note in [] if problems else notes(plan, pools):
            print(f"note     {note}")
    return wrong
