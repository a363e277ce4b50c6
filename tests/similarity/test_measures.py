"""Measures of similarity against other ways of computing them, and what they may look at."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

import bench
from bench.backbones.base import build
from bench.registry import MEASURES, load_plugin
from bench.similarity.base import SAMPLE, Undefined, View, measure_all
from bench.similarity.distances import Sample, frechet_distance, proxy_a_distance
from bench.similarity.scores import leep, leep_score
from bench.sources import LoadedSource
from bench.tasks.base import Task

CPU = torch.device("cpu")
SEEDS = st.integers(0, 2**32 - 1)
EVERY = ("proxy-a-distance", "frechet-distance", "leep")


def features(source, target):
    """A view of given features, for measures that look at nothing else."""
    return SimpleNamespace(source_features=np.asarray(source, float), target_features=np.asarray(target, float))


def gaussian(rng, n, d, shift=0.0):
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d) + shift


# LEEP


def slow_leep(probabilities, labels):
    """Nguyen et al. (2020), section 3, read aloud: steps 1 to 3 with a loop for every sum."""
    n, n_z = len(probabilities), len(probabilities[0])
    n_y = max(labels) + 1
    joint = [[0.0] * n_z for _ in range(n_y)]
    for i in range(n):
        for z in range(n_z):
            joint[labels[i]][z] += probabilities[i][z] / n  # P(y, z) = 1/n sum_{i: y_i = y} theta(x_i)_z
    marginal = [sum(joint[y][z] for y in range(n_y)) for z in range(n_z)]  # P(z)
    total = 0.0
    for i in range(n):
        expected = 0.0
        for z in range(n_z):
            if marginal[z]:
                expected += joint[labels[i]][z] / marginal[z] * probabilities[i][z]  # P(y_i | z) theta(x_i)_z
        total += math.log(expected)
    return total / n


@settings(max_examples=40, deadline=None, derandomize=True)
@given(SEEDS, st.integers(2, 30), st.integers(1, 5), st.integers(1, 4), st.floats(0.1, 10))
def test_leep_is_its_equations(seed, n, n_z, n_y, sharpness):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(n_z) / sharpness, n)
    labels = rng.integers(0, n_y, n)
    assert leep_score(probabilities, labels) == pytest.approx(slow_leep(probabilities.tolist(), labels.tolist()))


def test_leep_of_a_head_that_knows_is_zero_and_of_one_that_does_not_is_the_entropy():
    labels = np.arange(40) % 4
    assert leep_score(np.eye(4)[labels], labels) == pytest.approx(0)
    assert leep_score(np.eye(4)[(labels + 1) % 4], labels) == pytest.approx(0)  # another name for each class
    assert leep_score(np.full((40, 3), 1 / 3), labels) == pytest.approx(-math.log(4))


def test_leep_with_classes_that_the_head_never_predicts():
    probabilities = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert leep_score(probabilities, np.array([0, 1])) == pytest.approx(0)


# Fréchet


@settings(max_examples=30, deadline=None, derandomize=True)
@given(SEEDS, st.integers(1, 6), st.integers(10, 40))
def test_frechet_is_the_formula_with_the_matrix_square_root(seed, d, n):
    rng = np.random.default_rng(seed)
    a, b = gaussian(rng, n, d), gaussian(rng, n + 5, d)
    ca, cb = np.cov(a.T).reshape(d, d), np.cov(b.T).reshape(d, d)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(ca + cb - 2 * np.real(sqrtm(ca @ cb)))
    assert Sample(a).distance(Sample(b)) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def with_moments(rng, n, mean, std):
    """A sample with exactly these means and standard deviations, its columns uncorrelated."""
    x = rng.normal(size=(n, len(mean)))
    x -= x.mean(0)
    q, _ = np.linalg.qr(x)
    return q * np.sqrt(n - 1) * std + mean


def test_frechet_of_diagonal_gaussians_in_closed_form():
    rng = np.random.default_rng(0)
    m, s, k, t = np.array([0.0, 1, 2]), np.array([1.0, 2, 3]), np.array([1.0, 1, 4]), np.array([2.0, 0.5, 3])
    a, b = with_moments(rng, 50, m, s), with_moments(rng, 70, k, t)
    # W2 of diagonal Gaussians: |m - k|^2 + |s - t|^2 = (1 + 0 + 4) + (1 + 2.25 + 0).
    assert Sample(a).distance(Sample(b)) == pytest.approx(8.25)
    # As a measure: in units of the mean of both traces, 1 + 4 + 9 and 4 + 0.25 + 9, either way round.
    a, b = with_moments(rng, 4000, m, s), with_moments(rng, 4000, k, t)
    for found in (frechet_distance(features(a, b)), frechet_distance(features(b, a))):
        assert found.value == pytest.approx(8.25 / 13.625, abs=0.01)
        assert found.low < 8.25 / 13.625 < found.high


@settings(max_examples=30, deadline=None, derandomize=True)
@given(SEEDS, st.integers(1, 8), st.floats(-50, 50), st.floats(0.01, 100))
def test_frechet_is_a_distance_of_gaussians(seed, d, shift, scale):
    rng = np.random.default_rng(seed)
    a, b = gaussian(rng, 30, d), gaussian(rng, 30, d)
    size = np.trace(np.cov(a.T).reshape(d, d))
    assert Sample(a).distance(Sample(a)) == pytest.approx(0, abs=1e-6 * size)
    assert Sample(a).distance(Sample(b)) == pytest.approx(Sample(b).distance(Sample(a)), rel=1e-6)
    assert Sample(a).distance(Sample(a + shift)) == pytest.approx(d * shift**2, rel=1e-5, abs=1e-5 * size)
    assert Sample(a + shift).distance(Sample(b + shift)) == pytest.approx(Sample(a).distance(Sample(b)), rel=1e-5)
    both = frechet_distance(features(a * scale, b * scale))
    one = frechet_distance(features(a, b))
    assert both == pytest.approx(one, rel=1e-6, abs=1e-9)  # the unit of features has no part


def test_frechet_with_more_features_than_examples():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(10, 40)), rng.normal(size=(12, 40)) + 1
    expected = np.real(sqrtm(np.cov(a.T) @ np.cov(b.T)))
    whole = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * expected)
    assert Sample(a).distance(Sample(b)) == pytest.approx(whole, rel=1e-3)


# Proxy A-distance


def test_proxy_a_distance_of_one_distribution_is_near_zero_and_of_two_is_two():
    rng = np.random.default_rng(0)
    two = [features(rng.normal(size=(400, 20)), rng.normal(size=(300, 20))) for _ in range(5)]
    same = [proxy_a_distance(view).value for view in two]
    assert np.mean(same) < 0.15
    assert min(same) >= 0
    assert all(proxy_a_distance(view).low == 0 for view in two)
    apart = proxy_a_distance(features(rng.normal(size=(400, 20)), rng.normal(size=(300, 20)) + 10))
    assert apart.value == apart.high == 2
    assert 1.9 < apart.low < 2


def test_proxy_a_distance_is_the_error_of_the_best_line():
    """Two unit Gaussians at distance 2: no line errs less than Phi(-1), so the distance is 2 (1 - 2 Phi(-1))."""
    rng = np.random.default_rng(0)
    shift = np.array([2.0, 0, 0])
    found = proxy_a_distance(features(rng.normal(size=(3000, 3)), rng.normal(size=(3000, 3)) + shift))
    assert found.value == pytest.approx(2 * (1 - 2 * 0.158655), abs=0.05)
    assert found.low < 2 * (1 - 2 * 0.158655) < found.high


def test_proxy_a_distance_grows_with_the_gap_and_ignores_units_and_unequal_numbers():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(600, 5)), rng.normal(size=(600, 5))
    values = [proxy_a_distance(features(a, b + shift)).value for shift in (0, 0.3, 0.8, 1.5, 5)]
    assert values == sorted(values)
    units = np.array([1e-3, 1, 1e3, 1, 1])
    assert proxy_a_distance(features(a * units, (b + 0.3) * units)).value == pytest.approx(values[1], abs=0.02)
    # A classifier that always says "source" errs on few examples where targets are few, but tells nothing.
    assert proxy_a_distance(features(a, b[:60])).value < 0.35


# What a measure sees


def example(seed, classes=("a", "b", "c"), n=60, **parts):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % len(classes)
    x = np.clip(rng.normal(size=(n, 1, 4, 4)) * 0.1 + y[:, None, None, None] * 0.3, 0, 1).astype(np.float32)
    return Task(x, y, list(classes), x[: n // 2].copy(), y[: n // 2].copy(), name=f"task {seed}", **parts)


def view(source, target, classes=("x", "y")):
    network = build("mlp", target.shape, max(1, len(classes)), 0, 0, widths=[6]).eval().requires_grad_(False)
    return View(source, target, LoadedSource(network, tuple(classes), None), CPU)


def test_measures_see_train_pools_only():
    clean, _ = measure_all(EVERY, view(example(0), example(1)))
    assert all(value is not None for value in clean.values())
    poison = {"x_test": np.ones((30, 1, 4, 4), np.float32), "y_test": np.zeros(30, int)}
    source, target = example(0).changed(**poison), example(1).changed(**poison)
    for poisoned, whole in ((source, example(0)), (target, example(1))):
        assert poisoned.fingerprint != whole.fingerprint
        poisoned.__dict__["fingerprint"] = whole.fingerprint  # it orders the examples: that alone may differ
    assert measure_all(EVERY, view(source, target)) == (clean, {})


def test_large_pools_are_sampled_alike_for_every_measure():
    target = example(2, n=3 * SAMPLE)
    one = view(example(0), target)
    assert len(one.target_features) == len(one.target_labels) == len(one.target_probabilities) == SAMPLE
    counts = np.bincount(one.target_labels)
    assert counts.max() - counts.min() <= 3
    assert np.array_equal(view(example(0), target).target_labels, one.target_labels)
    np.testing.assert_allclose(one.target_probabilities.sum(1), 1)


def test_features_are_what_the_head_reads():
    one = view(example(0), example(1))
    network = one.model.network
    with torch.no_grad():
        x = network.prepare(torch.as_tensor(one.target.x[one.target_rows]))
        expected = network.run_blocks(x)
        probabilities = network.head(expected).softmax(1)
    np.testing.assert_allclose(one.target_features, expected.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(one.target_probabilities, probabilities.numpy(), rtol=1e-5, atol=1e-6)


def test_without_the_sources_data_only_scores_of_its_head_are_defined():
    values, failed = measure_all(EVERY, view(None, example(1)))
    assert not failed
    assert values["proxy_a_distance"] is None
    assert values["frechet_distance"] is None
    assert values["leep"] < 0
    with pytest.raises(Undefined, match="head"):
        leep(view(example(0), example(1), classes=()))


def test_what_is_not_finite_is_missing():
    MEASURES.register("endless", lambda view: math.inf)
    try:
        assert measure_all(["endless"], view(example(0), example(1))) == ({"endless": None}, {})
    finally:
        del MEASURES._entries["endless"]


# In the table


def test_nearer_sources_measure_nearer_and_a_measure_of_ones_own_gets_a_column(small_suite, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "import bench\n"
        "@bench.measure('mean-gap')\n"
        "def mean_gap(view):\n"
        "    '''Distance of the mean inputs.'''\n"
        "    return abs(view.source.x.mean() - view.target.x.mean()) / 255\n"
    )
    load_plugin(plugin)
    suite = {
        **small_suite, "seeds": 1, "target_sizes": [20], "strategies": ["feature-extraction"],
        "measures": [*EVERY, "mean-gap"], "plugins": [str(plugin)],
        "tasks": {
            "half": {"task": "digits", "example_half": "first"},
            "rest": {"task": "digits", "example_half": "second"},
            "inverted": {"task": "half", "inversion": True},
        },
        "pairs": [{"target": "rest", "sources": ["half", "inverted"]}],
    }  # fmt: skip
    rows = bench.run(suite, tmp_path / "out", jobs=0).dropna(subset="source").set_index("source")
    for name in ("proxy_a_distance", "frechet_distance", "mean_gap"):
        assert rows.loc["half", name] < rows.loc["inverted", name]
    assert rows.loc["half", "proxy_a_distance"] < 0.4
    assert rows.loc["inverted", "proxy_a_distance"] > 1.5
    again = bench.load_results(tmp_path / "out").dropna(subset="source").set_index("source")
    assert again.loc["half", "mean_gap"] == rows.loc["half", "mean_gap"]
