"""What the data of a suite rule out, before anything is trained."""

from __future__ import annotations

from bench.errors import Problem
from bench.registry import BACKBONES
from bench.suite.plan import Plan
from bench.suite.standardise import table_problems
from bench.trial import SINGLE_LABEL, Card, is_array_shape
from bench.triangle import PLAIN

UNLABELLED = "unlabelled"


def ruled_out(plan: Plan) -> list[Problem]:
    """Find sizes, classes and shapes that cannot be.

    Needs the cards of all tasks.
    """
    found: list[Problem] = [*table_problems(plan), *_source_methods(plan)]
    for target in plan.targets:
        card = plan.card(target)
        if card is None:
            continue
        if plan.suite.recipe.augment and not is_array_shape(card.shape, 3):
            what = "mappings" if card.inputs else "tables"
            found.append(Problem(f'target "{target}"', f"augment changes images, these inputs are {what}"))
        if card.kind == UNLABELLED:
            found.append(Problem(f'target "{target}"', "has no labels: such a task can be a source only"))
            continue
        found += _inputs(plan, target, card)
        found += _sizes(plan, target, card)
        found += _shared_heads(plan, target, card)
        found += _methods(plan, target, card)
        counts = card.class_counts if card.kind == SINGLE_LABEL else ()
        for name, count in zip(card.classes, counts, strict=False):
            if count == 0:
                found.append(Problem(f'target "{target}"', f'class "{name}" has no training example'))
    return found


def _inputs(plan: Plan, target: str, card: Card) -> list[Problem]:
    """Find token ids where numbers are needed, mappings where an array is, and the reverse."""
    found, mine = [], _kind_of(card)
    for spec in plan.backbones:
        facts = BACKBONES.get(spec.name).meta
        taken = "token ids" if facts.get("integers") else "numbers"
        if needed := facts.get("inputs"):
            missing = [name for name in needed if name not in dict(card.inputs)]
            taken = f"a mapping with {missing[0]}" if missing else mine
        elif card.inputs:
            taken = f"{taken} in one array"
        if taken != mine:
            message = f'backbone "{spec.label}" takes {taken}, the inputs are {mine}'
            found.append(Problem(f'target "{target}"', message))
    for label, weighting in plan.weightings.items():
        if weighting.learns_from == "inputs" and card.inputs:
            message = f"looks at inputs in one array, those of {target} are {mine}"
            found.append(Problem(f'weighting "{label}"', message))
    for source in plan.sources_of(target):
        other = plan.card(source)
        if other is not None and _kind_of(other) != mine:
            message = f"the source's inputs are {_kind_of(other)}, the target's {mine}"
            found.append(Problem(f"pair {source} -> {target}", message))
    return found


def _kind_of(card: Card) -> str:
    """Say of what kind a task's inputs are."""
    if not card.inputs:
        return "token ids" if card.vocabulary else "numbers"
    listed = ", ".join(f"{name} ({'whole numbers' if most else 'numbers'})" for name, most in card.inputs)
    return f"a mapping of {listed}"


def _sizes(plan: Plan, target: str, card: Card) -> list[Problem]:
    """Find sizes that are too large, too small or there twice."""
    found, recipe, said = [], plan.suite.recipe, {}
    least = len(card.classes) if card.kind == SINGLE_LABEL else 1
    for size, number in zip(plan.suite.target_sizes, plan.sizes(target), strict=True):
        place = f'target "{target}", size {size}'
        if number == 0:
            what = f"a {card.kind} task has no classes to count by; say how many examples in all"
            found.append(Problem(place, what))
            continue
        needed = number + (recipe.validation_size or 0)
        if needed > card.n_train:
            extra = f" and {recipe.validation_size} for validation" if recipe.validation_size else ""
            found.append(Problem(place, f"needs {number} examples{extra}, the train pool has {card.n_train}"))
        left = number * (1 - recipe.validation_share if recipe.validation == "cut" else 1.0)
        if left < least:
            what = f"fewer than the {least} classes" if card.kind == SINGLE_LABEL else "too few"
            message = f"leaves {int(left)} examples to train on, {what}"
            found.append(Problem(place, message))
        for label, spec in plan.weightings.items():
            meta = int(left * spec.meta_share)
            if spec.learns_from == "labels" and meta < least <= left:
                message = f'weighting "{label}" is left {meta} target examples to learn from, fewer than the '
                found.append(Problem(place, f"{message}{least} classes; raise its meta_share"))
        if number in said:
            found.append(Problem(place, f"is the same as size {said[number]}: {number} examples"))
        said[number] = size
    return found


def _methods(plan: Plan, target: str, card: Card) -> list[Problem]:
    """Find methods that do not serve the target's kind, or that are left no unlabelled examples."""
    found = []
    known = {strategy.name: strategy.how for row in plan.strategies for strategy in row}
    for name, how in known.items():
        place = f'strategy "{name}", target "{target}"'
        if how.kinds and card.kind not in how.kinds:
            message = f'method "{how.name}" serves {" and ".join(how.kinds)} tasks, this target is {card.kind}'
            found.append(Problem(place, message))
        for size, number in zip(plan.suite.target_sizes, plan.sizes(target), strict=True):
            if how.unlabelled and not plan.unlabelled(target, number):
                message = f'method "{how.name}" sees unlabelled examples, and size {size} leaves none of {card.n_train}'
                found.append(Problem(place, f"{message}; use smaller sizes"))
    return found


def _source_methods(plan: Plan) -> list[Problem]:
    """Find sources that their method cannot train."""
    found = []
    for source in plan.all_sources():
        card, how = plan.card(source), plan.source_method(source)
        if card is None:
            continue
        if card.kind == UNLABELLED and how == PLAIN:
            message = "has no labels: say a method that needs none, under [source_methods]"
            found.append(Problem(f'source "{source}"', message))
        elif how.kinds and card.kind not in how.kinds:
            message = f'"{how.name}" serves {" and ".join(how.kinds)} tasks, this source is {card.kind}'
            found.append(Problem(f"source_methods.{source}", message))
    return found


def _shared_heads(plan: Plan, target: str, card: Card) -> list[Problem]:
    """Find weightings that look at the target through the source's head where it lacks a class."""
    found = []
    for label, spec in plan.weightings.items():
        if spec.learns_from != "labels" or spec.own_head:
            continue
        for source in plan.targets[target]:
            classes, other = plan.classes(source), plan.card(source)
            if source in plan.models or classes is None:
                continue
            if other is not None and {card.kind, other.kind} != {SINGLE_LABEL}:
                message = 'head = "shared" needs two single-label tasks; use head = "own"'
                found.append(Problem(f'weighting "{label}", pair {source} -> {target}', message))
                continue
            missing = [name for name in card.classes if name not in classes]
            if missing:
                message = f"head = \"shared\" needs the target's classes among the source's, which lack {missing[0]}"
                found.append(Problem(f'weighting "{label}", pair {source} -> {target}', f'{message}; use head = "own"'))
    return found
