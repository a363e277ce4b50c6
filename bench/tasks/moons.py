"""The two-moons family of Zhang et al., "A Survey on Negative Transfer" (IEEE/CAA J. Autom. Sinica 2023)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import DataError
from bench.identity import generator
from bench.tasks.arguments import number, whole
from bench.tasks.base import Task, task

CLASSES = ("upper", "lower")
# The survey has the first cluster; the second is its mirror image through the centre of the two moons.
SUB_CLUSTERS = (((-0.5, -0.5), 0), ((1.5, 1.0), 1))
SUB_CLUSTER_STD = 0.15
SUB_CLUSTER_SHARE = 1 / 6


@task("moons", version=1, classes=CLASSES, shape=(2,))
def moons(
    root: Path,
    *,
    n: int = 600,
    n_test: int = 600,
    translation: float = 0.0,
    scale: float = 1.0,
    rotation: float = 0.0,
    shear: float = 0.0,
    skew: float = 0.0,
    noise: float = 0.0,
    overlap: float = 0.1,
    sub_clusters: int = 0,
    seed: int = 0,
) -> Task:
    """Two moons in the plane, moved and deformed; 2 features, 2 classes.

    The defaults are the survey's target. In the survey's code a source is made out of the target's own
    points; here every setting draws points of its own, so that source and target share none. (Two tasks
    with equal arguments are the same task: give one of them another `seed`.)

    Parameters
    ----------
    root : Path
        Not used: the data are drawn.
    n, n_test : int
        Points in the train pool and in the test set, half in each moon.
    translation : float
        Added to both features (2 in the survey).
    scale : float
        Factor on both features (1.5).
    rotation : float
        Degrees, counter-clockwise about the origin (45).
    shear : float
        `shear` times the first feature is added to the second (1.5).
    skew : float
        Smears the upper moon alone: to each feature of its points a number is added that is uniform
        from 0 to `skew` times the standard deviation of that moon's values (1.5).
    noise : float
        Share of the train pool that is replaced by points anywhere in the moons' bounding box, labels
        kept (0.1); flagged as harmful. The test set stays clean.
    overlap : float
        Standard deviation of the points around their moon (0.33 where the moons overlap).
    sub_clusters : int
        How many clusters stand apart (0 to 2; the survey has 1): Gaussian, standard deviation 0.15,
        n / 6 points each, on top of `n`. The first belongs to the upper moon, at (-0.5, -0.5), the
        second to the lower, at (1.5, 1).
    seed : int

    Notes
    -----
    Order: draw (`overlap`), `sub_clusters`, `skew`, `noise`, then `translation`, `rotation`, `scale`
    and `shear`, which is the survey's order of its combination (DSM05).
    """
    whole("moons", 4, n=n, n_test=n_test)
    number("moons", translation=translation, rotation=rotation, shear=shear)
    number("moons", 0, skew=skew, overlap=overlap)
    number("moons", 0, 1, noise=noise)
    number("moons", scale=scale)
    if scale == 0:
        raise DataError("moons: scale must not be 0; it puts every point in one place")
    whole("moons", 0, sub_clusters=sub_clusters)
    if sub_clusters > len(SUB_CLUSTERS):
        raise DataError(f"moons: sub_clusters must be 0 to {len(SUB_CLUSTERS)}; got {sub_clusters}")
    identity = [float(v) for v in (translation, scale, rotation, shear, skew, noise, overlap, sub_clusters, seed)]

    parts: dict[str, Any] = {}
    for part, size, x, y in (("train", n, "x", "y"), ("test", n_test, "x_test", "y_test")):
        rng = generator("moons", part, *identity)
        points, labels = _draw(rng, size, overlap, sub_clusters)
        points = _smear(rng, points, labels, skew)
        if noise and part == "train":
            points, parts["harmful"] = _replace(rng, points, noise)
        parts[x] = _move(points, translation, rotation, scale, shear).astype(np.float32)
        parts[y] = labels
    return Task(classes=CLASSES, name="moons", **parts)


def _draw(rng: np.random.Generator, n: int, std: float, sub_clusters: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import make_moons

    points, labels = make_moons(n, noise=std, random_state=int(rng.integers(2**32)))
    for centre, label in SUB_CLUSTERS[:sub_clusters]:
        size = max(1, round(n * SUB_CLUSTER_SHARE))
        points = np.concatenate([points, rng.normal(centre, SUB_CLUSTER_STD, (size, 2))])
        labels = np.append(labels, np.full(size, label))
    order = rng.permutation(len(labels))
    return points[order], labels[order]


def _smear(rng: np.random.Generator, points: np.ndarray, labels: np.ndarray, skew: float) -> np.ndarray:
    upper = labels == 0
    extra = rng.uniform(0, 1, points.shape) * skew * points[upper].std()
    return np.where(upper[:, None], points + extra, points)


def _replace(rng: np.random.Generator, points: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    flags = np.zeros(len(points), bool)
    flags[rng.permutation(len(points))[: round(share * len(points))]] = True
    anywhere = rng.uniform(points.min(0), points.max(0), points.shape)
    return np.where(flags[:, None], anywhere, points), flags


def _move(points: np.ndarray, translation: float, rotation: float, scale: float, shear: float) -> np.ndarray:
    angle = np.deg2rad(rotation)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = scale * ((points + translation) @ turn.T)
    return np.column_stack([points[:, 0], points[:, 1] + shear * points[:, 0]])
