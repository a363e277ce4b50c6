import numpy as np
import pytest

from bench.errors import BenchError
from bench.registry import TASKS
from bench.tasks.patches import PHOTOS, _cells, _contrast, _grey, _photos


def patches(**arguments):
    return TASKS.get("patches").function(None, **{"n": 60, "n_test": 40, **arguments})


@pytest.mark.parametrize(("patch", "rows", "columns"), [(32, 2, 2), (24, 3, 2), (16, 1, 5), (47, 2, 2)])
def test_no_pixel_is_in_both_parts(patch, rows, columns):
    photos = _photos()
    covered = {part: [np.zeros(photo.shape[:2], bool) for photo in photos] for part in ("train", "test")}
    for cell in _cells(photos, rows, columns, patch, 0.0):
        for part, places in cell.items():
            assert len(places) > patch
            for photo, row, column in places:
                assert row + patch <= photos[photo].shape[0]
                assert column + patch <= photos[photo].shape[1]
                covered[part][photo][row : row + patch, column : column + patch] = True
    for train, test in zip(covered["train"], covered["test"], strict=True):
        assert not (train & test).any()
        assert train.mean() > test.mean() > 0.1


def test_contrast_is_the_standard_deviation_of_each_patch():
    grey = _grey(_photos()[0])[:40, :50]
    found = _contrast(grey, 7)
    assert found.shape == (34, 44)
    for row, column in [(0, 0), (33, 43), (11, 20)]:
        expected = (grey[row : row + 7, column : column + 7] / 255).std()
        assert found[row, column] == pytest.approx(expected, abs=1e-7)


def test_patches_are_cut_from_the_right_region():
    """At full size, each patch is found in its own region of its own photograph."""
    task = patches(patch_size=20, image_size=20, rows=2, columns=1, n=40)
    photos = [_grey(photo) for photo in _photos()]
    windows = [np.lib.stride_tricks.sliding_window_view(photo, (20, 20)) for photo in photos]
    for image, label in zip(task.x[:, 0], task.y, strict=True):
        name, _, cell = task.classes[label].partition(" ")
        view = windows[PHOTOS.index(name)]
        # The first row narrows the search down before whole patches are compared.
        rows, columns = np.nonzero((view[..., 0, :] == image[0]).all(-1))
        rows = rows[[bool((view[r, c] == image).all()) for r, c in zip(rows, columns, strict=True)]]
        assert len(rows)
        assert any(row + 20 <= 213 if cell == "1.1" else row >= 213 for row in rows)


def test_orientation_turns_upright_patches():
    """Sky is above: turned back by their label, the temple photograph's patches are brighter on top."""
    task = patches(labels="orientation", n=400, patch_size=64, min_contrast=0.1, rows=1, columns=1)
    upright = np.stack([np.rot90(image[0], -label) for image, label in zip(task.x, task.y, strict=True)])
    assert upright[:, :8].mean() > upright[:, 8:].mean() + 3
    assert task.classes == ("0 degrees", "90 degrees", "180 degrees", "270 degrees")


def test_colour_and_grey_show_the_same_places():
    colour, grey = patches(channels=3), patches(channels=1)
    np.testing.assert_array_equal(colour.y, grey.y)
    luma = np.tensordot(colour.x.astype(float), [0.299, 0.587, 0.114], (1, 0))
    assert abs(luma - grey.x[:, 0]).max() <= 2


def test_contrast_keeps_flat_patches_out():
    assert patches(labels="photo", min_contrast=0.1, image_size=32).x.std((1, 2, 3)).min() >= 0.1 * 255 - 1
    assert patches(labels="photo", image_size=32).x.std((1, 2, 3)).min() < 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": "regions"}, 'did you mean "region"'),
        ({"channels": 2}, "channels must be 1 or 3; got 2"),
        ({"patch_size": 120}, r"china 1.1 \(213 x 320 pixels\) holds fewer than three blocks of 240 x 240"),
        ({"min_contrast": 0.45}, "lower min_contrast"),
        ({"n": 7}, "n must be a whole number, 8 or more"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(BenchError, match=message):
        patches(**arguments)
