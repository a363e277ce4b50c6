"""What a training costs by its shape: measured where it was seen, predicted from others where not.

The seconds of a trial or source model on one core are taken as a sum of four parts: a constant, one a
step, one for what the steps train (examples x values of an input x share of the blocks that are not
frozen) and one for examples that only pass through (test examples, and labelled ones at a cut). Every
part is a rough guess times a factor, and the factors of a backbone are fitted to its stored seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from bench.trial import named_shapes

if TYPE_CHECKING:
    from bench.suite.count import Tally
    from bench.suite.model import Recipe
    from bench.suite.plan import Plan
    from bench.trial import SourceModel
    from bench.triangle import Strategy

# The guess, on one core: a unit, a step, and a value of an example that is trained on, forward and
# backward. Measured for the small networks; torchvision's vary by a factor of ten around theirs.
UNIT_SECONDS = 0.01
STEP_SECONDS = 0.0006
VALUE_SECONDS = {"mlp": 0.02e-6, "cnn": 0.2e-6, "lenet": 0.07e-6}
LARGE_VALUE_SECONDS = 1.5e-6
FORWARD = 1 / 3  # of that: the backward pass takes about twice as long as the forward one

# What solving a head at one strength is worth in steps: 20 to 80 evaluations, of one layer.
SOLVED_STEPS = 25

# A step that looks ahead: a forward pass, one along the meta gradient (two), two backward passes at the most.
LOOK_AHEAD = 7 / 3

# While data have not been read:
NOMINAL_VALUES = 1024
NOMINAL_EXAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides how long a unit of work takes, and nothing else.

    Attributes
    ----------
    kind : {"trial", "source"}
    backbone : str
        Its label.
    lanes : int
        How many units share a stack; one that is not full takes as long as one that is.
    values : int
        Values of one input.
    path : tuple of (frozen depth, share of the steps)
        Of what is stepped; empty where nothing is.
    steps : int
        Optimiser steps over all learning rates (and the refit).
    batch : int
        Examples a step.
    passed : int
        Examples that pass through once, without being trained on.
    beside : int
        Examples that a step sees besides: the target's where weights are learned, and what a method asks for.
    weighting : str
        Label of one that learns from target labels, which looks ahead in each step.
    solved : int
        Heads that are solved, a strength each.
    """

    kind: str
    backbone: str
    lanes: int
    values: int
    path: tuple[tuple[int, float], ...] = ()
    steps: int = 0
    batch: int = 0
    passed: int = 0
    beside: int = 0
    weighting: str = ""
    solved: int = 0

    def amounts(self, depth: int) -> tuple[float, float, float, float]:
        """Return how much there is of each part of the cost, for a backbone of `depth` blocks."""
        trained = sum(share * (depth - frozen) for frozen, share in self.path) / depth
        examples = self.batch * (LOOK_AHEAD if self.weighting else 1.0) + self.beside
        return (
            1.0,
            self.steps + SOLVED_STEPS * self.solved,
            self.values * examples * self.steps * trained,
            self.values * self.passed,
        )


def trial_shapes(plan: Plan, target: str, backbone: int, strategy: Strategy) -> Callable[[int], Shape]:
    """Return the function from a target size, in examples in all (0: not known), to a trial's shape."""
    card, inputs = plan.card(target), plan.input_shape(target)
    lanes = plan.lanes(backbone, inputs, strategy, task=target) if inputs else 1
    common = ("trial", plan.backbones[backbone].label, lanes, _values(plan, inputs))
    tested = card.n_test if card else NOMINAL_EXAMPLES
    if not strategy.trained:
        return lambda size: Shape(*common, passed=tested)
    probe = plan.probe(strategy, target, backbone)
    stepped = strategy.path[probe.phases :]
    shares = sum(phase.share for phase in stepped)
    path = tuple((phase.freeze, phase.share / shares) for phase in stepped)
    solved = len(probe.strengths) + (plan.suite.recipe.refit if probe.phases else 0)
    beside = plan.suite.recipe.batch_size * (strategy.how.sources + strategy.how.unlabelled)

    def shape(size: int) -> Shape:
        steps, *examples = _work(plan.suite.recipe, strategy.steps, size, tested)
        return Shape(*common, path, steps if stepped else 0, *examples, beside, solved=solved)

    return shape


def source_shape(plan: Plan, model: SourceModel) -> Shape:
    """Return the shape of training a source model."""
    card, inputs, label = plan.card(model.source), model.shape, plan.backbones[model.backbone].label
    size, tested = (card.n_train, card.n_test) if card else (0, NOMINAL_EXAMPLES)
    how = plan.source_method(model.source)
    lanes = plan.lanes(model.backbone, inputs, how=how, task=model.source) if inputs else 1
    common = ("source", label, lanes, _values(plan, inputs), ((0, 1.0),))
    work, spec = _work(plan.suite.source_recipe, 1.0, size, tested), plan.weightings[model.weighting]
    if model.meta is None or spec.learns_from != "labels":
        return Shape(*common, *work)
    beside = min(spec.arguments.get("meta_batch") or plan.suite.recipe.batch_size, model.meta.size)
    return Shape(*common, *work, beside, spec.label)


