import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError, DataError
from bench.registry import CHANGES
from bench.tasks.base import Task
from bench.tasks.changes_inputs import permutation

quick = settings(deadline=None, max_examples=30)
seeds = st.integers(0, 2**31)
INPUT_CHANGES = [
    ("pixel_permutation", {}),
    ("pixel_permutation", {"share": 0.4, "seed": 3}),
    ("inversion", {}),
    ("rotation", {"degrees": 20}),
    ("rotation", {"degrees": 90}),
    ("blur", {"sigma": 0.8}),
    ("input_noise", {"std": 0.2}),
]


def images(n=12, shape=(1, 6, 6), dtype=np.uint8, seed=0, **parts):
    rng = np.random.default_rng(seed)

    def draw(size):
        x = rng.integers(0, 256, (size, *shape), dtype=np.uint8)
        return x if dtype == np.uint8 else (x / 255).astype(dtype)

    return Task(draw(n), np.arange(n) % 3, ["a", "b", "c"], draw(6), np.arange(6) % 3, **parts)


def table(columns=5, dtype=np.float32):
    rng = np.random.default_rng(0)
    x, x_test = rng.normal(size=(12, columns)), rng.normal(size=(6, columns))
    return Task(x.astype(dtype), np.arange(12) % 3, ["a", "b", "c"], x_test.astype(dtype), np.arange(6) % 3)


def apply(name, task, stream=0, /, **arguments):
    return CHANGES.get(name).function(task, np.random.default_rng(stream), **arguments)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize(("name", "arguments"), INPUT_CHANGES)
def test_inputs_change_in_both_parts_and_nothing_else(name, arguments, dtype):
    flags = np.arange(12) % 2 == 0
    before = images(dtype=dtype, shape=(3, 6, 6), harmful=flags, domains=np.arange(12) % 2)
    after = apply(name, before, **arguments)
    for part in ("x", "x_test"):
        old, new = getattr(before, part), getattr(after, part)
        assert new.dtype == old.dtype
        assert new.shape == old.shape
        assert all((a != b).any() for a, b in zip(old, new, strict=True))
        assert new.min() >= 0
        assert new.max() <= (255 if dtype == np.uint8 else 1)
    for part in ("y", "y_test", "harmful", "domains"):
        np.testing.assert_array_equal(getattr(after, part), getattr(before, part))
    assert after.classes == before.classes
    assert apply(name, before, **arguments).fingerprint == after.fingerprint


@pytest.mark.parametrize(("name", "arguments"), [c for c in INPUT_CHANGES if c[0] != "input_noise"])
def test_bytes_and_floats_change_alike(name, arguments):
    whole, fraction = (apply(name, images(dtype=dtype), **arguments) for dtype in (np.uint8, np.float64))
    assert abs(whole.x / 255 - fraction.x).max() <= 0.5001 / 255


@quick
@given(places=st.integers(1, 80), share=st.floats(0, 1), seed=seeds)
def test_a_permutation_is_a_bijection_that_moves_its_share(places, share, seed):
    order = permutation(places, share, seed)
    assert sorted(order) == list(range(places))
    moved = round(share * places)
    assert (order != np.arange(places)).sum() == (moved if moved > 1 else 0)


def test_one_permutation_for_every_image_channel_and_task():
    places = np.arange(36, dtype=np.uint8).reshape(1, 1, 6, 6).repeat(12, 0).repeat(3, 1)
    first = images(shape=(3, 6, 6)).changed(x=places, x_test=places[:6])
    moved = apply("pixel_permutation", first, 1).x.reshape(-1, 36)
    assert (moved == moved[0]).all()
    assert sorted(moved[0]) == list(range(36))
    again = apply("pixel_permutation", images(shape=(3, 6, 6), seed=5).changed(x=places, x_test=places[:6]), 2)
    np.testing.assert_array_equal(again.x.reshape(-1, 36), moved)
    other = apply("pixel_permutation", first, seed=9)
    assert not np.array_equal(other.x.reshape(-1, 36), moved)


def test_permuting_a_table_moves_columns():
    before = table()
    after = apply("pixel_permutation", before)
    assert sorted(map(tuple, after.x.T)) == sorted(map(tuple, before.x.T))
    assert not np.array_equal(after.x, before.x)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_inversion_twice_is_nothing(dtype):
    before = images(dtype=dtype)
    once = apply("inversion", before)
    total = once.x + before.x
    np.testing.assert_allclose(total, 255 if dtype == np.uint8 else 1, rtol=1e-6)
    np.testing.assert_allclose(apply("inversion", once).x, before.x, atol=1e-6)


