"""The gap class by class: a transfer may help on average and ruin one class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import DataError, nearest
from bench.schema import SCRATCH
from bench.scores import as_accuracy
from bench.stats import paired
from bench.stats.gap import COMPARISON_KEY, SETTING, prepare
from bench.stats.verdict import correct as correct_p

if TYPE_CHECKING:
    import pandas as pd


def per_class_gap(
    rows: pd.DataFrame,
    correct: Mapping[str, np.ndarray],
    labels: Mapping[str, Sequence[int]],
    classes: Mapping[str, Sequence[str]] | None = None,
    *,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Compare every transfer with scratch on the test examples of each class.

    Parameters
    ----------
    rows : DataFrame
        One row a trial, columns as in :data:`bench.schema.TRIAL`.
    correct : mapping of key to bool array, shape (n_test,)
        Which test examples each trial got right, as :func:`bench.load_correctness` gives it.
    labels : mapping of target to int array, shape (n_test,)
        The classes of its test examples in the task's own order: ``task.y_test`` of the built task. A
        ledger does not keep them; :func:`bench.tasks.truth.test_labels` builds the targets of a suite
        and returns both this and `classes`.
    classes : mapping of target to names, optional
        What the labels stand for.
    alpha : float

    Returns
    -------
    DataFrame
        What identifies a comparison, `label`, `class`, `n_examples`, `n_seeds`, `scratch_recall`,
        `transfer_recall`, `ntg` (scratch minus transfer; above 0 is harm), `ntg_low`, `ntg_high` and
        `p_value` (paired t over seeds), and `p_holm` over the classes of a comparison.

    Raises
    ------
    DataError
        When a target has no labels, or not as many as a trial has answers.
    """
    import pandas as pd

    rows = prepare(rows)
    rows = rows[rows["done"] & rows["key"].isin(correct.keys())]
    scratch = rows[rows["source"].isna() & (rows["strategy"] == SCRATCH)]
    beside = scratch[[*SETTING, "seed", "key"]].rename(columns={"key": "scratch_key"})
    trials = rows[rows["source"].notna() & (rows["target_size"] > 0)].merge(beside, on=[*SETTING, "seed"])
    found = []
    for place, part in trials.groupby(COMPARISON_KEY, dropna=False, sort=True):
        named = dict(zip(COMPARISON_KEY, place, strict=True))
        truth = _truth(named["target"], labels, correct[part["key"].iloc[0]])
        names = (classes or {}).get(named["target"])
        right = {arm: np.stack([correct[key] for key in part[arm]]) for arm in ("scratch_key", "key")}
        for label in np.unique(truth):
            here = truth == label
            recall = {arm: answers[:, here].mean(axis=1) for arm, answers in right.items()}
            gap, low, high, p = paired.summary(recall["scratch_key"] - recall["key"], alpha)
            found.append(
                named
                | {"label": int(label), "class": str(names[label]) if names is not None else str(label)}
                | {"n_examples": int(here.sum()), "n_seeds": len(part)}
                | {"scratch_recall": recall["scratch_key"].mean(), "transfer_recall": recall["key"].mean()}
                | {"ntg": gap, "ntg_low": low, "ntg_high": high, "p_value": p}
            )
    if not found:
        raise DataError("no comparison has a record of which test examples were right: a run's ledger keeps it")
    table = pd.DataFrame(found)
    groups = table.groupby(COMPARISON_KEY, dropna=False).ngroup()
    return as_accuracy(table.assign(p_holm=correct_p(table["p_value"], groups, "holm")))


def _truth(target: str, labels: Mapping[str, Sequence[int]], answers: np.ndarray) -> np.ndarray:
    if target not in labels:
        raise DataError(f'no labels were given for the target "{target}"{nearest(target, labels)}')
    truth = np.asarray(labels[target])
    if truth.shape != answers.shape:
        raise DataError(f"{target} has {len(truth)} test labels, but trials have {len(answers)} answers")
    return truth
