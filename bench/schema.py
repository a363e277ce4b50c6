"""The columns of the two tables: one row a trial, one row a comparison.

Every table that leaves the harness has these columns, in this order and with these types, whatever
wrote it; columns that are not listed here (a user's own measure of similarity, say) follow after them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

OK = "ok"
LEVEL = 0.95  # of the intervals of measured similarity
FAR_LOSS = 10.0  # times a constant prediction's loss: more than a model has that learned its examples by heart
SCRATCH = "scratch"
BY_TARGET, BY_OWN = "target", "each"  # of the column standardised_by, beside the names of tasks
ACCURACY = "accuracy"  # the metric of rows that name none
POINTS = "points"  # hundredths of a bounded score: the unit of its gaps
VERDICTS = ("negative", "positive", "equivalent", "inconclusive")


FURTHER = "test_score_"  # with a name: the column of a score on a further test set


def metric_column(name: str) -> str:
    """Name the column of a metric's score on the test set."""
    return f"test_{name.replace('-', '_')}"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name : str
    dtype : {"string", "Int64", "float64"}
        The pandas type. The first two are nullable (``pandas.NA``), floats use NaN.
    meaning : str
        What it says, with its unit.
    near : {"low", "high"} or None
        For a measure of similarity: which end means that source and target are alike.
    """

    name: str
    dtype: str
    meaning: str
    near: str | None = None


MEASURES: tuple[Column, ...] = (
    Column("proxy_a_distance", "float64", "Proxy A-distance of source and target features, 0 (alike) to 2", near="low"),
    Column("frechet_distance", "float64", "Frechet distance of source and target features, from 0 (alike)", near="low"),
    Column("leep", "float64", "LEEP score of the source model on the target, nats, at most 0 (best)", near="high"),
)

OTHER_METRICS = (
    "balanced-accuracy", "macro-f1", "auroc", "log-loss", "expected-calibration-error", "r2", "mae",
    "mean-average-precision",
)  # fmt: skip
ENDS = ("_low", "_high")  # of a measure's columns with its 95 % interval, which older rows lack
_DECLARED: dict[str, str] = {}

TRIAL: tuple[Column, ...] = (
    Column("suite", "string", "Suite that the trial belongs to"),
    Column("source", "string", "Source task; missing for training from scratch"),
    Column("target", "string", "Target task"),
    Column("backbone", "string", "Network"),
    Column("strategy", "string", "How the target model starts and is trained"),
    Column("transfer_depth", "Int64", "Blocks copied from the source model, counted from the input (n)"),
    Column("frozen_depth", "Int64", "Copied blocks that stay fixed at the end of training (f)"),
    Column("weighting", "string", "How source examples were weighted"),
    Column("target_size", "Int64", "Labelled target examples in all, validation included; 0 where none is used"),
    Column("seed", "Int64", "Seed of subsample, head and batches; scratch and transfer are paired by it"),
    Column("source_seed", "Int64", "Seed of the source model; missing for scratch"),
    Column("status", "string", '"ok" or "failed"'),
    Column("test_accuracy", "float64", "Accuracy on the target's test set, fraction"),
    Column("test_loss", "float64", "Mean cross-entropy on the test set, nats"),
    Column("val_accuracy", "float64", "Accuracy on the validation data, fraction; what choices are made by"),
    Column("val_loss", "float64", "Mean cross-entropy on the validation data, nats"),
    Column("learning_rate", "float64", "Learning rate chosen on validation data"),
    Column("steps", "Int64", "Optimiser steps taken in the chosen run; 0 where the head alone was solved"),
    Column("best_step", "Int64", "Step whose weights were kept, chosen on validation data"),
    Column("learning_rates", "string", "Learning rates that were tried"),
    Column(
        "collapsed_rates", "string", "Those at which training collapsed: it ended no better than a constant prediction"
    ),
    Column("head_strength", "float64", "Strength of a solved head's L2 penalty; missing where heads were stepped"),
    Column("head_strengths", "string", "Strengths that were tried; missing where the learning rate was chosen"),
    Column(
        "head_gradient",
        "float64",
        "Gradient's norm at a solved head, relative to that at the best constant prediction; the solver stops at 1e-6",
    ),
    Column("train_loss", "float64", "Training loss of the last batch before the weights that were kept, nats"),
    Column("constant_loss", "float64", "Training loss of the best constant prediction (entropy of the labels), nats"),
    Column(
        "cut", "string", 'What frozen blocks compute: "cached" or "recomputed" each step; missing if none is frozen'
    ),
    Column("seconds", "float64", "Wall-clock time of the trial, or its share of a stack's, s"),
    Column("trainable_parameters", "Int64", "Parameters that training could change"),
    Column("source_accuracy", "float64", "Source model's accuracy on its own test set, fraction"),
    Column("source_seconds", "float64", "Wall-clock time of training the source model, or its share of a stack's, s"),
    Column(
        "weight_auroc", "float64", "How well low weights find planted harm, area under the ROC curve; chance is 0.5"
    ),
    Column("weight_average_precision", "float64", "The same as average precision; chance is the harmful share"),
    Column("effective_sample_size", "float64", "Source examples that the weights amount to, sum(w)^2 / sum(w^2)"),
    Column("weight_fallbacks", "Int64", "Steps in which all weights were zero, so that uniform ones were used"),
    Column(
        "weight_loss_correlation",
        "float64",
        "Spearman's correlation of source examples' weights and losses in the last tenth of the training",
    ),
    Column(
        "standardised_by",
        "string",
        'Task whose train pool gave mean and spread to the tables of the trial: "target", a name, or "each" its own; '
        "missing where inputs are taken as they are",
    ),
    Column("method", "string", "What a step minimised; missing for the head's loss of the labelled examples"),
    Column("n_unlabelled", "Int64", "Target examples whose inputs the method saw without their labels"),
    Column("adapt", "string", "What trained above the frozen depth; missing for everything"),
    Column("validation", "string", "Where validation data came from"),
    Column("n_test", "Int64", "Test examples"),
    Column(
        "majority_accuracy", "float64", "Test accuracy of always predicting the train pool's largest class, fraction"
    ),
    Column("classes_predicted", "Int64", "Different classes among the predictions on the test set; 1: one class alone"),
    Column("context", "string", "Digest of what comparable trials share: target data, backbone, recipe"),
    Column("error", "string", "What went wrong in a failed trial"),
    Column("traceback", "string", "Where a failed trial's traceback is kept"),
    Column("key", "string", "Digest of everything that decides the trial's result"),
    Column("metric", "string", "Metric that models are chosen and judged by; more is better"),
    Column("metric_unit", "string", '"points" (hundredths) of a bounded metric, "nats", ...; "": that of the target'),
    Column("test_score", "float64", "The metric on the target's test set; of an error, minus its value"),
    Column("val_score", "float64", "The metric on the validation data; what choices are made by"),
    *(Column(metric_column(name), "float64", f"{name} on the test set, more being better") for name in OTHER_METRICS),
    *MEASURES,
)

COMPARISON: tuple[Column, ...] = (
    Column("source", "string", "Source task"),
    Column("target", "string", "Target task"),
    Column("backbone", "string", "Network"),
    Column("strategy", "string", "How the target model starts and is trained"),
    Column("transfer_depth", "Int64", "Blocks copied (n); missing where it was chosen per seed"),
    Column("frozen_depth", "Int64", "Copied blocks that stay fixed (f); missing where it was chosen per seed"),
    Column("weighting", "string", "How source examples were weighted"),
    Column("target_size", "Int64", "Labelled target examples of the scratch arm"),
    Column("n_seeds", "Int64", "Seeds for which both arms have a result"),
    Column("scratch_accuracy", "float64", "Mean test accuracy of training from scratch, fraction"),
    Column("transfer_accuracy", "float64", "Mean test accuracy of the transfer, fraction"),
    Column("ntg", "float64", "Negative transfer gap, scratch minus transfer by the metric; above 0 is harm"),
    Column("ntg_low", "float64", "Lower end of the gap's confidence interval (paired t), not corrected"),
    Column("ntg_high", "float64", "Upper end of the gap's confidence interval (paired t), not corrected"),
    Column("p_value", "float64", "Two-sided p value of no gap, not corrected"),
    Column("p_holm", "float64", "The same, corrected over the family by the method in `correction`"),
    Column("verdict", "string", "negative, positive, equivalent or inconclusive"),
    Column("ntg_tuned", "float64", "Mean gap to the scratch arm that is best on validation data, per seed"),
    Column("p_equivalence", "float64", "p value of the equivalence test (TOST) at the margin, not corrected"),
    Column("p_equivalence_holm", "float64", "The same, corrected like p_holm"),
    Column("correction", "string", "Method of correction: holm or fdr_bh"),
    Column("n_failed", "Int64", "Seeds lost because the transfer or its scratch trial failed"),
    Column("suite", "string", "Suite that the trials belong to"),
    Column("validation", "string", "Where validation data came from"),
    Column("source_accuracy", "float64", "Mean accuracy of the source models on their own test set, fraction"),
    Column("test", "string", "Which test gave the p values: t (paired) or sign-flip (exact)"),
    Column("contrast", "string", "Named contrast that the comparison belongs to; missing for the others"),
    Column("ntg_boot_low", "float64", "Lower end of the gap's bootstrap interval, fraction; NaN unless asked for"),
    Column("ntg_boot_high", "float64", "Upper end of the gap's bootstrap interval, fraction; NaN unless asked for"),
    Column("resampled", "string", 'What that bootstrap resampled: "seeds" or "seeds and examples"'),
    Column(
        "majority_accuracy", "float64", "Test accuracy of always predicting the train pool's largest class, fraction"
    ),
    Column("n_one_class", "Int64", "Of these seeds, those where the transfer predicts one class for all test examples"),
    Column("n_scratch_one_class", "Int64", "Of these seeds, those where scratch does"),
    Column("metric", "string", "Metric that models are chosen and judged by; more is better"),
    Column("metric_unit", "string", '"points" (hundredths) of a bounded metric, "nats", ...; "": that of the target'),
    Column("scratch_score", "float64", "Mean of the metric on the test set, of training from scratch"),
    Column("transfer_score", "float64", "Mean of the metric on the test set, of the transfer"),
    *MEASURES,
)

# What rows say of metrics since there are several: the rest of a row decides it.
SCORES = ("metric", "metric_unit", "test_score", "val_score", *map(metric_column, OTHER_METRICS))

# Written beside a row whose depth was chosen on validation data; they describe, and measure nothing.
CHOSEN = ("chosen_transfer_depth", "chosen_frozen_depth")


def empty(columns: Sequence[Column] = TRIAL) -> pd.DataFrame:
    """Return a table of no rows with the right columns and types."""
    return conform([], columns)


def conform(records: Iterable[Mapping[str, Any]] | pd.DataFrame, columns: Sequence[Column] = TRIAL) -> pd.DataFrame:
    """Give records the columns and types of the schema.

    Columns that the records lack become missing values; columns that the schema lacks are kept, after
    the others. An empty string for `source` counts as missing.

    Parameters
    ----------
    records : iterable of mappings, or DataFrame
    columns : sequence of Column
        :data:`TRIAL` or :data:`COMPARISON`.

    Returns
    -------
    DataFrame
        A new one, with a fresh index and the attributes (``attrs``) of `records`.

    Raises
    ------
    DataError
        For a value that does not fit its column, with the value and its row.
    """
    import pandas as pd

    given = records if isinstance(records, pd.DataFrame) else pd.DataFrame(list(records))
    given = given.reset_index(drop=True)
    series = {column.name: _cast(given, column) for column in columns}
    for name in given.columns:
        if name not in series:
            series[name] = _settle(given[name])
    frame = pd.DataFrame(series, index=given.index)
    frame.attrs = dict(given.attrs)
    return frame


def _cast(given: pd.DataFrame, column: Column) -> pd.Series:
    import pandas as pd

    if column.name not in given.columns:
        return pd.Series(None, index=given.index, dtype=column.dtype)
    values = given[column.name]
    try:
        values = values.astype(column.dtype)
    except (TypeError, ValueError) as error:
        raise _misfit(values, column) from error
    return values.mask(values == "") if column.name == "source" else values


def _misfit(values: pd.Series, column: Column) -> DataError:
    """Build the error for the first value that does not fit."""
    import pandas as pd

    kind = {"Int64": "a whole number", "float64": "a number", "string": "text"}[column.dtype]
    for row, value in values.items():
        try:
            pd.Series([value]).astype(column.dtype)
        except (TypeError, ValueError):
            return DataError(f'column "{column.name}", row {row}: {value!r} is not {kind}')
    return DataError(f'column "{column.name}" does not hold {kind} in every row')


def _settle(values: pd.Series) -> pd.Series:
    """Give a column outside the schema a plain type: float where it can be, else as it is."""
    if values.dtype == object and values.map(lambda v: v is None or isinstance(v, int | float)).all():
        return values.astype("float64")
    return values


def similarity_columns(frame: pd.DataFrame) -> list[str]:
    """Name the columns of `frame` that measure similarity: the built-in ones, then a user's own.

    A user's own is any column of numbers that neither table's schema lists and that is neither an end of an
    interval nor a score on a test set.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    built_in = [column.name for column in MEASURES]
    known = {column.name for column in (*TRIAL, *COMPARISON)} | set(CHOSEN)
    own = [
        name
        for name in frame.columns
        if name not in known
        and not name.startswith("test_")
        and not any(name.endswith(end) and name.removesuffix(end) in frame.columns for end in ENDS)
        and is_numeric_dtype(frame[name])
        and not is_bool_dtype(frame[name])
    ]
    return [name for name in built_in if name in frame.columns] + own


def interval_columns(frame: pd.DataFrame) -> list[str]:
    """Name the columns of `frame` with the ends of measures' intervals, two for each measure that has them."""
    ends = [name + end for name in similarity_columns(frame) for end in ENDS]
    return [name for name in ends if name in frame.columns]


def declare_near(measure: str, near: str) -> None:
    """Say which end of a user's own measure means near, as its decorator or the rows that have it do."""
    _DECLARED[measure] = near


def near_attrs(frame: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Return what a stored table must say of its own measures, as attributes: which of them are high where near."""
    own = {name: "high" for name in similarity_columns(frame) if not near_is_low(name)}
    own = {name: near for name, near in own.items() if name not in {column.name for column in MEASURES}}
    return {"near": own} if own else {}


def near_is_low(measure: str) -> bool:
    """Whether low values of `measure` mean that source and target are alike (true for an unknown one)."""
    built_in = {column.name: column.near for column in MEASURES}
    return built_in.get(measure, _DECLARED.get(measure, "low")) == "low"
