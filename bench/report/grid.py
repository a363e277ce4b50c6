"""The layout that tables and figures share: sources down, from near to far; strategies and depths across."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.errors import unknown
from bench.report.style import measure_name
from bench.schema import ACCURACY, ENDS, near_is_low, similarity_columns
from bench.scores import Scale, metrics_of, scales_of, score_column
from bench.stats.nearness import has_intervals, surely_nearer
from bench.transfer.index import BUILTIN as STRATEGY_ORDER

if TYPE_CHECKING:
    import pandas as pd

ACCURACIES = Scale()
NEAR = "frechet_distance"
SETTING = ["suite", "validation", "target", "backbone", "weighting", "metric"]
POINT = ["strategy", "transfer_depth", "frozen_depth"]


@dataclass(frozen=True, order=True)
class Head:
    """One column: a strategy at a depth; `depth` is empty where the strategy has one point only."""

    strategy: str
    depth: str

    def __str__(self) -> str:
        return f"{self.strategy} {self.depth}".rstrip()


@dataclass(frozen=True)
class Source:
    """One row: a source task and how far it is from the target, with its interval (None where not measured)."""

    name: str
    distance: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Cell:
    """One comparison; gap and ends are in its scale, NaN where no pair of trials was completed."""

    ntg: float
    low: float
    high: float
    verdict: str
    n_seeds: int
    n_failed: int
    scale: Scale = ACCURACIES

    @property
    def measured(self) -> bool:
        """Whether there is a gap at all."""
        return self.n_seeds > 0


@dataclass(frozen=True)
class Grid:
    """All comparisons of one target, backbone, weighting and size.

    Attributes
    ----------
    setting : dict
        Suite, validation, target, backbone, weighting, metric and target_size.
    title : str
        What of it a reader must know.
    measure : str or None
        What sources are sorted by; None where nothing was measured (then they are sorted by name).
    order : str
        How sources are sorted, and how far that order is sure: see :func:`order_of`.
    sources, heads : tuples
    cells : dict of (source name, Head) -> Cell
    scratch : (score, seeds)
        Mean test score of training from scratch and the number of seeds.
    majority : float or None
        Test accuracy of always predicting the train pool's largest class, a fraction; None where rows do not say,
        and by another metric.
    one_class : tuple of (arm, seeds in which it predicts one class for all test examples, seeds in all)
        Scratch first; none where no arm does.
    """

    setting: dict[str, Any]
    title: str
    measure: str | None
    sources: tuple[Source, ...]
    heads: tuple[Head, ...]
    cells: dict[tuple[str, Head], Cell]
    scratch: tuple[float, int]
    majority: float | None = None
    one_class: tuple[tuple[str, int, int], ...] = ()
    order: str = ""
    scale: Scale = ACCURACIES

    @property
    def reached(self) -> str:
        """What scratch reaches, as text: "87.0 %", "AUROC 91.2 %", "MAE 3.2"."""
        return self.scale.named(self.scratch[0])

    @property
    def groups(self) -> list[tuple[str, tuple[Head, ...]]]:
        """Columns by strategy, in order."""
        found: dict[str, list[Head]] = {}
        for head in self.heads:
            found.setdefault(head.strategy, []).append(head)
        return [(name, tuple(heads)) for name, heads in found.items()]


def grids(comparisons: pd.DataFrame, *, near: str = NEAR) -> list[Grid]:
    """Lay comparisons out, one grid for each target, backbone, weighting and size, sizes ascending.

    Grids that differ in size only have the same rows and columns. Titles name what varies among the comparisons,
    and what ``attrs["varying"]`` says to vary among those that they were taken from.

    Parameters
    ----------
    comparisons : DataFrame
        As :func:`bench.stats.gap.negative_transfer` returns it.
    near : str
        Measure of similarity to sort sources by; where it was not measured, the next one that was.

    Raises
    ------
    UnknownName
        For a measure that the comparisons do not have.
    """
    measures = similarity_columns(comparisons)
    if near not in measures:
        raise unknown("measure", near, measures)
    labels, scales = depth_labels(comparisons), {scale.metric: scale for scale in scales_of(comparisons)}
    comparisons = comparisons if "metric" in comparisons else comparisons.assign(metric=ACCURACY)
    varying = {name for name in SETTING if comparisons[name].nunique(dropna=False) > 1}
    varying |= {*comparisons.attrs.get("varying", ())}  # of what these are a part of, whose other parts stand elsewhere
    found = []
    for setting, part in comparisons.groupby(SETTING, dropna=False, sort=True):
        measure, sources = near_to_far(part, near)
        order = order_of(part, measure)
        heads = tuple(dict.fromkeys(labels[key] for key in _points(part)))
        for size, block in part.groupby("target_size", sort=True):
            named = dict(zip(SETTING, setting, strict=True)) | {"target_size": int(size)}
            scale = scales.get(named["metric"], Scale())
            title = _title(named, varying)
            cells = {(row.source, labels[point_of(row)]): _cell(row, scale) for row in block.itertuples()}
            constant = _one_class(block, labels) if scale.by_labels else ()
            said = _scratch(block), majority_of(block), constant
            found.append(Grid(named, title, measure, sources, heads, cells, *said, order, scale))
    return found


def near_to_far(comparisons: pd.DataFrame, near: str = NEAR) -> tuple[str | None, tuple[Source, ...]]:
    """Sort the sources of one target from near to far by a measure of similarity.

    Returns
    -------
    measure : str or None
        `near`, or the first other measure that was taken; None where there is none.
    sources : tuple of Source
        Those without a measured distance come last, by name. Where intervals overlap the order is one to
        look things up by and no more; :func:`order_of` says so.
    """
    candidates = [near, *(name for name in similarity_columns(comparisons) if name != near)]
    measure = next((name for name in candidates if comparisons[name].notna().any()), None)
    if measure is None:
        return None, tuple(Source(name, None) for name in sorted(comparisons["source"].unique()))
    sign = 1.0 if near_is_low(measure) else -1.0
    columns = [measure, *(measure + end for end in ENDS if measure + end in comparisons)]
    means = comparisons.groupby("source")[columns].mean()
    known = means.astype(object).where(means.notna(), None)
    sources = [Source(*row) for row in known.itertuples()]
    key = {s: (s.distance is None, sign * (s.distance or 0.0), s.name) for s in sources}
    return measure, tuple(sorted(sources, key=key.__getitem__))


def order_of(comparisons: pd.DataFrame, measure: str | None) -> str:
    """Say how the sources of one target are sorted, and how far their intervals tell them apart."""
    if measure is None:
        return "by name: no distance was measured"
    name = measure_name(measure) + ("" if near_is_low(measure) else " (high is near)")
    sources = comparisons[comparisons[measure].notna()].groupby("source")
    columns = [measure, *(measure + end for end in ENDS if measure + end in comparisons)]
    means = sources[columns].mean()
    if len(means) < 2:
        return f"near to far by {name}"
    if not has_intervals(means, measure):
        return f"by {name}, measured without intervals: which is nearer is not sure"
    pairs = len(means) * (len(means) - 1) // 2
    alike = pairs - int(surely_nearer(means, measure).sum())
    if not alike:
        return f"near to far by {name}"
    return f"by {name}, by which {alike} of {pairs} pairs of sources cannot be told apart (95 % intervals overlap)"


def depth_labels(comparisons: pd.DataFrame) -> dict[tuple, Head]:
    """Label every point (strategy, n, f) by what tells it from the strategy's other points.

    "n=2" where only the transfer depth differs or f follows it, "f=2" where only the frozen depth
    differs, "2,1" (n, f) where both do.
    """
    by_strategy: dict[str, list[tuple]] = {}
    for key in sorted(_points(comparisons), key=_order):
        by_strategy.setdefault(key[0], []).append(key)
    labels = {}
    for name, keys in by_strategy.items():
        n_varies, f_varies = (len({key[i] for key in keys}) > 1 for i in (1, 2))
        n_tells = len({key[1] for key in keys}) == len(keys)
        for key in keys:
            _, n, f = key
            if len(keys) == 1:
                depth = ""
            elif n_varies and n_tells:
                depth = f"n={n}"
            elif f_varies and not n_varies:
                depth = f"f={f}"
            else:
                depth = f"{n},{f}"
            labels[key] = Head(name, depth)
    return labels


def point_of(row: Any) -> tuple:
    """Return strategy, transfer depth and frozen depth of a comparison; a depth is None where it is missing."""
    import pandas as pd

    n, f = (None if pd.isna(depth) else int(depth) for depth in (row.transfer_depth, row.frozen_depth))
    return row.strategy, n, f


def _points(comparisons: pd.DataFrame) -> list[tuple]:
    every = {point_of(row) for row in comparisons[POINT].drop_duplicates().itertuples()}
    return sorted(every, key=_order)


def _order(key: tuple) -> tuple:
    """Built-in strategies in the order of their table (variants after their base), others after them."""
    name, n, f = key
    known = list(STRATEGY_ORDER)
    base = max((other for other in known if name.startswith(other)), key=len, default=None)
    place = known.index(base) if base is not None else len(known)
    return place, name, -1 if n is None else n, -1 if f is None else f


def _cell(row: Any, scale: Scale) -> Cell:
    return Cell(row.ntg, row.ntg_low, row.ntg_high, row.verdict, int(row.n_seeds), int(row.n_failed), scale)


def _scratch(block: pd.DataFrame) -> tuple[float, int]:
    """Score of scratch over the most seeds that any comparison has."""
    fullest = block.sort_values("n_seeds", ascending=False, kind="stable").iloc[0]
    return float(fullest[score_column(block, "scratch")]), int(fullest["n_seeds"])


def _one_class(block: pd.DataFrame, labels: dict[tuple, Head]) -> tuple[tuple[str, int, int], ...]:
    """Name the arms that predict one class, those that do in most seeds first."""
    if "n_one_class" not in block:
        return ()
    counts = block[["n_one_class", "n_scratch_one_class"]].fillna(0).astype(int)
    worst = counts["n_scratch_one_class"].idxmax()
    scratch = [("scratch", counts.at[worst, "n_scratch_one_class"], int(block.at[worst, "n_seeds"]))]
    hit = block.loc[counts["n_one_class"].sort_values(ascending=False, kind="stable").index]
    arms = [
        (f"{row.source} by {labels[point_of(row)]}", int(counts.at[row.Index, "n_one_class"]), int(row.n_seeds))
        for row in hit.itertuples()
    ]
    return tuple((name, int(k), n) for name, k, n in (*scratch, *arms) if k)


def failed_alone(comparisons: pd.DataFrame) -> pd.Series:
    """Say of every comparison whether it was run and has no gap, since trials of it failed."""
    return comparisons["ntg"].isna() & (comparisons["n_failed"] > 0)


def majority_of(table: pd.DataFrame) -> float | None:
    """Return the mean of the column `majority_accuracy`, None where it is not known, or by another metric."""
    if set(metrics_of(table)) - {ACCURACY}:
        return None
    if "majority_accuracy" not in table or table["majority_accuracy"].isna().all():
        return None
    return float(table["majority_accuracy"].mean())


def _title(setting: dict[str, Any], varying: Iterable[str]) -> str:
    import pandas as pd

    parts = [f"target {setting['target']}", str(setting["backbone"])]
    parts += [str(setting[name]) for name in ("suite", "validation", "weighting", "metric") if name in varying]
    examples = "example" if setting["target_size"] == 1 else "examples"
    parts.append(f"{setting['target_size']} target {examples}")
    return ", ".join(part for part in parts if not pd.isna(part) and part != "<NA>")
