"""Which figures there are: one table, from which the report, the run folder and a reproduction draw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.report.grid import NEAR, SETTING
from bench.report.style import slug
from bench.schema import ACCURACY
from bench.scores import Scale, scales_of
from bench.stats.gap import options_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COMPARISONS = "comparisons"
ROWS = "rows"
WEIGHTS = "weights"
PLACE = ["suite", "target", "backbone"]


@dataclass(frozen=True)
class Kind:
    """One kind of figure.

    Attributes
    ----------
    title : str
        What it shows, as a heading.
    reading : str
        How to read it, in a sentence or two.
    function : str
        ``"module:name"`` of a function from a DataFrame to a matplotlib figure, which raises a
        ``BenchError`` that says what is missing where it cannot be drawn.
    reads : {"comparisons", "rows", "weights"}
        What the DataFrame holds: a row a comparison, a row a trial, or a row a source example.
    each : bool
        Whether there is one for each target, backbone and weighting (of rows, for each target and
        backbone, with its scratch rows); else one for the whole suite.
    brief : bool
        Whether it is drawn at the end of every run; the others when a report asks for them.
    near : str or None
        Name of the argument that takes the measure of similarity, where there is one.
    """

    title: str
    reading: str
    function: str
    reads: str = COMPARISONS
    each: bool = False
    brief: bool = False
    near: str | None = None

    def by(self, scale: Scale) -> Kind:
        """Return the same kind with words for scores by another metric than accuracy."""
        if scale.metric == ACCURACY:
            return self
        title = self.title.replace("Accuracy", f"{scale.label[0].upper()}{scale.label[1:]}")
        reading = self.reading.replace("in points", f"in {scale.units}")
        for word in ("Accuracy", "accuracy"):
            reading = reading.replace(word, scale.label)
        return replace(self, title=title, reading=reading)


FIGURES: dict[str, Kind] = {
    "gap_map": Kind(
        "The gap for every source, strategy and depth",
        "A cell is scratch minus transfer in points: red harms, blue helps. Sources are sorted by measured similarity.",
        "bench.report.figure:gap_map",
        each=True,
        brief=True,
        near="near",
    ),
    "transfer_map": Kind(
        "The transfer map",
        "To the right more blocks are copied, upwards more of them are frozen; red harms, blue helps. Scratch stands "
        "at the lower left, fine-tuning at the lower right, feature extraction at the top. The best cell is ringed.",
        "bench.report.transfer_map:transfer_map",
        each=True,
        brief=True,
        near="near",
    ),
    "forest": Kind(
        "Every comparison with its interval",
        "A point is a mean gap, its line the confidence interval over seeds; right of zero transfer harms. Colour and "
        "shape are the corrected verdict.",
        "bench.report.forest:forest",
        each=True,
        near="near",
    ),
    "gap_by_depth": Kind(
        "The gap at every transfer depth",
        "AnB copies and freezes the first n blocks, AnB+ copies and tunes them. Where a source has the target's own "
        "classes (BnB, BnB+), the lower panels split the gap into its parts.",
        "bench.report.depth_figure:gap_by_depth",
        reads=ROWS,
        each=True,
        near="near",
    ),
    "gap_against_similarity": Kind(
        "The gap against measured similarity",
        "A point is one pair, averaged over strategies and depths; to the right the sources get farther. Pairs whose "
        "intervals of similarity overlap cannot be told apart, and are tied in the rank correlation.",
        "bench.report.similarity_figure:gap_against_similarity",
        reads=ROWS,
        brief=True,
    ),
    "size_similarity": Kind(
        "Target size and similarity: who won, and was the textbook right",
        "A cell names the strategy that won, how far it is ahead of scratch and how surely; below it the textbook's "
        "advice and whether it held. A source whose similarity cannot be told from the other half's has no advice.",
        "bench.report.corners:corners",
        reads=ROWS,
        each=True,
        near="measure",
    ),
    "learning_curves": Kind(
        "Accuracy over target size, and what transfer is worth in data",
        "Above, accuracy with scratch in black; below, the multiple of scratch's data that reaches the same accuracy.",
        "bench.report.learning:learning_curves",
        reads=ROWS,
        each=True,
        near="near",
    ),
    "share_won_back": Kind(
        "What weighting the source examples won back",
        "At 0 a weighting did nothing, at 100 % as much as knowing which examples are harmful.",
        "bench.report.won_back_figure:share_won_back",
        reads=ROWS,
        brief=True,
    ),
    "accuracy_against_cost": Kind(
        "Accuracy against cost",
        "A point is a strategy at a depth; to the right it costs more parameters, or more seconds.",
        "bench.report.cost:accuracy_against_cost",
        reads=ROWS,
        each=True,
    ),
}

# Of what a run folder alone keeps: it is drawn where there is one.
EXAMPLE_WEIGHTS = Kind(
    "How much harmful and helpful source examples weighed",
    "Mean weight over the training of the source model, 1 being the mean of all examples; a weighting that finds what "
    "is harmful gives it the smaller weights.",
    "bench.report.weights_figure:example_weights",
    reads=WEIGHTS,
)


@dataclass(frozen=True)
class Panel:
    """One figure to draw: a kind, and what of the results it is about.

    Attributes
    ----------
    name : str
        Of its file, without an ending.
    title : str
    """

    name: str
    title: str
    kind: Kind
    table: pd.DataFrame
    near: str

    def draw(self) -> Figure:
        """Draw it.

        Raises
        ------
        BenchError
            When what it shows is not among the results.
        """
        module, _, name = self.kind.function.partition(":")
        options = {self.kind.near: self.near} if self.kind.near else {}
        try:
            return getattr(import_module(module), name)(self.table, **options)
        except ValueError as error:
            # matplotlib's word for a name it takes for mathematics, or for an axis without a finite end.
            raise BenchError(" ".join(str(error).split())[:300]) from error


def panels(rows: pd.DataFrame, comparisons: pd.DataFrame, *, near: str = NEAR) -> Iterator[Panel]:
    """Yield every figure of a suite's results, in the order of the table.

    Parameters
    ----------
    rows : DataFrame
        One row a trial.
    comparisons : DataFrame
        One row a comparison, of these rows.
    near : str
        Measure of similarity that sorts sources.
    """
    scales = {scale.metric: scale for scale in scales_of(comparisons)}
    only = next(iter(scales.values())) if len(scales) == 1 else None
    if only is not None and not only.bounded:
        rows = rows.assign()  # figures that judge anew need the margin that the suite says
        rows.attrs = {**rows.attrs, "margin": options_of(comparisons)["margin"]}
    for name, plain in FIGURES.items():
        kind = plain.by(only) if only else plain
        table = comparisons if kind.reads == COMPARISONS else rows
        if not kind.each and only:
            yield Panel(name, kind.title, kind, table, near)
            continue
        # Scratch has no weighting, so rows are parted without it.
        columns = SETTING if kind.reads == COMPARISONS else [*PLACE, "metric"]
        columns = columns if kind.each else ["metric"]
        varying = [column for column in columns if comparisons[column].nunique(dropna=False) > 1]
        for values, part in table.groupby(columns, dropna=False, sort=True):
            setting = dict(zip(columns, values, strict=True))
            kind = plain.by(scales.get(setting["metric"], Scale()))
            part.attrs = table.attrs | {"varying": varying}
            said = [str(setting[column]) for column in varying]
            tail = "".join(f"-{slug(text)}" for text in said)
            yield Panel(
                name + tail, ": ".join([kind.title, ", ".join(said)] if said else [kind.title]), kind, part, near
            )


def weight_panels(weights: pd.DataFrame) -> Iterator[Panel]:
    """Yield a figure of the weights for every source in which examples are known to be harmful, and every target.

    Parameters
    ----------
    weights : DataFrame
        One row an example, as :func:`bench.ledger.example_weights.load_weights` gives it. Weights that were learned
        from the target are those of its largest size; joint trainings are left out.
    """
    own = weights[~weights["joint"].astype(bool)]
    for (backbone, source), part in own.groupby(["backbone", "source"], sort=True):
        if not part["harmful"].fillna(False).astype(bool).any():
            continue
        for target in sorted(part["target"].dropna().unique()) or [None]:
            mine = part[part["target"].isna() | (part["target"] == target)]
            sizes = mine["target_size"]
            mine = mine[sizes.isna() | (sizes == sizes.max())]
            said = source if target is None else f"{source} -> {target}, {int(sizes.max()):,} labels"
            said += f", {backbone}" if own["backbone"].nunique() > 1 else ""
            title = f"{EXAMPLE_WEIGHTS.title}: {said}"
            yield Panel(f"example_weights-{slug(said)}", title, EXAMPLE_WEIGHTS, mine, NEAR)
