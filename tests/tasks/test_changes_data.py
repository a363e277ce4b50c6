import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.registry import CHANGES, changed_classes
from bench.tasks.base import Task
from bench.tasks.index_changes import BUILTIN

quick = settings(deadline=None, max_examples=30)
seeds = st.integers(0, 2**31)
halves = ("first", "second")


def numbered(n=60, n_classes=5, seed=0, per_class=None):
    """A task whose inputs number its examples, so that each can be followed; flags and domains too."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(n_classes), per_class) if per_class else np.arange(n) % n_classes
    y = rng.permutation(y)
    n = len(y)
    y_test = np.arange(2 * n_classes) % n_classes
    return Task(
        np.arange(n, dtype=float)[:, None],
        y,
        [f"c{i}" for i in range(n_classes)],
        1000.0 + np.arange(len(y_test))[:, None],
        y_test,
        harmful=rng.uniform(size=n) < 0.3,
        domains=rng.integers(0, 3, n),
    )


def apply(name, task, stream=0, /, **arguments):
    return CHANGES.get(name).function(task, np.random.default_rng(stream), **arguments)


def assert_examples_kept_whole(before, after):
    """Each train example still has its class name, flag and domain, in the order before."""
    index = after.x[:, 0].astype(int)
    assert (np.diff(index) > 0).all()
    assert [after.classes[i] for i in after.y] == [before.classes[i] for i in before.y[index]]
    np.testing.assert_array_equal(after.harmful, before.harmful[index])
    np.testing.assert_array_equal(after.domains, before.domains[index])


def assert_test_set_untouched(before, after):
    np.testing.assert_array_equal(after.x_test, before.x_test)
    np.testing.assert_array_equal(after.y_test, before.y_test)
    assert after.classes == before.classes


@quick
@given(keep=st.lists(st.integers(0, 4), min_size=2, unique=True), by_name=st.booleans())
def test_a_subset_keeps_names_and_all_their_examples(keep, by_name):
    before = numbered()
    wanted = [before.classes[i] for i in keep]
    after = apply("classes", before, keep=wanted if by_name else keep)
    assert after.classes == tuple(wanted)
    assert_examples_kept_whole(before, after)
    assert len(after.y) == np.isin(before.y, keep).sum()
    test = after.x_test[:, 0].astype(int) - 1000
    assert [after.classes[i] for i in after.y_test] == [before.classes[i] for i in before.y_test[test]]
    assert len(test) == np.isin(before.y_test, keep).sum()


@quick
@given(n_classes=st.integers(4, 9), seed=st.none() | seeds)
def test_class_halves_are_complementary(n_classes, seed):
    task = numbered(n_classes=n_classes)
    first, second = (
        CHANGES.get("class_half").function(task, np.random.default_rng(i), half, seed) for i, half in enumerate(halves)
    )
    assert not set(first.classes) & set(second.classes)
    assert set(first.classes) | set(second.classes) == set(task.classes)
    assert 0 <= len(first.classes) - len(second.classes) <= 1
    if seed is None:
        assert first.classes == task.classes[: len(first.classes)]
    assert_examples_kept_whole(task, first)
    assert_examples_kept_whole(task, second)


def test_seeds_split_the_classes_differently():
    task = numbered(n_classes=10)
    found = {CHANGES.get("class_half").function(task, None, "first", seed).classes for seed in range(8)}
    assert len(found) > 4


@quick
@given(n=st.integers(10, 90), seed=seeds)
def test_example_halves_are_disjoint_and_stratified(n, seed):
    task = numbered(n=n)
    first, second = (
        CHANGES.get("example_half").function(task, np.random.default_rng(i), half, seed)
        for i, half in enumerate(halves)
    )
    assert sorted(np.concatenate([first.x, second.x])[:, 0]) == list(range(n))
    assert 0 <= len(first.y) - len(second.y) <= 1
    counts = [np.bincount(part.y, minlength=5) for part in (first, second)]
    assert abs(counts[0] - counts[1]).max() <= 2
    for part in (first, second):
        assert_examples_kept_whole(task, part)
        assert_test_set_untouched(task, part)


@quick
@given(n=st.integers(20, 90), share=st.floats(0.1, 0.9), seed=seeds)
def test_unequal_parts_of_the_examples_are_disjoint_too(n, share, seed):
    task = numbered(n=n)
    first, second = (
        CHANGES.get("example_half").function(task, np.random.default_rng(0), half, seed, share) for half in halves
    )
    assert sorted(np.concatenate([first.x, second.x])[:, 0]) == list(range(n))
    assert abs(len(first.y) - share * n) <= 0.5
    counts, whole = (np.bincount(y, minlength=5) for y in (first.y, task.y))
    assert abs(counts - share * whole).max() <= 2


@quick
@given(limit=st.integers(5, 80), seed=seeds)
def test_size_limit_in_all(limit, seed):
    task = numbered()
    after = apply("size_limit", task, seed, examples=limit)
    assert len(after.y) == min(limit, 60)
    counts = np.bincount(after.y, minlength=5)
    assert counts.max() - counts.min() <= 1
    assert_examples_kept_whole(task, after)
    assert_test_set_untouched(task, after)


def test_size_limit_per_class():
    task = numbered(per_class=[2, 5, 9, 9, 20])
    after = apply("size_limit", task, per_class=6)
    assert np.bincount(after.y).tolist() == [2, 5, 6, 6, 6]
    assert_examples_kept_whole(task, after)
    assert_test_set_untouched(task, after)


@quick
@given(ratio=st.floats(1, 50), seed=seeds)
def test_imbalance_reaches_its_ratio(ratio, seed):
    task = numbered(per_class=[200] * 5)
    after = apply("imbalance", task, seed, ratio=ratio)
    counts = np.bincount(after.y)
    expected = 200 * ratio ** (-np.arange(5) / 4)
    assert abs(counts - expected).max() <= 0.5
    assert_examples_kept_whole(task, after)
    assert_test_set_untouched(task, after)


def test_imbalance_of_unequal_classes_is_as_large_as_the_data_allow():
    task = numbered(n_classes=3, per_class=[100, 10, 100])
    # The middle class allows 10 = n / 2, so the first has 20 and the last 5.
    assert np.bincount(apply("imbalance", task, ratio=4).y).tolist() == [20, 10, 5]


def test_imbalance_by_class():
    task = numbered(per_class=[40] * 5)
    after = apply("imbalance", task, shares={"c1": 0.25, "c4": 0.001})
    assert np.bincount(after.y).tolist() == [40, 10, 40, 40, 1]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("classes", {"keep": ["c1", "c22"]}, 'unknown class "c22"; did you mean "c2"'),
        ("classes", {"keep": [0, 5]}, r"index 5 is outside the 5 classes \(0 to 4\)"),
        ("classes", {"keep": [-1, 2]}, "index must be a whole number, 0 or more; got -1"),
        ("classes", {"keep": [1.5, 2]}, "index must be a whole number"),
        ("classes", {"keep": ["c1", 1]}, "given twice"),
        ("classes", {"keep": ["c1"]}, "at least two classes"),
        ("classes", {"keep": "c1"}, "give a list"),
        ("class_half", {"half": "frist"}, 'did you mean "first"'),
        ("example_half", {"half": "third"}, "unknown half of example_half"),
        ("example_half", {"share": 1.2}, "share must be a number from 0 to 1; got 1.2"),
        ("example_half", {"share": 0.001}, "share = 0.001 of 60 examples leaves a part without any"),
        ("size_limit", {}, "give examples or per_class"),
        ("size_limit", {"examples": 10, "per_class": 2}, "give examples or per_class"),
        ("size_limit", {"examples": 4}, "4 examples leave none of class"),
        ("size_limit", {"per_class": 0}, "per_class must be a whole number, 1 or more"),
        ("imbalance", {"ratio": 0.5}, "ratio must be a number of at least 1; got 0.5"),
        ("imbalance", {"shares": {"c9": 0.5}}, 'unknown class "c9"'),
        ("imbalance", {"shares": {"c1": 0}}, 'share 0 would remove class "c1"'),
        ("imbalance", {"shares": {"c1": 1.5}}, "c1 must be a number from 0 to 1"),
        ("imbalance", {}, "give ratio or shares"),
    ],
)
def test_impossible_arguments(name, arguments, message):
    with pytest.raises(BenchError, match=message):
        apply(name, numbered(), **arguments)


def test_too_few_classes_to_halve():
    with pytest.raises(BenchError, match="at least four classes"):
        apply("class_half", numbered(n_classes=3))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("classes", {"keep": ["c3", 0, 1]}),
        ("class_half", {}),
        ("class_half", {"half": "second", "seed": 4}),
        ("example_half", {}),
        ("label_noise", {"rate": 0.2}),
    ],
)
def test_class_names_after_a_change_are_known_without_the_data(name, arguments):
    before = numbered()
    assert changed_classes(name, before.classes, arguments) == apply(name, before, **arguments).classes


def test_every_builtin_change_registers():
    for name in BUILTIN:
        assert CHANGES.get(name).summary
    assert list(CHANGES.get("mix").parameters) == ["task", "share", "labels"]
