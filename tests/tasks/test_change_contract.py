"""The contract of changes: the built-in ones keep it, and each breach is said."""

from __future__ import annotations

import numpy as np
import pytest

from bench.errors import DataError
from bench.registry import CHANGES, Entry
from bench.tasks.contract import check_task
from bench.tasks.contract_change import EXAMPLES, check_change, example_task
from bench.tasks.index_changes import BUILTIN


def entry(function, **meta):
    return Entry("change", "mine", function, given=2, meta=meta)


@pytest.mark.parametrize("image", [True, False])
def test_the_example_is_itself_a_sound_task(image):
    assert check_task(lambda: example_task(image=image)) == []


@pytest.mark.parametrize("name", BUILTIN)
def test_built_in_changes_keep_it(name):
    assert check_change(CHANGES.get(name), EXAMPLES.get(name)) == []


def in_place(task, rng):
    task.y[:2] = task.y[:2][::-1]
    return task


def forgets(task, rng):
    return task.changed(harmful=np.arange(len(task.y)) == 5)


def own_chance(task, rng):
    return task.changed(y=np.random.default_rng().permutation(task.y))


def refuses(task, rng):
    raise DataError("never")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (in_place, "on images: changes the task that it is given in place"),
        (forgets, "drops harm flags that were planted before"),
        (own_chance, "two calls with the same random numbers differ"),
        (refuses, "works on neither images nor tables: never"),
        (lambda task, rng: task.x, "must return a bench.Task, but returned ndarray"),
        (lambda task, rng: 1 / 0, "on tables: ZeroDivisionError"),
        (lambda task, rng, much: task, 'needs the argument "much"'),
    ],
)
def test_each_breach_is_said(function, said):
    assert any(said in problem for problem in check_change(entry(function)))


def test_a_change_may_be_for_images_alone():
    def images(task, rng):
        if not task.is_image:
            raise DataError("images only")
        return task.changed(x=255 - task.x)

    assert check_change(entry(images)) == []


def test_arguments_that_are_tasks_are_filled_in():
    def takes(task, rng, other):
        return task.changed(x=np.where(task.y.reshape(-1, *[1] * (task.x.ndim - 1)) == 0, other.x, task.x))

    assert check_change(entry(takes, tasks=("other",))) == []
