"""Solved heads are scikit-learn's, to the tolerance; lanes, caps and odd features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.heads.base import head_of
from bench.training import solver
from bench.training.solver import TOLERANCE, solve

SINGLE, MULTI, REGRESSION = (head_of(kind).loss for kind in ("single-label", "multi-label", "regression"))
STRENGTHS = (1e-2, 5.0, 0.5)  # in no order


def features(lanes: int = 3, n: int = 60, d: int = 12, seed: int = 0) -> torch.Tensor:
    """Features as networks give them: correlated, of very different spread, none below 0, one of them dead."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((lanes, n, d), generator=generator) @ torch.randn((d, d), generator=generator)
    x = (x * torch.logspace(0, -2, d) + 1).relu()
    x[:, :, 3] = 0.0
    return x


def classes(x: torch.Tensor, k: int = 4, seed: int = 1) -> torch.Tensor:
    """Noisy labels, each class among them."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn((x.shape[2], k), generator=generator)
    y = (x @ weight + torch.randn((*x.shape[:2], k), generator=generator)).argmax(2)
    y[:, :k] = torch.arange(k)
    return y


def in_units(x: torch.Tensor) -> np.ndarray:
    """One lane's features in the units of the penalty: centred, of mean squared length 1."""
    x = x.double().numpy()
    x = x - x.mean(0)
    return x / np.sqrt((x**2).sum(1).mean())


def outputs(found: solver.Solved, x: torch.Tensor) -> torch.Tensor:
    return x.double() @ found.weight.transpose(1, 2) + found.bias.unsqueeze(1)


@pytest.mark.parametrize(("n", "d"), [(60, 12), (15, 40)])
def test_single_label_heads_have_the_probabilities_of_sklearns_logistic_regression(n, d):
    from sklearn.linear_model import LogisticRegression

    x = features(n=n, d=d)
    y = classes(x)
    for found, strength in zip(solve(x, y, 4, SINGLE, STRENGTHS), STRENGTHS, strict=True):
        assert found.strength == strength
        assert found.converged.all()
        assert (found.gradient <= TOLERANCE).all()
        for lane, probabilities in enumerate(outputs(found, x).softmax(2)):
            scaled = in_units(x[lane])
            model = LogisticRegression(C=1 / strength, tol=1e-8, max_iter=10_000).fit(scaled, y[lane])
            np.testing.assert_allclose(probabilities, model.predict_proba(scaled), atol=1e-4)


def test_multi_label_heads_are_one_logistic_regression_a_label():
    from sklearn.linear_model import LogisticRegression

    x = features()
    y = torch.stack([classes(x, 2, seed) for seed in (1, 2, 3)], 2).bool()
    (found,) = solve(x, y, 3, MULTI, [0.5])
    probabilities, scaled = outputs(found, x).sigmoid(), in_units(x[0])
    for label in range(3):
        # The loss is the mean over labels, so that each has a third of the weight beside the penalty.
        model = LogisticRegression(C=1 / (3 * 0.5), tol=1e-8, max_iter=10_000).fit(scaled, y[0, :, label])
        np.testing.assert_allclose(probabilities[0, :, label], model.predict_proba(scaled)[:, 1], atol=1e-4)


def test_heads_of_a_regression_are_sklearns_ridge():
    from sklearn.linear_model import Ridge

    x = features()
    y = 100 + 20 * (x[:, :, :2].double() + features(seed=5)[:, :, :2].double())
    for found, strength in zip(solve(x, y, 2, REGRESSION, STRENGTHS), STRENGTHS, strict=True):
        scaled = in_units(x[0])
        # Half the squared error, the mean over examples and two values.
        model = Ridge(alpha=2 * strength).fit(scaled, y[0])
        np.testing.assert_allclose(outputs(found, x)[0], model.predict(scaled), rtol=1e-5)


def test_the_gradient_is_that_of_the_stated_objective():
    x = features(lanes=1)
    y = classes(x)
    (found,) = solve(x, y, 4, SINGLE, [0.5], tolerance=1e-8)
    scaled = torch.as_tensor(in_units(x[0]))
    scale = float((x[0].double() - x[0].double().mean(0)).square().sum(1).mean().sqrt())
    weight = (found.weight[0] * scale).requires_grad_()
    bias = (found.bias[0] + found.weight[0] @ x[0].double().mean(0)).requires_grad_()
    loss = torch.nn.functional.cross_entropy(scaled @ weight.T + bias, y[0])
    (loss + 0.5 / 60 / 2 * weight.square().sum()).backward()
    assert weight.grad.abs().max() < 1e-7
    assert bias.grad.abs().max() < 1e-7
    assert loss.item() == pytest.approx(float(found.loss[0]))


