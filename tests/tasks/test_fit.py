"""Fitting a source's images to a target's shape."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import DataError
from bench.tasks.base import Task
from bench.tasks.fit import centre, fit, fit_images, problem


def images(n=6, shape=(3, 8, 8), dtype=np.uint8, seed=0):
    x = np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)
    return x if dtype == np.uint8 else (x / 255).astype(dtype)


def make(shape, dtype=np.uint8, **parts):
    x = images(6, shape, dtype)
    return Task(x, [0, 1] * 3, ["a", "b"], x_test=x[:4], y_test=[0, 1, 0, 1], **parts)


def test_nothing_to_do_returns_the_same_object():
    task = make((1, 8, 8))
    assert fit(task, (1, 8, 8)) is task
    table = Task(np.zeros((4, 5), np.float32), [0, 1, 0, 1], ["a", "b"])
    assert fit(table, (5,)) is table


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "target"),
    [((1, 8, 8), (3, 5, 9)), ((3, 8, 8), (1, 16, 16)), ((3, 9, 7), (3, 4, 4)), ((1, 4, 4), (3, 4, 4))],
)
def test_shape_and_type(shape, target, dtype):
    fitted = fit(make(shape, dtype), target)
    assert fitted.x.shape == (6, *target)
    assert fitted.x_test.shape == (4, *target)
    assert fitted.x.dtype == fitted.x_test.dtype == dtype


def test_everything_but_the_inputs_stays():
    task = make((3, 8, 8), harmful=[1, 0, 0, 1, 0, 0], domains=[0, 1, 2, 0, 1, 2], version=4, name="here")
    fitted = fit(task, (1, 4, 4))
    assert fitted.harmful.tolist() == task.harmful.tolist()
    assert fitted.domains.tolist() == task.domains.tolist()
    assert (fitted.name, fitted.version, fitted.classes) == ("here", 4, ("a", "b"))
    assert np.array_equal(fitted.y, task.y)


def test_grey_becomes_rgb_by_repetition():
    x = images(shape=(1, 5, 5))
    assert np.array_equal(fit_images(x, (3, 5, 5)), np.repeat(x, 3, axis=1))


def test_rgb_becomes_grey_by_pillows_luma():
    from PIL import Image

    x = images(n=20, shape=(3, 16, 16))
    ours = fit_images(x, (1, 16, 16))[:, 0].astype(int)
    theirs = np.stack([np.asarray(Image.fromarray(i.transpose(1, 2, 0)).convert("L")) for i in x]).astype(int)
    assert abs(ours - theirs).max() <= 1  # Pillow rounds in fixed point
    assert (ours == theirs).mean() > 0.95


@pytest.mark.parametrize(
    ("size", "part"),  # of 12 rows and 10 columns: first row, last row, first column, last column
    [((4, 4), (1, 11, 0, 10)), ((6, 5), (0, 12, 0, 10)), ((16, 16), (1, 11, 0, 10)), ((3, 20), (5, 7, 0, 10)),
     ((8, 4), (0, 12, 2, 8))],
)  # fmt: skip
def test_resampling_is_pillows_bilinear_of_the_centre(size, part):
    from PIL import Image

    x = images(n=5, shape=(1, 12, 10))
    ours = fit_images(x, (1, *size))[:, 0].astype(int)
    top, bottom, left, right = part
    cropped = [Image.fromarray(i[0, top:bottom, left:right]) for i in x]
    theirs = [i.resize(size[::-1], Image.Resampling.BILINEAR) for i in cropped]
    assert abs(ours - np.stack([np.asarray(i) for i in theirs])).max() <= 1


@pytest.mark.parametrize(("side", "wanted"), [(8, 16), (28, 16), (49, 3), (7, 64), (224, 96)])
def test_nothing_is_cropped_where_the_aspect_is_the_same(side, wanted):
    assert centre((side, side), (wanted, wanted)) == (slice(0, side), slice(0, side))
    assert centre((3 * side, 2 * side), (3 * wanted, 2 * wanted)) == (slice(0, 3 * side), slice(0, 2 * side))


def test_a_circle_stays_round():
    rows, columns = np.indices((40, 60))
    disc = ((rows - 19.5) ** 2 + (columns - 29.5) ** 2 < 15**2).astype(np.float32)[None, None]
    small = fit_images(disc, (1, 20, 20))[0, 0] > 0.5
    assert small.any(0).sum() == small.any(1).sum() == 14


def test_halving_a_fine_checkerboard_gives_grey_not_an_alias():
    board = (np.indices((16, 16)).sum(0) % 2 * 255).astype(np.uint8)[None, None]
    small = fit_images(board, (1, 8, 8))
    assert abs(small.astype(int) - 127).max() <= 40


@settings(deadline=None, max_examples=30)
@given(
    value=st.integers(0, 255),
    source=st.tuples(st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9)),
    target=st.tuples(st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9)),
)
def test_an_even_image_stays_even(value, source, target):
    x = np.full((2, *source), value, np.uint8)
    assert (fit_images(x, target) == value).all()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**16), target=st.tuples(st.sampled_from([1, 3]), st.integers(1, 12), st.integers(1, 12)))
def test_floats_stay_within_the_range_of_the_image(seed, target):
    x = images(3, (3, 7, 7), np.float32, seed)
    fitted = fit_images(x, target)
    assert fitted.min() >= x.min() - 1e-6
    assert fitted.max() <= x.max() + 1e-6


def test_chunks_do_not_change_the_result(monkeypatch):
    x = images(11, (3, 9, 9))
    whole = fit_images(x, (1, 6, 6))
    monkeypatch.setattr("bench.tasks.arrays.CHUNK_BYTES", 1)
    assert np.array_equal(fit_images(x, (1, 6, 6)), whole)


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ((1, 8, 8), (4,), "images of 1 x 8 x 8.*table rows of 4 columns"),
        ((4,), (1, 8, 8), "table rows of 4 columns.*images of 1 x 8 x 8"),
        ((4,), (5,), "4 columns and the target 5"),
        ((2, 8, 8), (3, 8, 8), "2 channels and the target's 3"),
        ((8, 8), (1, 8, 8), "neither an image"),
        ((1, 8, 8), (1, 0, 8), "neither an image"),
    ],
)
def test_what_cannot_meet(source, target, said):
    sentence = problem(source, target)
    assert re.search(said, sentence)
    assert sentence.count(". ") == 0


@pytest.mark.parametrize(
    ("source", "target"), [((1, 8, 8), (3, 32, 32)), ((3, 9, 4), (1, 2, 2)), ((2, 8, 8), (2, 4, 4)), ((4,), (4,))]
)
def test_what_can_meet(source, target):
    assert problem(source, target) is None


def test_fit_raises_what_problem_says():
    with pytest.raises(DataError, match="table rows of 3 columns"):
        fit(make((1, 8, 8)), (3,))
