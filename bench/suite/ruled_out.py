"""What the data of a suite rule out, before anything is trained."""

from __future__ import annotations

from bench.errors import Problem
from bench.registry import BACKBONES
from bench.suite.plan import Plan
from bench.suite.standardise import table_problems
from bench.trial import Card


def ruled_out(plan: Plan) -> list[Problem]:
    """Find sizes, classes and shapes that cannot be.

    Needs the cards of all tasks.
    """
    found: list[Problem] = table_problems(plan)
    for target in plan.targets:
        card = plan.card(target)
        if card is None:
            continue
        if plan.suite.recipe.augment and len(card.shape) != 3:
            found.append(Problem(f'target "{target}"', "augment changes images, these inputs are tables"))
        found += _kinds(plan, target, card)
        found += _sizes(plan, target, card)
        found += _shared_heads(plan, target, card)
        for name, count in zip(card.classes, card.class_counts, strict=True):
            if count == 0:
                found.append(Problem(f'target "{target}"', f'class "{name}" has no training example'))
    return found


def _kinds(plan: Plan, target: str, card: Card) -> list[Problem]:
    """Find token ids where numbers are needed, and the reverse."""
    kinds, found = ("numbers", "token ids"), []
    mine = kinds[card.vocabulary > 0]
    for spec in plan.backbones:
        taken = kinds[bool(BACKBONES.get(spec.name).meta.get("integers"))]
        if taken != mine:
            message = f'backbone "{spec.label}" takes {taken}, the inputs are {mine}'
            found.append(Problem(f'target "{target}"', message))
    for source in plan.targets[target]:
        other = plan.card(source)
        if other is not None and kinds[other.vocabulary > 0] != mine:
            message = f"the source's inputs are {kinds[other.vocabulary > 0]}, the target's {mine}"
            found.append(Problem(f"pair {source} -> {target}", message))
    return found


def _sizes(plan: Plan, target: str, card: Card) -> list[Problem]:
    """Find sizes that are too large, too small or there twice."""
    found, recipe, said = [], plan.suite.recipe, {}
    for size, number in zip(plan.suite.target_sizes, plan.sizes(target), strict=True):
        place = f'target "{target}", size {size}'
        needed = number + (recipe.validation_size or 0)
        if needed > card.n_train:
            extra = f" and {recipe.validation_size} for validation" if recipe.validation_size else ""
            found.append(Problem(place, f"needs {number} examples{extra}, the train pool has {card.n_train}"))
        left = number * (1 - recipe.validation_share if recipe.validation == "cut" else 1.0)
        if left < len(card.classes):
            message = f"leaves {int(left)} examples to train on, fewer than the {len(card.classes)} classes"
            found.append(Problem(place, message))
        for label, spec in plan.weightings.items():
            meta = int(left * spec.meta_share)
            if spec.learns_from == "labels" and meta < len(card.classes) <= left:
                message = f'weighting "{label}" is left {meta} target examples to learn from, fewer than the '
                found.append(Problem(place, f"{message}{len(card.classes)} classes; raise its meta_share"))
        if number in said:
            found.append(Problem(place, f"is the same as size {said[number]}: {number} examples"))
        said[number] = size
    return found


def _shared_heads(plan: Plan, target: str, card: Card) -> list[Problem]:
    """Find weightings that look at the target through the source's head where it lacks a class."""
    found = []
    for label, spec in plan.weightings.items():
        if spec.learns_from != "labels" or spec.own_head:
            continue
        for source in plan.targets[target]:
            classes = plan.classes(source)
            if source in plan.models or classes is None:
                continue
            missing = [name for name in card.classes if name not in classes]
            if missing:
                message = f"head = \"shared\" needs the target's classes among the source's, which lack {missing[0]}"
                found.append(Problem(f'weighting "{label}", pair {source} -> {target}', f'{message}; use head = "own"'))
    return found