def test_separable_examples_and_a_tiny_penalty_end_at_the_cap_and_say_so():
    x = torch.tensor([[[0.0, 1.0], [0.1, 1.0], [5.0, 1.0], [5.1, 1.0]]])
    y = torch.tensor([[0, 0, 1, 1]])
    (found,) = solve(x, y, 2, SINGLE, [1e-12], tolerance=1e-13, most=15)
    assert not found.converged.any()
    assert found.iterations.tolist() == [15]
    assert outputs(found, x).argmax(2).tolist() == y.tolist()
    assert found.weight.isfinite().all()


def test_lanes_get_what_they_get_alone_and_whatever_their_company():
    x = features(lanes=4)
    y = classes(x)
    together = solve(x, y, 4, SINGLE, STRENGTHS)
    for lane in range(4):
        alone = solve(x[lane : lane + 1], y[lane : lane + 1], 4, SINGLE, STRENGTHS)
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(outputs(a, x)[lane].softmax(1), outputs(b, x[[lane]])[0].softmax(1), atol=1e-4)
    hard = torch.cat([x[:1], features(lanes=3, seed=9) * 1000])  # other companions, which need other numbers of steps
    others = solve(hard, torch.cat([y[:1], classes(hard[1:], seed=4)]), 4, SINGLE, STRENGTHS)
    for a, b in zip(together, others, strict=True):
        assert torch.equal(a.weight[0], b.weight[0])
        assert torch.equal(a.bias[0], b.bias[0])


def test_large_features_are_solved_one_lane_at_a_time_to_the_same(monkeypatch):
    x = features()
    y = classes(x)
    together = solve(x, y, 4, SINGLE, STRENGTHS)
    monkeypatch.setattr(solver, "LARGE", 1)
    monkeypatch.setattr(solver, "_WIDE", 1)  # nor are they turned to their axes
    for a, b in zip(together, solve(x, y, 4, SINGLE, STRENGTHS), strict=True):
        assert b.weight.shape == a.weight.shape
        assert b.converged.shape == a.converged.shape
        np.testing.assert_allclose(outputs(a, x).softmax(2), outputs(b, x).softmax(2), atol=1e-4)


def test_the_same_lanes_give_the_same_bits():
    x = features()
    y = classes(x)
    for a, b in zip(solve(x, y, 4, SINGLE, STRENGTHS), solve(x, y, 4, SINGLE, STRENGTHS), strict=True):
        assert torch.equal(a.weight, b.weight)


def test_each_solution_starts_from_that_of_the_next_stronger_penalty():
    x = features()
    y = classes(x)
    known = solve(x, y, 4, SINGLE, [1e-2, 1.05e-2])[0]
    anew = solve(x, y, 4, SINGLE, [1e-2])[0]
    assert (1.5 * known.iterations < anew.iterations).all()


def test_strength_has_the_same_meaning_whatever_the_features_unit_and_place():
    x = features(lanes=1)
    y = classes(x)
    moved = x * 1000 + 50
    for a, b in zip(solve(x, y, 4, SINGLE, STRENGTHS), solve(moved, y, 4, SINGLE, STRENGTHS), strict=True):
        np.testing.assert_allclose(outputs(a, x).softmax(2), outputs(b, moved).softmax(2), atol=1e-3)


def test_features_that_are_all_the_same_give_the_shares_of_the_classes():
    x, y = torch.ones((2, 5, 3)), torch.tensor([[0, 0, 0, 1, 2]] * 2)
    (found,) = solve(x, y, 3, SINGLE, [0.5])
    np.testing.assert_allclose(outputs(found, x).softmax(2)[0, 0], [0.6, 0.2, 0.2], atol=1e-5)
    assert found.converged.all()


def test_a_lane_whose_features_are_not_finite_has_no_head_and_spoils_no_other():
    x = features()
    y = classes(x)
    (good,) = solve(x, y, 4, SINGLE, [0.5])
    x[1, 0, 0] = torch.nan
    (found,) = solve(x, y, 4, SINGLE, [0.5])
    assert found.converged.tolist() == [True, False, True]
    assert not found.weight[1].isfinite().any()
    assert torch.equal(found.weight[[0, 2]], good.weight[[0, 2]])


def test_curvature_of_many_outputs_stands_for_neighbours(monkeypatch):
    x = features()
    y = classes(x)
    (known,) = solve(x, y, 4, SINGLE, [0.5])
    monkeypatch.setattr(solver, "_COLUMNS", 2)
    (found,) = solve(x, y, 4, SINGLE, [0.5])
    assert found.converged.all()
    np.testing.assert_allclose(outputs(found, x).softmax(2), outputs(known, x).softmax(2), atol=1e-4)
