"""Tables are standardised by one train pool: what differs between two tables is still there afterwards."""

import numpy as np
import pytest

from bench.errors import DataError
from bench.identity import digest_arrays, generator
from bench.registry import CHANGES
from bench.tasks.base import Task
from bench.tasks.build import card_of, read_task, save_task
from bench.tasks.standardise import standardise
from bench.trial import Card


def table(x, x_test=None, name="table", **parts):
    x = np.asarray(x)
    x_test = x if x_test is None else np.asarray(x_test)
    return Task(x, np.arange(len(x)) % 2, ["a", "b"], x_test, np.arange(len(x_test)) % 2, name=name, **parts)


def drawn(mean=(0.0, 5.0), spread=(1.0, 3.0), seed=0, **parts):
    rng = np.random.default_rng(seed)
    return table(rng.normal(mean, spread, (200, 2)), rng.normal(mean, spread, (50, 2)), **parts)


def test_a_shift_and_a_spread_survive_when_another_task_standardises():
    target, source = drawn(), drawn(mean=(2.0, 5.0), spread=(1.0, 6.0), seed=1)
    seen, other = standardise(target, target), standardise(source, target)
    assert np.allclose(seen.x.mean(0), 0, atol=1e-6)
    assert np.allclose(seen.x.std(0), 1, atol=1e-6)
    assert np.allclose(other.x, (source.x - target.x.mean(0)) / target.x.std(0), atol=1e-5)
    assert np.allclose(other.x_test, (source.x_test - target.x.mean(0)) / target.x.std(0), atol=1e-5)
    assert np.allclose(other.x.mean(0), [2, 0], atol=0.5)
    assert np.allclose(other.x.std(0), [1, 2], atol=0.3)
    assert other.x.dtype == other.x_test.dtype == np.float32


def test_the_test_set_and_labels_have_no_say():
    by = drawn()
    spoilt = by.changed(x_test=by.x_test * 100 + 7, y=1 - by.y)
    assert np.array_equal(standardise(by, by).x, standardise(by, spoilt).x)


def test_columns_that_are_constant_or_differ_by_rounding_become_zero_and_are_centred_elsewhere():
    x = np.stack([np.full(6, 3.7), np.where(np.arange(6) % 2, 0.3, 0.1 + 0.2), 1e9 + np.arange(6.0)], axis=1)
    by, other = table(x), table(x + np.array([1.0, 2.0, 3.0]))
    seen = standardise(by, by).x
    assert (seen[:, 0] == 0).all()
    assert np.allclose(seen[:, 1], 0, atol=1e-12)
    assert np.allclose(seen[:, 2], (np.arange(6) - 2.5) / np.arange(6).std())  # an offset costs no digits
    assert np.allclose(standardise(other, by).x[:, :2], [1.0, 2.0])


def test_columns_of_categories_stay_as_they_are():
    by = drawn(measured=[True, False])
    seen = standardise(drawn(seed=1), by)
    assert np.array_equal(seen.x[:, 1], drawn(seed=1).x[:, 1].astype(np.float32))
    assert not np.array_equal(seen.x[:, 0], drawn(seed=1).x[:, 0].astype(np.float32))


def test_a_table_larger_than_memory_gives_the_same_values(monkeypatch):
    want = standardise(drawn(seed=1), drawn())
    monkeypatch.setenv("NTBENCH_MEMORY", "1K")
    got = standardise(drawn(seed=1), drawn())
    assert isinstance(got.x.base, np.memmap) or isinstance(got.x, np.memmap)
    assert np.array_equal(got.x, want.x)


def test_a_value_beyond_float32_is_an_error():
    by = table(np.linspace(0, 1e-3, 20).reshape(10, 2))
    with pytest.raises(DataError, match="far, train set: input 0 has NaN or infinite"):
        standardise(table(np.full((10, 2), 1e38), name="far"), by)


def test_what_is_measured_goes_with_a_task(tmp_path):
    task = drawn(measured=[True, False])
    save_task(task, tmp_path / "task")
    for copy in (task.take(np.arange(10)), task.changed(version=3), read_task(tmp_path / "task")):
        assert copy.measured.tolist() == [True, False]
    assert Card.from_json(card_of(task).to_json()).measured == "10"
    permuted = CHANGES.get("pixel_permutation").function(task, generator("x"))
    assert permuted.measured.tolist() == [False, True]
    assert task.changed(x=task.x[:, :1], x_test=task.x_test[:, :1]).measured is None  # other columns
    with pytest.raises(DataError, match=r"measured has shape \(3,\)"):
        drawn(measured=[True] * 3)


def test_a_task_that_says_nothing_has_the_fingerprint_and_the_card_that_it_had():
    task = drawn()
    arrays = {part: getattr(task, part) for part in ("x", "y", "x_test", "y_test")}
    assert task.fingerprint == digest_arrays(arrays, [["a", "b"], 1])
    assert task.fingerprint != drawn(measured=[True, True]).fingerprint
    assert "measured" not in card_of(task).to_json()