def test_rotation_is_counter_clockwise():
    x = np.zeros((12, 1, 9, 9), np.uint8)
    x[:, :, 4, 7] = 200  # right of the centre
    task = images(shape=(1, 9, 9)).changed(x=x, x_test=x[:6])
    assert apply("rotation", task, degrees=90).x[0, 0, 1, 4] == 200  # above it
    nearly = apply("rotation", task, degrees=45).x[0, 0]
    row, column = np.unravel_index(nearly.argmax(), nearly.shape)
    assert (row, column) == (2, 6)


def test_rotation_by_quarter_turns_is_exact_and_agrees_with_interpolation():
    task = images()
    for turns in (-1, 1, 2, 3, 4):
        expected = np.rot90(task.x, turns, axes=(2, 3))
        np.testing.assert_array_equal(apply("rotation", task, degrees=90 * turns).x, expected)
        close = apply("rotation", task, degrees=90 * turns + 1e-6).x
        assert abs(close.astype(int) - expected).max() <= 1


def test_rotating_a_plane():
    x = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]] * 4)
    task = table(2).changed(x=x, x_test=x[:6])
    np.testing.assert_allclose(apply("rotation", task, degrees=90).x[:3], [[0, 1], [-2, 0], [-1, 1]], atol=1e-12)


def test_blur_is_a_gaussian_that_keeps_the_mean():
    x = np.zeros((12, 1, 21, 21))
    x[:, :, 10, 10] = 1
    task = images(shape=(1, 21, 21), dtype=np.float64).changed(x=x, x_test=x[:6])
    found = apply("blur", task, sigma=1.5).x[0, 0]
    offsets = np.arange(-10, 11)
    kernel = np.exp(-(offsets**2) / (2 * 1.5**2)) * (np.abs(offsets) <= 6)
    np.testing.assert_allclose(found, np.outer(kernel, kernel) / kernel.sum() ** 2, atol=1e-12)
    np.testing.assert_array_equal(apply("blur", task, sigma=0).x, x)


def test_input_noise_has_its_standard_deviation():
    grey = np.full((300, 1, 10, 10), 128, np.uint8)
    task = images(n=300, shape=(1, 10, 10)).changed(x=grey, x_test=grey[:6])
    added = (apply("input_noise", task, std=0.1).x.astype(float) - 128) / 255
    assert added.std() == pytest.approx(0.1, rel=0.02)
    assert added.mean() == pytest.approx(0, abs=0.003)
    assert not np.array_equal(added[0], added[1])


def test_input_noise_on_a_table_is_in_the_columns_own_scale():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 2)) * [1, 100]
    task = Task(x, np.arange(4000) % 2, ["a", "b"], x[:10], np.arange(10) % 2)
    added = apply("input_noise", task, std=0.5).x - x
    np.testing.assert_allclose(added.std(0), [0.5, 50], rtol=0.05)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("inversion", {}, "inversion: needs images; task is a table of 5 columns"),
        ("blur", {"sigma": 1}, "blur: needs images"),
        ("rotation", {"degrees": 10}, "a table of two columns; task has 5"),
    ],
)
def test_tables_are_refused_where_images_are_needed(name, arguments, message):
    with pytest.raises(DataError, match=message):
        apply(name, table(), **arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("blur", {"sigma": -1}, "sigma must be a number of at least 0; got -1"),
        ("input_noise", {"std": float("inf")}, "std must be a number of at least 0; got inf"),
        ("rotation", {"degrees": "30"}, "degrees must be a number; got '30'"),
        ("pixel_permutation", {"share": 2}, "share must be a number from 0 to 1; got 2"),
    ],
)
def test_impossible_arguments(name, arguments, message):
    with pytest.raises(BenchError, match=message):
        apply(name, images(), **arguments)


def test_large_data_are_changed_in_pieces_without_a_trace(monkeypatch):
    task = images(n=12)
    whole = [apply(name, task, **arguments).fingerprint for name, arguments in INPUT_CHANGES]
    monkeypatch.setattr("bench.tasks.arrays.CHUNK_BYTES", 8 * 36 * 5)
    assert [apply(name, task, **arguments).fingerprint for name, arguments in INPUT_CHANGES] == whole
