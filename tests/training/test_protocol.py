"""The six points of the protocol, as far as they concern who sees which example when."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import DataError
from bench.suite.model import Recipe
from bench.tasks.base import stratified_order
from bench.training.protocol import Pool, batch_order, pool_order, reading_order, split_pool

CLASSES = tuple("abcdefghij")
LABELS = np.random.default_rng(0).integers(0, 10, 500)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 60), min_size=2, max_size=8), st.integers(0, 2**32 - 1))
def test_every_prefix_of_the_pool_is_stratified(counts, seed):
    y = np.repeat(np.arange(len(counts)), counts)
    order = stratified_order(y, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(y)))
    share = np.array(counts) / len(y)
    for n in range(1, len(y) + 1):
        got = np.bincount(y[order[:n]], minlength=len(counts))
        # Each class holds its share, to within one example and the rounding of the others.
        assert np.all(np.abs(got - share * n) <= 1 + np.sum(share > 0) * share + 1e-9)


def test_sizes_are_nested():
    order = pool_order(LABELS, "target", 3)
    extra = Recipe(validation="extra", validation_size=30)
    small = split_pool(Pool(LABELS), "target", 40, 3, extra, CLASSES)
    large = split_pool(Pool(LABELS), "target", 100, 3, extra, CLASSES)
    assert set(small.train) < set(large.train)
    assert list(small.train) == list(order[:40])


@pytest.mark.parametrize("size", [20, 25, 40, 100, 500])
def test_validation_is_cut_from_the_labelled_examples_alone(size):
    split = split_pool(Pool(LABELS), "target", size, 0, Recipe(validation_share=0.2), CLASSES)
    together = np.concatenate([split.train, split.validation])
    assert sorted(together) == sorted(pool_order(LABELS, "target", 0)[:size])
    assert len(split.validation) == round(0.2 * size)
    assert set(LABELS[split.train]) == set(range(10))


def test_extra_validation_lies_outside_the_labelled_examples():
    recipe = Recipe(validation="extra", validation_size=50)
    split = split_pool(Pool(LABELS), "target", 60, 1, recipe, CLASSES)
    assert len(split.train) == 60
    assert len(split.validation) == 50
    assert not set(split.train) & set(split.validation)
    assert recipe.validation_label == "extra 50"


GROUPS = np.random.default_rng(1).integers(0, 60, 500)


@settings(deadline=None, max_examples=40)
@given(st.integers(40, 400), st.integers(0, 50), st.integers(20, 120))
def test_no_cut_tears_a_group_apart(size, seed, groups):
    pool = Pool(LABELS % 3, np.random.default_rng(seed).integers(0, groups, 500))
    split = split_pool(pool, "target", size, seed, Recipe(validation_share=0.2), tuple("abc"))
    together = np.concatenate([split.train, split.validation])
    assert sorted(together) == sorted(pool_order(LABELS % 3, "target", seed)[:size])
    assert not set(pool.groups[split.train]) & set(pool.groups[split.validation])
    largest = np.bincount(pool.groups[together]).max()
    assert abs(len(split.validation) - 0.2 * size) <= max(largest, 1) + 0.5
    assert set(pool.y[split.train]) == {0, 1, 2}


def test_sizes_stay_nested_and_further_validation_is_of_other_groups():
    extra = Recipe(validation="extra", validation_size=30)
    split = split_pool(Pool(LABELS, GROUPS), "target", 40, 3, extra, CLASSES)
    assert list(split.train) == list(pool_order(LABELS, "target", 3)[:40])
    assert len(split.validation) == 30
    assert not set(GROUPS[split.train]) & set(GROUPS[split.validation])
    with pytest.raises(DataError, match=r"30 for validation: the pool has 500 examples, \d+ of them in groups that"):
        split_pool(Pool(LABELS, GROUPS), "target", 300, 3, extra, CLASSES)
    order, count = reading_order(pool_order(LABELS, "target", 3), split, 40, 0)
    assert set(split.validation) <= set(order[:count])


def test_groups_that_leave_nothing_to_validate_on_are_an_error():
    pool = Pool(np.repeat([0, 1], 20), np.repeat([5, 9], 20))
    with pytest.raises(DataError, match="40 labelled examples of 2 groups leave no whole group for validation"):
        split_pool(pool, "t", 40, 0, Recipe(), ("a", "b"))


def test_a_given_validation_split_lies_behind_the_pool():
    recipe = Recipe(validation="given")
    split = split_pool(Pool(LABELS, given=7), "target", 60, 1, recipe, CLASSES)
    assert list(split.train) == list(pool_order(LABELS, "target", 1)[:60])
    assert split.validation.tolist() == list(range(500, 507))
    order, count = reading_order(pool_order(LABELS, "target", 1), split, 60, 7)
    assert set(order[:count]) == set(split.train) | set(split.validation)
    with pytest.raises(DataError, match='validation = "given", but the data come without'):
        split_pool(Pool(LABELS), "target", 60, 1, recipe, CLASSES)


def test_seeds_and_targets_give_other_subsamples():
    orders = [tuple(pool_order(LABELS, *k)) for k in (("t", 0), ("t", 1), ("u", 0))]
    assert len(set(orders)) == 3


def test_a_class_without_a_training_example_is_said_with_its_name():
    y = np.array([0] * 95 + [1] * 5)
    with pytest.raises(DataError, match=r'size 4, seed 0: no training example of class "rare"'):
        split_pool(Pool(y), "t", 4, 0, Recipe(), ("common", "rare"))


def test_a_size_beyond_the_pool_is_said():
    with pytest.raises(DataError, match="size 900 is more than the train pool's 500"):
        split_pool(Pool(LABELS), "t", 900, 0, Recipe(), CLASSES)


def test_one_example_a_class_leaves_nothing_to_validate_on():
    y = np.arange(10).repeat(10)
    with pytest.raises(DataError, match="leave none for validation"):
        split_pool(Pool(y), "t", 10, 0, Recipe(), CLASSES)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 90), st.integers(1, 40), st.integers(1, 32))
def test_batches_visit_every_example_equally_often(n, steps, batch):
    order = batch_order(n, steps, batch, "t", 20, 0)
    if n <= batch:
        assert order is None
        return
    assert order.shape == (steps, batch)
    seen = np.bincount(order.ravel(), minlength=n)
    assert seen.max() - seen.min() <= 1


def test_batches_depend_on_what_they_belong_to_and_nothing_else():
    np.testing.assert_array_equal(batch_order(50, 10, 8, "t", 50, 1), batch_order(50, 10, 8, "t", 50, 1))
    assert not np.array_equal(batch_order(50, 10, 8, "t", 50, 1), batch_order(50, 10, 8, "t", 50, 2))
