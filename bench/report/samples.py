"""A sheet of samples: what the examples of some tasks look like, class by class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import DataError
from bench.identity import generator
from bench.report.fitting import fit_titles, short_names
from bench.report.style import PALETTE, colours, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.tasks.base import Task

PER_CLASS = 10
MAX_CLASSES = 20
MAX_POINTS = 1000
TILE = 0.34  # inches
LARGEST = 128  # pixels: a tile has fewer on paper, so larger images are thinned out
HARM = "#D55E00"
MARKERS = ("o", "^", "s")
NAME_WIDTH = 90  # typographic points, at most, of a class's name


def sample_sheet(tasks: Mapping[str, Task], *, per_class: int = PER_CLASS) -> Figure:
    """Draw examples of each task's train pool, side by side, a class a row with its number of examples.

    Each label of a multi-label task has a row; numbers to predict are cut into five ranges of equal counts.
    Images are shown as they are, at most 20 classes; examples that a change has spoilt on purpose are
    framed. Rows of tables become points: their two columns, or the last task's two first principal
    components; tables of the same width share their axes.

    Parameters
    ----------
    tasks : mapping of str to Task
        By what the sheet calls them.
    per_class : int
        Images in a row.

    Returns
    -------
    matplotlib.figure.Figure
        Bound to no window; save it with ``savefig``.

    Raises
    ------
    DataError
        When there is no task, or no image a row.
    """
    from matplotlib.figure import Figure

    if not tasks or per_class < 1:
        raise DataError("a sheet needs at least one task and one example a class")
    rows = [min(len(_groups(task)), MAX_CLASSES) if task.is_image else 10 for task in tasks.values()]
    size = (len(tasks) * (TILE * per_class + 1.7), TILE * max(rows) + 1.1)
    with figure_style():
        figure = Figure(figsize=size, layout="constrained")
        alike = len({task.shape for task in tasks.values()}) == 1 and not any(t.is_image for t in tasks.values())
        axes = figure.subplots(1, len(tasks), squeeze=False, sharex=alike, sharey=alike)[0]
        last = list(tasks.values())[-1]
        for axis, (name, task) in zip(axes, tasks.items(), strict=True):
            if task.is_image:
                _draw_images(axis, task, per_class)
            else:
                _draw_points(axis, task, last if alike else task)
            shape = " x ".join(map(str, task.shape)) if task.is_image else f"{task.shape[0]} columns"
            axis.set_title(f"{name}\n{shape}, {len(task.y):,} train, {len(task.y_test):,} test", fontsize=8.5)
        if any(task.flags().any() for task in tasks.values()):
            figure.supxlabel("Framed: spoilt on purpose (wrong label, foreign image, ...)", fontsize=8)
        fit_titles(figure)
    return figure


def _groups(task: Task) -> dict[str, np.ndarray]:
    """Return the train examples of each class, or of what stands for classes in other kinds of task, by its name."""
    if task.kind == "single-label":
        return {name: np.nonzero(task.y == label)[0] for label, name in enumerate(task.classes)}
    if task.kind == "multi-label":
        return {name: np.nonzero(task.y[:, label])[0] for label, name in enumerate(task.classes)}
    if task.kind != "regression":
        return {"examples": np.arange(len(task.y))}
    found, values = {}, task.y[:, 0]
    for label in np.unique(task.strata):
        rows = np.nonzero(task.strata == label)[0]
        found[f"{values[rows].min():.4g} to {values[rows].max():.4g}"] = rows
    return found


def _shown(n: int) -> list[int]:
    """Return which of n classes have a row: all, or as many as fit, spread evenly."""
    return list(range(n)) if n <= MAX_CLASSES else [round(i * (n - 1) / (MAX_CLASSES - 1)) for i in range(MAX_CLASSES)]


def _draw_images(axis: Axes, task: Task, per_class: int) -> None:
    from matplotlib.patches import Rectangle

    step = -(-max(task.shape[1:]) // LARGEST)
    height, width = (-(-side // step) for side in task.shape[1:])
    gap = max(1, width // 16)
    groups = _groups(task)
    every = list(groups)
    classes = _shown(len(every))
    sheet = np.ones((len(classes) * (height + gap) - gap, per_class * (width + gap) - gap, 3), np.float32)
    rng = generator("samples", task.fingerprint)
    flags = task.flags()
    for row, label in enumerate(classes):
        for column, index in enumerate(rng.permutation(groups[every[label]])[:per_class]):
            top, left = row * (height + gap), column * (width + gap)
            sheet[top : top + height, left : left + width] = tile(task.x[index])
            if flags[index]:
                corner = (left - 0.5, top - 0.5)
                axis.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=HARM, linewidth=1.2))
    axis.imshow(sheet, interpolation="nearest", aspect="equal")
    short = short_names(every, NAME_WIDTH, 7.5)
    names = [f"{short[every[label]]} ({len(groups[every[label]]):,})" for label in classes]
    axis.set_yticks([row * (height + gap) + (height - 1) / 2 for row in range(len(classes))], names)
    axis.set_xticks([])
    axis.tick_params(length=0, labelsize=7.5)
    axis.spines[:].set_visible(False)
    if len(classes) < len(every):
        axis.set_xlabel(f"{len(classes)} of {len(every)} classes", fontsize=8)


def tile(image: np.ndarray) -> np.ndarray:
    """Return one image (C, H, W) as (H, W, 3), 0 to 1, thinned out where it is large.

    Channels that are no colours become their mean.
    """
    step = -(-max(image.shape[1:]) // LARGEST)
    image = image[:, ::step, ::step]
    image = image.astype(float) / (255.0 if image.dtype == np.uint8 else 1.0)
    image = image if len(image) == 3 else image.mean(axis=0, keepdims=True).repeat(3, axis=0)
    return np.clip(image.transpose(1, 2, 0), 0.0, 1.0)


def _draw_points(axis: Axes, task: Task, reference: Task) -> None:
    chosen = generator("samples", task.fingerprint).permutation(len(task.y))[:MAX_POINTS]
    x, groups = _plane(task.x[chosen], reference.x), _groups(task)
    every = list(groups)
    shown, short = _shown(len(every)), short_names(every, NAME_WIDTH, 7)
    for i, (label, colour) in enumerate(zip(shown, colours(len(shown)), strict=True)):
        members = groups[every[label]]
        points = x[np.isin(chosen, members)]
        name = f"{short[every[label]]} ({len(members):,})"
        # Shapes change with every row of the palette: colours of many classes are hard to tell apart.
        marker = MARKERS[i // len(PALETTE) % len(MARKERS)]
        axis.scatter(*points.T, s=9, color=colour, marker=marker, alpha=0.7, linewidths=0, label=name)
    flags = task.flags()[chosen]
    if flags.any():
        axis.scatter(*x[flags].T, s=26, facecolors="none", edgecolors="black", marker="s", linewidths=0.8)
    axis.set_aspect("equal", adjustable="box")
    own = task.shape[0] <= 2
    axis.set_xlabel("column 1" if own else "first principal component", fontsize=8)
    axis.set_ylabel("column 2" if own else "second principal component", fontsize=8)
    axis.tick_params(labelsize=7)
    title = None if len(shown) == len(every) else f"{len(shown)} of {len(every)} classes"
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderpad=0, fontsize=7, markerscale=1.5, title=title,
                title_fontsize=7, handletextpad=0.2)  # fmt: skip


def _plane(x: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return two coordinates a row, shape (N, 2): columns, or principal components of `reference`."""
    x, reference = x.astype(float), reference.astype(float)
    if x.shape[1] <= 2:
        return np.pad(x, ((0, 0), (0, 2 - x.shape[1])))
    centre = reference.mean(axis=0)
    return (x - centre) @ np.linalg.svd(reference - centre, full_matrices=False)[2][:2].T
