import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from bench.registry import TASKS


def test_digits_are_those_of_scikit_learn():
    task = TASKS.get("digits").function(None)
    bunch = load_digits()
    assert task.shape == (1, 8, 8)
    assert len(task.y) + len(task.y_test) == 1797
    expected = {
        (image.astype(int).tobytes(), int(label)) for image, label in zip(bunch.images, bunch.target, strict=True)
    }
    for x, y in ((task.x, task.y), (task.x_test, task.y_test)):
        levels = np.round(x[:, 0] * (16 / 255)).astype(int)
        assert {(image.tobytes(), int(label)) for image, label in zip(levels, y, strict=True)} <= expected
    assert task.x.max() == 255


def test_digits_resampled_keep_labels_split_and_brightness():
    small, large = (TASKS.get("digits").function(None, image_size=size) for size in (None, 16))
    np.testing.assert_array_equal(small.y, large.y)
    np.testing.assert_array_equal(small.y_test, large.y_test)
    assert abs(small.x.mean((1, 2, 3)) - large.x.mean((1, 2, 3))).max() < 4


def test_nothing_can_be_learned_from_noise():
    task = TASKS.get("noise").function(None, n=1000, n_test=2000, image_size=6, n_classes=4)
    model = LogisticRegression(max_iter=300).fit(task.x.reshape(1000, -1) / 255, task.y)
    accuracy = model.score(task.x_test.reshape(2000, -1) / 255, task.y_test)
    assert accuracy == pytest.approx(0.25, abs=0.04)


def test_smooth_noise_is_smooth_and_has_full_contrast():
    rough, smooth = (TASKS.get("noise").function(None, n=50, smoothness=s) for s in (0, 2.0))

    def likeness(x):
        return np.corrcoef(x[..., 1:].ravel(), x[..., :-1].ravel())[0, 1]

    assert abs(likeness(rough.x)) < 0.05
    assert likeness(smooth.x) > 0.8
    assert (smooth.x.min((2, 3)) == 0).all()
    assert (smooth.x.max((2, 3)) == 255).all()