def _work(recipe: Recipe, budget: float, size: int, tested: int) -> tuple[int, int, int]:
    """Return (steps in all, examples a step, examples that only pass through)."""
    trainings = len(recipe.learning_rates) + recipe.refit
    kept = size - max(1, round(recipe.validation_share * size)) if recipe.validation == "cut" else size
    batch = min(recipe.batch_size, max(1, kept)) if size else recipe.batch_size
    return trainings * max(1, round(recipe.steps * budget)), batch, tested + trainings * size


def _values(plan: Plan, inputs: tuple[int, ...]) -> int:
    side = plan.suite.image_size
    if named := named_shapes(inputs):
        return sum(prod(shape) for shape in named.values())
    return prod(inputs) if inputs else side * side if side else NOMINAL_VALUES


class CostModel:
    """How long units of each shape take on one core.

    Parameters
    ----------
    plan : Plan
    tallies : mapping of Shape to Tally
        Every shape there is, with how many are done and how long they took in all. Single times are
        noisy (a trial's is its share of a stack's), which is why only sums are kept.
    """

    def __init__(self, plan: Plan, tallies: Mapping[Shape, Tally]):
        self.index = {shape: i for i, shape in enumerate(tallies)}
        self.done = np.array([tally.done for tally in tallies.values()], float)
        self.seconds = np.array([tally.seconds for tally in tallies.values()], float)
        known = {spec.label: (place, spec) for place, spec in enumerate(plan.backbones)}
        parts = []
        for shape in tallies:
            spec = known[shape.backbone][1]
            value = VALUE_SECONDS.get(spec.name, LARGE_VALUE_SECONDS)
            parts.append(np.multiply(shape.amounts(spec.depth), (UNIT_SECONDS, STEP_SECONDS, value, FORWARD * value)))
        self._parts = np.reshape(parts, (-1, 4))
        self._backbone = np.array([known[shape.backbone][0] for shape in tallies], int)
        self._lanes = np.array([shape.lanes for shape in tallies], int)

    def add(self, shape: Shape, seconds: float) -> None:
        """Take in a unit that is done."""
        self.done[self.index[shape]] += 1
        self.seconds[self.index[shape]] += seconds

    @property
    def measured(self) -> np.ndarray:
        """Which shapes have times of their own: bool array, shape (shapes,)."""
        return self.done > 0

    @property
    def predicted(self) -> np.ndarray:
        """Which have none, while others of their backbone do: bool array, shape (shapes,)."""
        return ~self.measured & np.isin(self._backbone, self._backbone[self.measured])

    def lane_seconds(self) -> np.ndarray:
        """Return the seconds of one lane of a stack: measured, predicted or guessed, shape (shapes,)."""
        seconds, measured = self._parts.sum(axis=1), self.measured
        paid = self._paid(self.done)
        for backbone in np.unique(self._backbone[self.predicted]):
            mine = self._backbone == backbone
            seen = mine & measured
            each = self.seconds[seen] / paid[seen]
            seconds[mine] = self._parts[mine] @ _factors(self._parts[seen], each, paid[seen])
        seconds[measured] = self.seconds[measured] / paid[measured]
        return seconds

    def total(self, units: np.ndarray) -> np.ndarray:
        """Return the seconds that so many units of each shape take in all, shape (shapes,)."""
        return self._paid(units) * self.lane_seconds()

    def _paid(self, units: np.ndarray) -> np.ndarray:
        """Return the lanes that units take up, those that stay empty in the last stack among them."""
        return self._lanes * np.ceil(units / self._lanes)


def _factors(parts: np.ndarray, seconds: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Fit how many times its guess each part of the cost takes.

    Least squares of errors relative to the guess, with no factor below zero: more steps or examples are
    then never cheaper. That all factors are the same counts as one unit more, so that a single measured
    shape scales the guess and many overrule it.

    Parameters
    ----------
    parts : array, shape (shapes, 4)
        The guess in seconds.
    seconds, weight : array, shape (shapes,)
        Of one unit, and how many they are the mean of.

    Returns
    -------
    array, shape (4,)
    """
    from scipy.optimize import nnls

    guess = parts.sum(axis=1)
    overall = (weight @ seconds) / (weight @ guess)
    scale = np.sqrt(weight) / guess
    rows = np.vstack([parts * scale[:, None], np.eye(4)])
    return nnls(rows, np.append(seconds * scale, np.full(4, overall)))[0]
