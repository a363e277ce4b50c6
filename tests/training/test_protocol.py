"""The six points of the protocol, as far as they concern who sees which example when."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import DataError
from bench.suite.model import Recipe
from bench.tasks.base import stratified_order
from bench.training.protocol import batch_order, pool_order, split_pool

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
    small = split_pool(LABELS, "target", 40, 3, extra, CLASSES)
    large = split_pool(LABELS, "target", 100, 3, extra, CLASSES)
    assert set(small.train) < set(large.train)
    assert list(small.train) == list(order[:40])


@pytest.mark.parametrize("size", [20, 25, 40, 100, 500])
def test_validation_is_cut_from_the_labelled_examples_alone(size):
    split = split_pool(LABELS, "target", size, 0, Recipe(validation_share=0.2), CLASSES)
    together = np.concatenate([split.train, split.validation])
    assert sorted(together) == sorted(pool_order(LABELS, "target", 0)[:size])
    assert len(split.validation) == round(0.2 * size)
    assert set(LABELS[split.train]) == set(range(10))


def test_extra_validation_lies_outside_the_labelled_examples():
    recipe = Recipe(validation="extra", validation_size=50)
    split = split_pool(LABELS, "target", 60, 1, recipe, CLASSES)
    assert len(split.train) == 60
    assert len(split.validation) == 50
    assert not set(split.train) & set(split.validation)
    assert recipe.validation_label == "extra 50"


def test_seeds_and_targets_give_other_subsamples():
    orders = [tuple(pool_order(LABELS, *k)) for k in (("t", 0), ("t", 1), ("u", 0))]
    assert len(set(orders)) == 3


def test_a_class_without_a_training_example_is_said_with_its_name():
    y = np.array([0] * 95 + [1] * 5)
    with pytest.raises(DataError, match=r'size 4, seed 0: no training example of class "rare"'):
        split_pool(y, "t", 4, 0, Recipe(), ("common", "rare"))


def test_a_size_beyond_the_pool_is_said():
    with pytest.raises(DataError, match="size 900 is more than the train pool's 500"):
        split_pool(LABELS, "t", 900, 0, Recipe(), CLASSES)


def test_one_example_a_class_leaves_nothing_to_validate_on():
    y = np.arange(10).repeat(10)
    with pytest.raises(DataError, match="leave none for validation"):
        split_pool(y, "t", 10, 0, Recipe(), CLASSES)


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
