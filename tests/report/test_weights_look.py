"""Pictures of source examples' weights."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.errors import DataError
from bench.report.weights_look import weighted_images, weights_by_class, weights_over_training
from bench.tasks.base import Task

N, INTERVALS = 60, 4
HARMFUL = np.arange(N) < 20


def weights(history=False, ways=("l2rw", "random"), sizes=(50.0, 200.0)):
    """Harmful examples weigh 0.2 and the others 1.4, more so later; "random" is known without labels."""
    parts = []
    for way in ways:
        for size in (np.nan,) if way == "random" else sizes:
            for seed in range(2):
                for interval in range(INTERVALS if history else 1):
                    weight = np.ones(N) if way == "random" else np.where(HARMFUL, 0.2, 1.4 + interval / 10)
                    parts.append(
                        pd.DataFrame(
                            {"source": "a", "target": None if way == "random" else "b", "backbone": "cnn",
                             "weighting": way, "target_size": size, "seed": seed, "source_seed": seed, "joint": False,
                             "example": np.arange(N), "label": np.arange(N) % 3, "harmful": HARMFUL,
                             "interval": interval, "weight": weight}
                        )
                    )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def texts(axis):
    return [text.get_text() for text in axis.texts]


def titles(figure):
    return [axis.get_title(loc="left") or axis.get_title() for axis in figure.axes]


def test_a_panel_for_each_size_and_weighting_and_what_needs_no_label_in_each_row():
    figure = weights_over_training(weights(history=True))
    assert titles(figure) == ["l2rw, 50 labels", "random", "l2rw, 200 labels", "random"]
    lines = {line.get_color(): line.get_ydata() for line in figure.axes[0].lines[1:]}
    assert sorted(map(list, lines.values())) == [[0.2] * INTERVALS, pytest.approx([1.4, 1.5, 1.6, 1.7])]
    assert set(texts(figure.axes[0])) == {"helpful", "harmful"}


def test_a_source_without_planted_harm_has_one_line():
    figure = weights_over_training(weights(history=True).assign(harmful=False))
    assert set(texts(figure.axes[0])) == {"all examples"}


def test_weights_by_class_are_means_of_the_label_that_was_given():
    figure = weights_by_class(weights(), ("x", "y", "z"))
    axis = figure.axes[0]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["x", "y", "z"]
    assert sorted(tuple(line.get_xdata()) for line in axis.lines[1:]) == [
        pytest.approx((0.2,) * 3),
        pytest.approx((1.4,) * 3),
    ]
    assert axis.get_xlim()[1] > 1.4


def test_the_highest_and_the_lowest_weighted_images_and_which_of_them_are_harmful():
    table = weights(ways=("l2rw",))
    table["weight"] = table["weight"] + table["example"] / 1000
    images = np.zeros((N, 1, 4, 4), np.uint8)
    task = Task(images, np.arange(N) % 3, classes=["x", "y", "z"], x_test=images, y_test=np.arange(N) % 3)
    figure = weighted_images(table, task, per_row=5)
    below = [axis.get_xlabel() for axis in figure.axes]
    assert below[0] == f"{'xyz'[59 % 3]}, {1.4 + 0.059:.2f}"
    assert below[-1] == "x, 0.20"
    framed = [axis.spines["top"].get_visible() for axis in figure.axes]
    assert framed == [False] * 5 + [True] * 5


def test_nothing_kept_or_no_images_are_said():
    with pytest.raises(DataError, match="uniform weighting keeps none"):
        weights_over_training(weights(history=True)[:0])
    table = Task(np.zeros((N, 2)), np.arange(N) % 2, classes=["x", "y"], x_test=np.zeros((4, 2)), y_test=[0, 1, 0, 1])
    with pytest.raises(DataError, match="no images"):
        weighted_images(weights(), table)
