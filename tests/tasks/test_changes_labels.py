import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.registry import CHANGES
from bench.tasks.base import Task
from bench.tasks.changes_labels import derangement

quick = settings(deadline=None, max_examples=40)
sizes = st.integers(20, 120)
counts = st.integers(2, 7)
seeds = st.integers(0, 2**32 - 1)
shares = st.floats(0, 1)


def table(n, n_classes, seed=0, **parts):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % n_classes)
    y_test = np.arange(n_classes * 3) % n_classes
    x, x_test = rng.normal(size=(n, 3)), rng.normal(size=(len(y_test), 3))
    return Task(x, y, [f"c{i}" for i in range(n_classes)], x_test, y_test, **parts)


def apply(name, task, stream=0, /, **arguments):
    return CHANGES.get(name).function(task, np.random.default_rng(stream), **arguments)


def assert_only_labels_changed(before, after):
    np.testing.assert_array_equal(after.x, before.x)
    np.testing.assert_array_equal(after.x_test, before.x_test)
    np.testing.assert_array_equal(after.y_test, before.y_test)
    assert after.classes == before.classes


@quick
@given(n=sizes, n_classes=counts, seed=seeds, rate=shares, kind=st.sampled_from(["uniform", "flip", "permuted"]))
def test_label_noise_hits_its_rate_and_flags_what_it_hit(n, n_classes, seed, rate, kind):
    before = table(n, n_classes)
    after = apply("label_noise", before, seed, rate=rate, kind=kind)
    assert_only_labels_changed(before, after)
    np.testing.assert_array_equal(after.harmful, after.y != before.y)
    assert after.harmful.sum() == round(rate * n)
    for label in range(n_classes):
        members = before.y == label
        assert abs(after.harmful[members].sum() - rate * members.sum()) <= 1.5


@quick
@given(n_classes=counts, seed=seeds, rate=shares)
def test_flip_goes_to_the_next_class(n_classes, seed, rate):
    before = table(60, n_classes)
    after = apply("label_noise", before, seed, rate=rate, kind="flip")
    np.testing.assert_array_equal(after.y[after.harmful], (before.y[after.harmful] + 1) % n_classes)


@quick
@given(n_classes=counts, seed=seeds, rate=shares)
def test_permuted_is_one_wrong_class_for_each(n_classes, seed, rate):
    before = table(60, n_classes)
    after = apply("label_noise", before, seed, rate=rate, kind="permuted")
    pairs = set(zip(before.y[after.harmful].tolist(), after.y[after.harmful].tolist(), strict=True))
    assert len(pairs) == len({old for old, _ in pairs}) == len({new for _, new in pairs})
    assert all(old != new for old, new in pairs)


def test_uniform_noise_reaches_every_other_class_alike():
    before = table(9000, 4)
    after = apply("label_noise", before, rate=0.5)
    for label in range(4):
        to = np.bincount(after.y[after.harmful & (before.y == label)], minlength=4)
        assert to[label] == 0
        np.testing.assert_allclose(np.delete(to, label), 375, atol=80)


def test_label_noise_differs_with_the_generator_and_repeats_with_it():
    task = table(100, 5)
    first, again, other = (apply("label_noise", task, seed, rate=0.5) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint


@quick
@given(n=sizes, n_classes=counts, seed=seeds, share=shares)
def test_shuffled_labels_keep_the_counts_and_flag_what_changed(n, n_classes, seed, share):
    before = table(n, n_classes)
    after = apply("shuffled_labels", before, seed, share=share)
    assert_only_labels_changed(before, after)
    np.testing.assert_array_equal(np.bincount(after.y), np.bincount(before.y))
    np.testing.assert_array_equal(after.harmful, after.y != before.y)
    assert after.harmful.sum() <= round(share * n)


def test_shuffled_labels_are_right_by_chance_only():
    before = table(5000, 5)
    assert apply("shuffled_labels", before).harmful.mean() == pytest.approx(0.8, abs=0.03)


@quick
@given(n=sizes, n_classes=counts, seed=seeds)
def test_swapped_labels_exchange_two_classes_and_flag_them(n, n_classes, seed):
    before = table(n, n_classes, seed)
    after = apply("swapped_labels", before, first="c0", second="c1")
    assert_only_labels_changed(before, after)
    other = np.array([1, 0, *range(2, n_classes)])
    np.testing.assert_array_equal(after.y, other[before.y])
    np.testing.assert_array_equal(after.flags(), before.y < 2)


@quick
@given(n=st.integers(2, 50), seed=seeds)
def test_a_derangement_is_a_bijection_without_fixed_points(n, seed):
    found = derangement(n, np.random.default_rng(seed))
    assert sorted(found) == list(range(n))
    assert (found != np.arange(n)).all()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("label_noise", {"rate": 0.3}),
        ("shuffled_labels", {"share": 0.5}),
        ("swapped_labels", {"first": "c1", "second": "c2"}),
    ],
)
def test_earlier_flags_and_domains_stay(name, arguments):
    harmful = np.arange(40) % 4 == 0
    domains = np.arange(40) % 3
    before = table(40, 4, harmful=harmful, domains=domains)
    after = apply(name, before, **arguments)
    np.testing.assert_array_equal(after.harmful, harmful | (after.y != before.y))
    assert (after.harmful & ~harmful).any()
    np.testing.assert_array_equal(after.domains, domains)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("label_noise", {"rate": 1.2}, "rate must be a number from 0 to 1; got 1.2"),
        ("label_noise", {"rate": True}, "rate must be a number"),
        ("label_noise", {"rate": 0.4, "kind": "unifrom"}, 'did you mean "uniform"'),
        ("shuffled_labels", {"share": -0.1}, "share must be a number from 0 to 1"),
        ("swapped_labels", {"first": "c0", "second": "c7"}, 'second.*"c7"'),
        ("swapped_labels", {"first": "c1", "second": "c1"}, 'both "c1"'),
    ],
)
def test_impossible_arguments(name, arguments, message):
    with pytest.raises(BenchError, match=message):
        apply(name, table(20, 2), **arguments)
