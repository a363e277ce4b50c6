"""The moons against the transformations of the survey, written out point by point."""

import math

import numpy as np
import pytest

from bench.registry import TASKS


def moons(**arguments):
    return TASKS.get("moons").function(None, **{"n": 2000, "n_test": 200, **arguments})


def to_plain(points, translation=0.0, scale=1.0, rotation=0.0, shear=0.0):
    """Undo the deformation of single points by the inverse formulas."""
    angle = math.radians(rotation)
    result = []
    for a, b in points.astype(float):
        b = b - shear * a
        a, b = a / scale, b / scale
        a, b = a * math.cos(angle) + b * math.sin(angle), -a * math.sin(angle) + b * math.cos(angle)
        result.append((a - translation, b - translation))
    return np.array(result)


def distance_to_moon(points, labels):
    """How far each point lies from the half circle of its class."""
    centre = np.where(labels[:, None] == 0, (0.0, 0.0), (1.0, 0.5))
    away = points - centre
    side = np.where(labels == 0, 1, -1)
    on_arc = np.abs(np.hypot(*away.T) - 1)
    to_ends = np.minimum(np.hypot(away[:, 0] - 1, away[:, 1]), np.hypot(away[:, 0] + 1, away[:, 1]))
    return np.where(side * away[:, 1] >= 0, on_arc, to_ends)


@pytest.mark.parametrize(
    "deformation",
    [
        {},
        {"translation": 2},
        {"scale": 1.5},
        {"rotation": 45},
        {"shear": 1.5},
        {"translation": 2, "rotation": 45, "scale": 2, "shear": 1.0},
    ],
)
def test_a_deformation_undone_gives_two_moons(deformation):
    task = moons(overlap=0.0, **deformation)
    for x, y in ((task.x, task.y), (task.x_test, task.y_test)):
        assert distance_to_moon(to_plain(x, **deformation), y).max() < 1e-4
        assert np.bincount(y).tolist() == [len(y) // 2] * 2


def test_overlap_is_the_spread_around_the_moons():
    task = moons(overlap=0.2, n=20000)
    middle = np.abs(task.x[:, 0] - np.where(task.y == 0, 0, 1)) < 0.05
    assert distance_to_moon(task.x, task.y)[middle].mean() == pytest.approx(0.2 * math.sqrt(2 / math.pi), rel=0.1)


def test_no_two_settings_share_points():
    """The survey's sources are its target's points moved; ours are drawn apart, so undoing finds no match."""
    target, source = moons(), moons(translation=2)
    undone = to_plain(source.x, translation=2)
    nearest = np.sqrt(((undone[:, None] - target.x[None]) ** 2).sum(-1)).min(1)
    assert (nearest < 1e-5).mean() < 0.01
    assert not np.array_equal(moons().x, moons(seed=1).x)


def test_skew_smears_the_upper_moon_alone():
    task = moons(overlap=0.0, skew=1.5)
    distance = distance_to_moon(task.x, task.y)
    assert distance[task.y == 1].max() < 1e-5
    assert np.median(distance[task.y == 0]) > 0.2


def test_noise_is_flagged_where_it_is():
    task = moons(overlap=0.0, noise=0.1)
    assert task.harmful.sum() == 200
    distance = distance_to_moon(task.x, task.y)
    assert distance[~task.harmful].max() < 1e-5
    assert np.median(distance[task.harmful]) > 0.2
    assert distance_to_moon(task.x_test, task.y_test).max() < 1e-5
    assert moons().harmful is None


@pytest.mark.parametrize(("number", "extra"), [(0, []), (1, [(-0.5, -0.5, 0)]), (2, [(-0.5, -0.5, 0), (1.5, 1, 1)])])
def test_sub_clusters_come_on_top(number, extra):
    task = moons(overlap=0.0, n=6000, sub_clusters=number)
    assert len(task.y) == 6000 + 1000 * number
    apart = distance_to_moon(task.x, task.y) > 0.1
    for a, b, label in extra:
        there = apart & (task.y == label)
        assert task.x[there].mean(0) == pytest.approx((a, b), abs=0.05)
        assert there.sum() > 900
    assert (apart.sum() == 0) == (number == 0)
