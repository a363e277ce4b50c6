"""What ``ntbench check`` finds in a suite beyond its text: handed-in models, and networks on the data's shapes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, Problem
from bench.suite.choices import read_method
from bench.suite.load import meant_backbone
from bench.suite.metrics import check_metric_key
from bench.suite.model import Pairs, Suite
from bench.suite.specs import BackboneSpec, ModelSpec, TaskReader, read_backbone, read_model
from bench.suite.standardise import RULES
from bench.suite.strategies import read_strategies
from bench.suite.weightings import read_weightings
from bench.trial import counts_text, shape_text

if TYPE_CHECKING:
    from bench.tasks.base import Task


def model_problems(suite: Suite) -> list[Problem]:
    """Find handed-in models that cannot be: files that hold no state dict or another network's, unknown weights."""
    sound = [spec for value in suite.backbones if (spec := read_backbone(value, "", []))]
    meant = [spec for value in suite.backbones if not sound and (spec := meant_backbone(value))]
    found: list[Problem] = []
    for name in suite.models:
        spec = read_model(suite, name, [])
        if spec is None:
            continue  # said already
        if spec.weights:
            found += _published(spec, sound)
            for problem in _published(spec, meant[:1]):
                found.append(Problem(problem.place, f'{problem.message} (if backbone "{meant[0].name}" is meant)'))
        elif os.path.isfile(spec.state_dict):
            found += _state_dict(spec, sound)
    return list(dict.fromkeys(found))


def _published(model: ModelSpec, backbones: list[BackboneSpec]) -> Iterator[Problem]:
    from bench.backbones.handed_in import published_problems

    for spec in backbones:
        for message in published_problems(spec.name, model.weights, model.download, model.classes):
            yield Problem(f"models.{model.name}.weights", message)


def _state_dict(model: ModelSpec, backbones: list[BackboneSpec]) -> Iterator[Problem]:
    from bench.backbones.handed_in import state_dict_problem
    from bench.backbones.weights import load_state_dict_file

    place = f"models.{model.name}.state_dict"
    try:
        state = load_state_dict_file(model.state_dict)
    except BenchError as error:
        yield Problem(place, str(error))
        return
    for spec in backbones:
        problem = state_dict_problem(spec.name, spec.arguments, state, model.classes)
        if problem:
            yield Problem(place, f'not a state dict of backbone "{spec.label}": {problem}')


def sound_part(suite: Suite) -> Suite | None:
    """Return what of a suite with mistakes can be tried on its data; None where no pair is left.

    Everything in it is without a mistake; measures, which need no data to be checked, are left out.
    """
    reader = TaskReader(suite, [])
    wrong = {problem.place.split(".")[1] for problem in model_problems(suite)}
    models = {name: table for name, table in suite.models.items() if name not in wrong and read_model(suite, name, [])}
    tasks = {name: table for name, table in suite.tasks.items() if reader.read(name, "")}
    pairs = pairs_of(suite, lambda name: name in models or reader.read(name, "") is not None)
    specs = [read_backbone(value, "", []) for value in suite.backbones]
    backbones = tuple(value for value, spec in zip(suite.backbones, specs, strict=True) if spec)
    if not pairs or not backbones:
        return None
    depths = {spec.depth for spec in specs if spec}

    def of_strategies(values: tuple[Any, ...], problems: list[Problem]) -> None:
        for depth in depths:
            read_strategies(values, depth, problems)

    kept = {
        "backbones": backbones, "models": models, "tasks": tasks, "pairs": pairs, "measures": (),
        "strategies": _without_mistake(suite.strategies, of_strategies) or ("scratch",),
        "weighting": _without_mistake(suite.weighting, read_weightings) or ("uniform",),
        "source_methods": {name: value for name, value in suite.source_methods.items() if _is_method(value)},
        "metric": None if check_metric_key(suite) else suite.metric,
    }  # fmt: skip
    if suite.standardise not in (None, *RULES) and reader.read(suite.standardise, "") is None:
        kept["standardise"] = None
    return suite.model_copy(update=kept)


def _without_mistake(values: tuple[Any, ...], read: Callable[[tuple[Any, ...], list[Problem]], Any]) -> tuple[Any, ...]:
    """Return the entries that can be read, each after those that stay."""
    kept: tuple[Any, ...] = ()
    for value in values:
        problems: list[Problem] = []
        read((*kept, value), problems)
        kept = kept if problems else (*kept, value)
    return kept


def _is_method(value: Any) -> bool:
    try:
        read_method(value)
    except BenchError:
        return False
    return True


def pairs_of(suite: Suite, sound: Callable[[str], bool]) -> tuple[Pairs, ...]:
    """Return a suite's pairs without the tasks and models that are not sound."""
    left = [
        (
            given.target,
            (*filter(sound, given.alone), *(names for names in given.sets.values() if all(map(sound, names)))),
        )
        for given in suite.pairs
        if sound(given.target)
    ]
    return tuple(Pairs(target=target, sources=sources) for target, sources in left if sources)


def description(task: Task) -> list[str]:
    """Say what data a task holds: shape, type and the examples of each class."""
    from bench.tasks.build import card_of

    card = card_of(task)
    kind = "images" if task.is_image else f"token ids below {task.vocabulary:,}" if task.vocabulary else "columns"
    types = {part.dtype for part in task.x.values()} if task.is_mapping else {task.x.dtype}
    said = [f"{shape_text(task.shape)}{'' if task.is_mapping else ' ' + kind}, {', '.join(sorted(map(str, types)))}"]
    for part, n, counts in (
        ("train pool", card.n_train, card.class_counts),
        ("test set", card.n_test, card.test_counts),
    ):
        of = counts_text(card.classes, counts) if counts else ", ".join([card.kind, *card.classes])
        said.append(f"{part}: {n:,} examples ({of})")
    said += [f"further test set {name}: {n:,} examples" for name, n in card.further]
    return said
