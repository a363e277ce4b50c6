"""Whose training pool standardises the tables of a pair: one rule for a suite, one transform for a target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.errors import Problem, nearest
from bench.registry import TASKS
from bench.schema import BY_OWN, BY_TARGET
from bench.suite.model import Suite
from bench.trial import Card, is_array_shape

if TYPE_CHECKING:
    from bench.suite.plan import Plan

SOURCE, NONE = "source", "none"
RULES = (BY_TARGET, SOURCE, NONE, BY_OWN)


def provider(rule: str | None, name: str, target: str, sources: list[str]) -> str | None:
    """Name the task whose train pool standardises the table `name` in pairs to `target`; None for none.

    Parameters
    ----------
    rule : str or None
        The suite's.
    sources : list of str
        Of the target.
    """
    if rule == NONE:
        return None
    return {None: target, BY_TARGET: target, SOURCE: sources[0], BY_OWN: name}.get(rule, rule)


def applies(rule: str | None, card: Card) -> bool:
    """Whether the task that gives mean and spread has a column to standardise: what it says, else what is asked."""
    return "1" in card.measured if card.measured is not None else rule is not None


def check_standardise(suite: Suite, problems: list[Problem]) -> None:
    """Add what is wrong with a suite's rule, as far as it shows without the data."""
    problems.extend(Problem("standardise", why) for why in _wrong_rule(suite))


def _wrong_rule(suite: Suite) -> Iterator[str]:
    rule = suite.standardise
    if rule == SOURCE:
        sources: dict[str, dict[str, None]] = {}
        for pairs in suite.pairs:
            sources.setdefault(pairs.target, {}).update(dict.fromkeys(pairs.all_sources))
        for target, found in sources.items():
            first = next(iter(found))
            if len(found) > 1:
                yield (
                    f'"source" leaves open which: "{target}" has {len(found)}, and all are compared with the same '
                    f'scratch; name one of them (standardise = "{first}"), or say "target"'
                )
            elif first in suite.models:
                yield f'the source "{first}" is a model without data; say "target", or name a task'
    elif rule is None or rule in RULES:
        return
    elif rule in suite.models:
        yield f'"{rule}" is a model without data; name a task, or say "target"'
    elif rule not in suite.tasks and rule not in TASKS:
        hint = nearest(rule, [*RULES, *suite.tasks]) or f"; allowed: {', '.join(RULES)}, or the name of a task"
        yield f'"{rule}" is neither a rule nor a task of the suite{hint}'


def table_problems(plan: Plan) -> list[Problem]:
    """Find tables that the suite's rule cannot treat alike. Needs the cards of all tasks."""
    rule, cards = plan.suite.standardise, {name: plan.card(name) for name in plan.tasks}
    if rule == NONE:
        return []
    known = {name: card for name, card in cards.items() if card is not None}
    if rule is not None and not any(
        target not in known or is_array_shape(known[target].shape, 1) for target in plan.targets
    ):
        return [Problem("standardise", "is for tables, and no target is one: images are taken as they are")]
    cards = known
    if rule in cards and rule not in RULES and not applies(rule, cards[rule]):
        return [Problem("standardise", f'"{rule}" says standardise = false (or has no measured column)')]
    found = []
    for target, sources in plan.targets.items():
        by = plan.standardised_by(target, target)
        if by not in cards or target not in cards or rule == BY_OWN:
            continue
        places = {target: f'target "{target}"'}
        places |= {name: f"pair {name} -> {target}" for name in sources if name in cards}
        for name, place in places.items():
            if cards[name].shape == cards[target].shape and (why := _unlike(cards[name], cards[by])):
                found.append(Problem(place, why))
    return found


def _unlike(card: Card, by: Card) -> str | None:
    """Say why a table cannot be standardised by another; None if it can."""
    if card.shape != by.shape:
        return f'"{by.name}" standardises it, whose inputs are {by.shape}, not {card.shape}; both need the same columns'
    if card.measured is None:
        return None
    if "1" not in card.measured:
        return (
            f'"{card.name}" says standardise = false, and "{by.name}" standardises its pairs: say false there too, '
            'or standardise = "none" or "each" for the suite'
        )
    measured = by.measured or "1" * len(card.measured)
    for column, (own, others) in enumerate(zip(card.measured, measured, strict=True), 1):
        if (own, others) == ("0", "1"):
            return (
                f'column {column} holds a category in "{card.name}" and a measured number in "{by.name}": tables need '
                'the same columns in one order, or standardise = "each" or "none"'
            )
    return None
