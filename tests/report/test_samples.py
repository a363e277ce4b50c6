"""The sheet of samples: what is on it, and how large a task it bears."""

from __future__ import annotations

import io

import numpy as np
import pytest

from bench.errors import DataError
from bench.report.samples import LARGEST, MAX_CLASSES, sample_sheet
from bench.tasks.base import Task
from bench.tasks.contract_change import example_task


def images(n_classes, size, channels=1, n=4):
    y = np.repeat(np.arange(n_classes), n)
    x = np.random.default_rng(0).integers(0, 255, (len(y), channels, size, size), dtype=np.uint8)
    return Task(x, y, [f"class {i}" for i in range(n_classes)], x, y)


def drawn(figure):
    """Return the image of the first panel, shape (H, W, 3)."""
    return figure.axes[0].images[0].get_array()


def test_a_class_a_row_with_its_count_and_spoilt_examples_framed():
    from matplotlib.patches import Rectangle

    task = example_task()  # 20 of each of four classes, one of them flagged
    figure = sample_sheet({"mine": task, "again": task.changed(harmful=None)}, per_class=20)
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == [f"{c} (20)" for c in "abcd"]
    assert "mine\n1 x 8 x 8, 80 train, 30 test" in axis.get_title(loc="left")
    frames = [[p for p in a.patches if isinstance(p, Rectangle)] for a in figure.axes]
    assert [len(found) for found in frames] == [1, 0]
    # The frame is around the flagged image itself.
    left, top = (round(v + 0.5) for v in frames[0][0].get_xy())
    shown = drawn(figure)[top : top + 8, left : left + 8, 0] * 255
    assert np.array_equal(np.round(shown), task.x[0, 0])


def test_the_same_task_gives_the_same_bytes():
    def png():
        file = io.BytesIO()
        sample_sheet({"mine": example_task()}).savefig(file, format="png", metadata={"Software": None})
        return file.getvalue()

    assert png() == png()


def test_many_classes_and_large_images_are_bounded():
    figure = sample_sheet({"many": images(50, 8), "large": images(2, 5 * LARGEST, channels=3)})
    assert len(figure.axes[0].get_yticklabels()) == MAX_CLASSES
    assert figure.axes[0].get_xlabel() == f"{MAX_CLASSES} of 50 classes"
    assert figure.axes[0].get_yticklabels()[-1].get_text() == "class 49 (4)"
    height, width, _ = figure.axes[1].images[0].get_array().shape
    assert height <= 2 * (LARGEST + LARGEST // 16)
    assert width <= 10 * (LARGEST + LARGEST // 16)


def test_colours_floats_and_odd_channels():
    x = np.zeros((8, 3, 4, 4))
    x[:, 0] = 1.0
    red = Task(x, np.arange(8) % 2, ["a", "b"], x, np.arange(8) % 2)
    assert drawn(sample_sheet({"red": red}))[0, 0].tolist() == [1.0, 0.0, 0.0]
    two = Task(x[:, :2], red.y, ["a", "b"], x[:, :2], red.y)
    assert drawn(sample_sheet({"two": two}))[0, 0].tolist() == [0.5, 0.5, 0.5]


def test_tables_are_points_on_shared_axes():
    task = example_task(image=False)
    figure = sample_sheet({"source": task.changed(x=task.x + 100.0), "target": task})
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    assert figure.axes[0].get_xlabel() == "first principal component"
    offsets = np.concatenate([c.get_offsets() for c in figure.axes[1].collections[:4]])
    assert len(offsets) == 80
    assert np.allclose(offsets.mean(axis=0), 0)  # the target's own components


def test_nothing_to_draw():
    with pytest.raises(DataError):
        sample_sheet({})
    with pytest.raises(DataError):
        sample_sheet({"a": example_task()}, per_class=0)


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize(
    ("kind", "y", "classes", "shown"),
    [
        ("multi-label", np.arange(40)[:, None] % (2, 4) == 0, ["even", "fourth"], ["even (20)", "fourth (10)"]),
        ("regression", np.arange(40.0), ["price"], [f"{8 * k} to {8 * k + 7} (8)" for k in range(5)]),
        ("unlabelled", None, [], ["examples (40)"]),
    ],
)
def test_tasks_of_other_kinds_are_drawn(kind, y, classes, shown, images):
    x = np.random.default_rng(0).random((40, 1, 8, 8) if images else (40, 2))
    task = Task(x, y, classes, x[:4], None if y is None else y[:4], kind=kind)
    (axis,) = sample_sheet({"mine": task}).axes[:1]
    texts = axis.get_yticklabels() if images else axis.get_legend().get_texts()
    assert [text.get_text() for text in texts] == shown
