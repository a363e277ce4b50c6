"""Pictures of what a pair's source examples weighed: over the training, by class, and the examples themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bench.errors import DataError
from bench.report.drawing import NAMES_SHARE, footnote, settle
from bench.report.fitting import short_names
from bench.report.samples import HARM, tile
from bench.report.style import GRID, PAGE, PALETTE, QUIET, counted, figure_style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.tasks.base import Task

HARMFUL, HELPFUL = PALETTE[1], PALETTE[0]
BANDS = ((0.05, 0.95, 0.15), (0.25, 0.75, 0.3))
PER_ROW = 10
SHOWN_CLASSES = 20


def weights_over_training(history: pd.DataFrame) -> Figure:
    """Draw how the weights of harmful and of other examples move apart while the source is trained.

    One row of panels a target size (of the labels that were learned from), one column a weighting. Lines
    are medians over the examples of all seeds, bands hold the middle half and the middle nine tenths; 1 is
    the weight that uniform weighting gives.

    Parameters
    ----------
    history : DataFrame
        Of one pair, as :func:`bench.ledger.example_weights.load_weights` gives it with ``history=True``.

    Raises
    ------
    DataError
        When there is no weight to show.
    """
    from matplotlib.figure import Figure

    panels = _panels(history)
    count = int(history["interval"].max()) + 1
    with figure_style():
        figure = Figure(figsize=(_width(panels), 1.25 * len(panels) + 0.55), layout="constrained")
        for axis, title, part in _grid(figure, panels, sharey=True):
            axis.axhline(1, color="black", linewidth=0.5, linestyle=":")
            for flag, colour, name in _groups(part):
                mine = part[part["harmful"].astype(bool) == flag].dropna(subset="weight").groupby("interval")["weight"]
                at = (mine.median().index.to_numpy() + 0.5) / count
                for low, high, alpha in BANDS:
                    axis.fill_between(at, mine.quantile(low), mine.quantile(high), color=colour, alpha=alpha, lw=0)
                axis.plot(at, mine.median(), color=colour)
                axis.text(0.02, 0.97 - 0.12 * flag, name, color=colour, transform=axis.transAxes, va="top", fontsize=6)
            axis.set_xlim(0, 1)
            axis.set_xticks([0, 0.5, 1], ["0", "half", "end"])
            axis.set_title(title, fontsize=6.5)
            axis.grid(axis="y", color=GRID, linewidth=0.5)
        footnote(figure, f"Weight relative to uniform (1). {_seeds(history)}; median, middle half, middle 90 %.")
        settle(figure)
    return figure


def weights_by_class(weights: pd.DataFrame, classes: Sequence[str]) -> Figure:
    """Draw the mean weight of each source class, harmful examples apart from the others.

    Parameters
    ----------
    weights : DataFrame
        Of one pair, as :func:`bench.ledger.example_weights.load_weights` gives it.
    classes : sequence of str
        The source's. The class of a wrong label is the one that the example is given, not its own.

    Raises
    ------
    DataError
        When there is no weight to show.
    """
    from matplotlib.figure import Figure

    panels = _panels(weights)
    names = short_names(map(str, classes), NAMES_SHARE * 72 * _width(panels), 6)
    shown, right = sorted(weights["label"].unique())[:SHOWN_CLASSES], 1.0
    with figure_style():
        height = len(panels) * (0.13 * len(shown) + 0.45) + 0.4
        figure = Figure(figsize=(_width(panels), height), layout="constrained")
        for axis, title, part in _grid(figure, panels, sharey=True):
            axis.axvline(1, color="black", linewidth=0.5, linestyle=":")
            for flag, colour, name in _groups(part):
                mine = part[part["harmful"].astype(bool) == flag].groupby("label")["weight"].mean()
                marker = "X" if flag else "o"
                axis.plot(mine.reindex(shown), range(len(shown)), marker, color=colour, label=name, clip_on=False)
            axis.set_yticks(range(len(shown)), [names[str(classes[label])] for label in shown])
            axis.set_ylim(len(shown) - 0.5, -0.5)
            axis.set_title(title, fontsize=6.5)
            axis.grid(color=GRID, linewidth=0.5)
            right = max(right, float(part.groupby(["label", "harmful"])["weight"].mean().max()))
        figure.axes[0].set_xlim(0, 1.06 * right)
        figure.axes[0].legend(loc="lower left", handletextpad=0.1, borderaxespad=0.1)
        more = f"; {SHOWN_CLASSES} of {weights['label'].nunique()} classes" if len(shown) == SHOWN_CLASSES else ""
        footnote(figure, f"Mean weight relative to uniform (1), by the label that was given. {_seeds(weights)}{more}.")
        settle(figure)
    return figure


def weighted_images(weights: pd.DataFrame, task: Task, per_row: int = PER_ROW) -> Figure:
    """Show the source's images with the highest and the lowest weights.

    Two rows of images a weighting, from the pair's largest target size and first seed. Harmful ones are
    framed; below an image stand the label that it was given and its weight.

    Parameters
    ----------
    weights : DataFrame
        Of one pair, as :func:`bench.ledger.example_weights.load_weights` gives it.
    task : Task
        The source, whose train pool `example` counts.

    Raises
    ------
    DataError
        When there is no weight to show, or the source has no images.
    """
    from matplotlib.figure import Figure

    if not task.is_image:
        raise DataError("the source has no images")
    ways = [(way, _one_training(part)) for way, part in _ways(weights)]
    names = short_names(task.classes, 72 * PAGE / per_row - 30, 5.5)
    with figure_style():
        figure = Figure(figsize=(PAGE, 1.5 * len(ways) + 0.35), layout="constrained")
        axes = figure.subplots(2 * len(ways), per_row, squeeze=False)
        for i, (way, part) in enumerate(ways):
            order = part.sort_values(["weight", "example"], ascending=[False, True])
            for row, (ends, name) in enumerate(((order.head(per_row), "highest"), (order.tail(per_row), "lowest"))):
                for axis, one in zip(axes[2 * i + row], ends.itertuples(), strict=False):
                    axis.imshow(tile(task.x[one.example]), interpolation="nearest", vmin=0, vmax=1)
                    axis.set_xlabel(f"{names[task.classes[one.label]]}, {one.weight:.2f}", fontsize=5.5, labelpad=1.5)
                    for spine in axis.spines.values():
                        spine.set(visible=bool(one.harmful), color=HARM, linewidth=1.4)
                axes[2 * i + row, 0].set_ylabel(f"{way}\n{name}", fontsize=6)
        for axis in axes.flat:
            axis.set_xticks([])
            axis.set_yticks([])
            if not axis.images:
                axis.set_visible(False)
        seed = ways[0][1]["source_seed"].iloc[0]
        footnote(figure, f"Label as given, and weight (uniform: 1). Framed: spoilt on purpose. Source seed {seed}.")
    return figure


# --- panels --------------------------------------------------------------------------------------------


def _ways(weights: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    kept = weights[~weights["joint"].astype(bool)] if len(weights) else weights
    kept = kept if len(kept) else weights
    if kept["weight"].notna().sum() == 0:
        raise DataError("no weights of source examples are kept; uniform weighting keeps none")
    return [(str(way), kept[kept["weighting"] == way]) for way in dict.fromkeys(kept["weighting"])]


def _panels(weights: pd.DataFrame) -> list[list[tuple[str, pd.DataFrame]]]:
    """Return rows of (title, part): a row a target size; what uses no label has its one part in each."""
    ways = _ways(weights)
    sizes = sorted({size for _, part in ways for size in part["target_size"].dropna().unique()}) or [None]
    found = []
    for size in sizes:
        row = []
        for way, part in ways:
            mine = part[part["target_size"].isna() | (part["target_size"] == size)]
            labels = (
                f", {counted(int(size), 'label')}" if size is not None and part["target_size"].notna().any() else ""
            )
            row.append((f"{way}{labels}", mine))
        found.append(row)
    return found


def _width(panels: list[list[tuple[str, pd.DataFrame]]]) -> float:
    return min(PAGE, 1.3 * len(panels[0]) + 0.7)


def _grid(
    figure: Figure, panels: list[list[tuple[str, pd.DataFrame]]], sharey: bool
) -> Iterator[tuple[Axes, str, pd.DataFrame]]:
    axes = figure.subplots(len(panels), len(panels[0]), squeeze=False, sharex=True, sharey=sharey)
    for i, row in enumerate(panels):
        for axis, (title, part) in zip(axes[i], row, strict=True):
            yield axis, title, part


def _groups(part: pd.DataFrame) -> list[tuple[bool, str, str]]:
    """Return (flag, colour, name) of the groups of examples that there are."""
    flags = set(part["harmful"].astype(bool))
    named = [(False, HELPFUL, "helpful"), (True, HARMFUL, "harmful")]
    return [(False, QUIET, "all examples")] if flags == {False} else [one for one in named if one[0] in flags]


def _one_training(part: pd.DataFrame) -> pd.DataFrame:
    """Keep one source model's examples that were seen."""
    part = part.dropna(subset="weight")
    part = part[part["target_size"].isna() | (part["target_size"] == part["target_size"].max())]
    for name in ("backbone", "seed", "source_seed"):
        part = part[part[name].isna() | (part[name] == part[name].min())]
    return part


def _seeds(weights: pd.DataFrame) -> str:
    return counted(weights["source_seed"].nunique(), "source seed")
