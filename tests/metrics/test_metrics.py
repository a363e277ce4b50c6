"""Every built-in metric against a formula written down anew, and what holds of all of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.metrics.base import MULTI, REGRESSION, SINGLE, Truth, of_kind
from bench.registry import METRICS


def score(name: str, truth: Truth) -> float:
    return METRICS.get(name).function().score(truth)


def by_class(name: str, truth: Truth) -> np.ndarray:
    return METRICS.get(name).function().per_class(truth)


def single(rng: np.random.Generator, n: int = 60, classes: int = 3, shares: tuple[float, ...] | None = None) -> Truth:
    y = rng.choice(classes, n, p=shares)
    logits = rng.standard_normal((n, classes)) + 1.5 * (y[:, None] == np.arange(classes))
    scores = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return Truth(y, scores.argmax(axis=1), scores, tuple("abcdef"[:classes]))


def multi(rng: np.random.Generator, n: int = 60, labels: int = 3, density: float = 0.3) -> Truth:
    y = rng.random((n, labels)) < density
    p = 1 / (1 + np.exp(-(rng.standard_normal(y.shape) + 2 * y - 1)))
    return Truth(y, p > 0.5, np.log(p), tuple("abcdef"[:labels]))


def regression(rng: np.random.Generator, n: int = 60, values: int | None = None) -> Truth:
    y = rng.standard_normal(n if values is None else (n, values)) * 3 + 10
    predicted = y + rng.standard_normal(y.shape)
    return Truth(y, predicted, predicted, tuple("abcdef"[: values or 1]))


MADE = {SINGLE: single, MULTI: multi, REGRESSION: regression}
CASES = [(kind, name) for kind in MADE for name in of_kind(kind)]


# --- formulas, written down anew -----------------------------------------------------------------------


def pairs_in_order(scores: np.ndarray, there: np.ndarray) -> float:
    """Share of (positive, negative) pairs with the positive ahead; ties count half (Mann and Whitney)."""
    found = [(p > q) + 0.5 * (p == q) for p, q in itertools.product(scores[there], scores[~there])]
    return float(np.mean(found))


def area_in_steps(scores: np.ndarray, there: np.ndarray) -> float:
    """Sum of (recall_n - recall_{n-1}) precision_n down the ranking."""
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = scores >= threshold
        hits = (chosen & there).sum()
        total += (hits / there.sum() - recall) * hits / chosen.sum()
        recall = hits / there.sum()
    return total


def f1(there: np.ndarray, said: np.ndarray) -> float:
    hits = (there & said).sum()
    if not hits:
        return 0.0
    precision, recall = hits / said.sum(), hits / there.sum()
    return 2 * precision * recall / (precision + recall)


def test_the_single_label_ones_are_what_their_formulas_say():
    truth = single(np.random.default_rng(0))
    y, said, p = truth.targets, truth.predicted, np.exp(truth.scores)
    right = y == said
    assert score("accuracy", truth) == right.mean()
    recalls = [right[y == k].mean() for k in range(3)]
    assert score("balanced-accuracy", truth) == pytest.approx(np.mean(recalls), abs=1e-12)
    assert by_class("balanced-accuracy", truth) == pytest.approx(recalls, abs=1e-12)
    expected = [f1(y == k, said == k) for k in range(3)]
    assert score("macro-f1", truth) == pytest.approx(np.mean(expected), abs=1e-12)
    areas = [pairs_in_order(p[:, k], y == k) for k in range(3)]
    assert score("auroc", truth) == pytest.approx(np.mean(areas), abs=1e-12)
    assert by_class("auroc", truth) == pytest.approx(areas, abs=1e-12)
    assert score("log-loss", truth) == pytest.approx(np.mean([np.log(p[i, y[i]]) for i in range(60)]), abs=1e-12)
    confidence, error = p.max(axis=1), 0.0
    for low in range(15):
        chosen = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if chosen.any():
            error += chosen.mean() * abs(right[chosen].mean() - confidence[chosen].mean())
    assert score("expected-calibration-error", truth) == pytest.approx(-error, abs=1e-12)


def test_the_multi_label_ones_are_what_their_formulas_say():
    truth = multi(np.random.default_rng(1))
    y, said, p = truth.targets, truth.predicted, np.exp(truth.scores)
    assert score("accuracy", truth) == np.mean([list(a) == list(b) for a, b in zip(y, said, strict=True)])
    assert score("macro-f1", truth) == pytest.approx(np.mean([f1(y[:, k], said[:, k]) for k in range(3)]), abs=1e-12)
    areas = [pairs_in_order(p[:, k], y[:, k]) for k in range(3)]
    assert score("auroc", truth) == pytest.approx(np.mean(areas), abs=1e-12)
    losses = np.where(y, -np.log(p), -np.log(1 - p))
    assert score("log-loss", truth) == pytest.approx(-losses.mean(), abs=1e-9)
    precisions = [area_in_steps(p[:, k], y[:, k]) for k in range(3)]
    assert score("mean-average-precision", truth) == pytest.approx(np.mean(precisions), abs=1e-12)
    assert by_class("mean-average-precision", truth) == pytest.approx(precisions, abs=1e-12)


@pytest.mark.parametrize("values", [None, 2])
def test_those_of_regression_are_what_their_formulas_say(values):
    truth = regression(np.random.default_rng(2), values=values)
    y, said = truth.columns, truth.predicted_columns
    assert score("mae", truth) == pytest.approx(-np.abs(y - said).mean(), abs=1e-12)
    left = ((y - said) ** 2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    assert score("r2", truth) == pytest.approx(np.mean(1 - left), abs=1e-12)
    assert by_class("r2", truth) == pytest.approx(1 - left, abs=1e-12)


# --- what holds of all ---------------------------------------------------------------------------------


def reordered(truth: Truth, order: np.ndarray) -> Truth:
    return Truth(truth.targets[order], truth.predicted[order], truth.scores[order], truth.classes)


def renamed(truth: Truth, order: np.ndarray) -> Truth:
    """The same test set with its classes, labels or values in another order."""
    classes = tuple(truth.classes[k] for k in order)
    if truth.targets.ndim == 2:
        return Truth(truth.targets[:, order], truth.predicted[:, order], truth.scores[:, order], classes)
    if truth.scores.ndim == 1:
        return truth
    place = np.argsort(order)
    return Truth(place[truth.targets], place[truth.predicted], truth.scores[:, order], classes)


@pytest.mark.parametrize(("kind", "name"), CASES)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), n=st.integers(8, 40))
def test_neither_the_order_of_examples_nor_that_of_classes_matters(kind, name, seed, n):
    rng = np.random.default_rng(seed)
    truth = MADE[kind](rng, n)
    value = score(name, truth)
    order = rng.permutation(n)
    assert score(name, reordered(truth, order)) == pytest.approx(value, abs=1e-12, nan_ok=True)
    assert score(name, renamed(truth, rng.permutation(len(truth.classes)))) == pytest.approx(
        value, abs=1e-12, nan_ok=True
    )


@pytest.mark.parametrize(("kind", "name"), CASES)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31))
def test_bounds_and_the_best_that_there_is(kind, name, seed):
    truth = MADE[kind](np.random.default_rng(seed), 20)
    value = score(name, truth)
    if np.isnan(value):
        assert METRICS.get(name).function().undefined(truth.targets, truth.classes)
        return
    low, high = {"r2": (-np.inf, 1), "mae": (-np.inf, 0), "log-loss": (-np.inf, 0)}.get(name, (0, 1))
    if name == "expected-calibration-error":
        low, high = -1, 0
    assert low <= value <= high
    sure = np.where(truth.columns, 0.0, -60.0) if kind != REGRESSION else truth.targets
    perfect = Truth(truth.targets, truth.targets, sure, truth.classes)
    assert score(name, perfect) == pytest.approx(high, abs=1e-12)
    assert METRICS.get(name).meta["bounded"] == np.isfinite([low, high]).all()


def test_rare_classes_count_as_much_as_frequent_ones():
    y = np.array([0] * 95 + [1] * 5)
    none = Truth(y, np.zeros(100, int), np.log(np.tile([0.95, 0.05], (100, 1))), ("healthy", "ill"))
    assert score("accuracy", none) == 0.95
    assert score("balanced-accuracy", none) == 0.5
    assert score("auroc", none) == 0.5
    assert score("macro-f1", none) == pytest.approx(0.5 * 2 * 0.95 / 1.95)


def test_auroc_tells_examples_apart_that_are_all_but_sure():
    # In float32, both of these probabilities of the first class are 1.
    scores = np.array([[0.0, -30.0], [0.0, -40.0], [0.0, -35.0]], dtype=np.float32)
    truth = Truth(np.array([1, 0, 0]), np.zeros(3, int), scores, ("a", "b"))
    assert score("auroc", truth) == 1.0


@pytest.mark.parametrize(
    ("name", "targets", "classes", "why"),
    [
        ("auroc", np.zeros(5, int), ("a", "b"), 'every test example is of class "a"'),
        ("auroc", np.ones((5, 2), bool), ("a", "b"), "each label has all test examples or none"),
        ("mean-average-precision", np.zeros((5, 2), bool), ("a", "b"), "no test example has any label"),
        ("macro-f1", np.zeros((5, 2), bool), ("a", "b"), "no test example has any label"),
        ("r2", np.full(5, 2.0), ("age",), '"age" is the same for every test example'),
        ("r2", np.array([2.0]), ("age",), "it needs two test examples, there are 1"),
    ],
)
def test_what_cannot_be_judged_is_said_of_the_targets_alone(name, targets, classes, why):
    assert METRICS.get(name).function().undefined(targets, classes) == why


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_model_that_diverged_has_no_score_that_reads_its_probabilities(kind, name):
    truth = MADE[kind](np.random.default_rng(0))
    broken = Truth(truth.targets, truth.predicted, np.full_like(truth.scores, np.nan), truth.classes)
    if name not in ("accuracy", "balanced-accuracy", "macro-f1"):
        assert np.isnan(score(name, broken))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), digits=st.integers(0, 3))
def test_areas_are_scikit_learn_s_with_ties_too(seed, digits):
    from sklearn.metrics import roc_auc_score

    truth = multi(np.random.default_rng(seed), 30)
    tied = Truth(truth.targets, truth.predicted, np.round(truth.scores, digits), truth.classes)
    for k, value in enumerate(by_class("auroc", tied)):
        there = tied.targets[:, k]
        if there.any() and not there.all():
            assert value == pytest.approx(roc_auc_score(there, tied.scores[:, k]), abs=1e-12)
        else:
            assert np.isnan(value)
