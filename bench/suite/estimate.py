"""How long what is missing of a suite may take: from stored trials, else a guess that says so."""

from __future__ import annotations

from dataclasses import dataclass

from bench.suite.count import Counts, Group, Tally
from bench.suite.model import Recipe
from bench.suite.plan import Plan

# One core, one optimiser step: a fixed cost and one for each input value of the batch, forward and
# backward. Measured for the small networks; torchvision's vary by a factor of ten around theirs.
STEP_SECONDS = 0.0006
VALUE_SECONDS = {"mlp": 0.02e-6, "cnn": 0.2e-6}
LARGE_VALUE_SECONDS = 5e-6
FORWARD_SECONDS = 0.05
NOMINAL_VALUES = 1024


@dataclass(frozen=True)
class Estimate:
    """A time.

    Attributes
    ----------
    seconds : float
        On one core, for everything that is missing.
    measured : float
        Share of it that rests on stored trials rather than on a guess, 0 to 1.
    """

    seconds: float
    measured: float


def estimate(plan: Plan, counts: Counts) -> Estimate:
    """Estimate how long the missing source models and trials take on one core.

    A strategy's missing trials take what its stored ones took on average (on the same backbone; else
    what that backbone's did). Where a backbone has none, a rough cost of its steps is assumed.
    """
    known = 0.0
    guessed = 0.0
    specs = {spec.label: index for index, spec in enumerate(plan.backbones)}
    means = _means(counts)
    for group, tally in counts.trials.items():
        mean = means.get((group.backbone, group.strategy), means.get((group.backbone, None)))
        if mean is not None:
            known += tally.missing * mean
        else:
            guessed += tally.missing * _guess_trial(plan, specs[group.backbone], group)
    for label, tally in counts.models.items():
        if tally.done:
            known += tally.missing * tally.seconds / tally.done
        else:
            recipe = plan.suite.source_recipe
            guessed += tally.missing * _guess(plan, specs[label], recipe, ())
    total = known + guessed
    return Estimate(total, known / total if total else 1.0)


def _means(counts: Counts) -> dict[tuple[str, str | None], float]:
    """Mean seconds of finished trials, by (backbone, strategy) and by (backbone, None)."""
    sums: dict[tuple[str, str | None], Tally] = {}
    for group, tally in counts.trials.items():
        for key in ((group.backbone, group.strategy), (group.backbone, None)):
            sums.setdefault(key, Tally()).add(tally)
    return {key: tally.seconds / tally.done for key, tally in sums.items() if tally.done}


def _guess_trial(plan: Plan, backbone: int, group: Group) -> float:
    strategies = [s for s in plan.strategies[backbone] if s.name == group.strategy]
    if not any(s.trained for s in strategies):
        return FORWARD_SECONDS
    return _guess(plan, backbone, plan.suite.recipe, plan.input_shape(group.target)) * max(s.steps for s in strategies)


def _guess(plan: Plan, backbone: int, recipe: Recipe, shape: tuple[int, ...]) -> float:
    """Guess the seconds of one training: its steps at each learning rate."""
    values = 1
    for size in shape:
        values *= size
    if not shape:
        side = plan.suite.image_size
        values = side * side if side else NOMINAL_VALUES
    cost = VALUE_SECONDS.get(plan.backbones[backbone].name, LARGE_VALUE_SECONDS)
    step = STEP_SECONDS + recipe.batch_size * values * cost
    return FORWARD_SECONDS + recipe.steps * len(recipe.learning_rates) * step
