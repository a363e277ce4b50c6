"""Two tables of the same trials compared: what is the same, what changed, and whether that is more than noise.

For reproductions and for upgrades of a dependency. The rule, for the test score and at the level `alpha`:

1. *A cell*, all seeds of one strategy, depth, pair, backbone and size, has changed when the mean of B - A over its
   seeds differs from 0 by the paired t test (three seeds or more), corrected by Holm over all cells in which
   anything changed.
2. *A row* has changed when B - A is larger than two seeds of its cell differ: t = (B - A) / (s sqrt(2)), s being
   the standard deviation over the cell's seeds in A, or the sampling error of the test set,
   sqrt(p (1 - p) / n_test), where that is larger; n - 1 degrees of freedom. With fewer than three seeds the sampling
   error alone is the yardstick (the normal distribution), which is known of accuracies alone. Corrected by Holm over
   all rows that changed.

Each part is tested at alpha / 2, so that where nothing but noise changed, the chance that anything is called changed
beyond it stays within alpha. A row is beyond noise by its own change or as part of a cell that is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import BenchError
from bench.schema import ACCURACY, OK, SCRATCH, TRIAL, conform
from bench.scores import as_accuracy, metrics_of, with_scores
from bench.stats.gap import COMPARISON_KEY
from bench.stats.paired import TOLERANCE, t_test
from bench.stats.verdict import correct

if TYPE_CHECKING:
    import pandas as pd

SAME, WITHIN, BEYOND, ONLY_A, ONLY_B = "same", "within noise", "beyond noise", "only in A", "only in B"
STATES = (SAME, WITHIN, BEYOND, ONLY_A, ONLY_B)
PLACE = [
    "suite", "source", "target", "backbone", "strategy", "transfer_depth", "frozen_depth", "weighting", "target_size",
    "metric",
]  # fmt: skip
TRIAL_PLACE = [*PLACE, "seed"]
# What of a row is its result. How long it took is none, nor is the key, which says what decided it.
RESULT = [
    "test_score", "val_score", "test_accuracy", "test_loss", "val_accuracy", "val_loss", "learning_rate", "steps",
    "best_step", "trainable_parameters", "source_accuracy", "n_test",
]  # fmt: skip
GAP = ["ntg", "ntg_low", "ntg_high", "p_holm", "verdict", "n_seeds"]
FEWEST_SEEDS = 3


@dataclass
class Difference:
    """What two tables have in common and what not.

    Attributes
    ----------
    trials : DataFrame
        One row a trial of either table: its place, `score_a`, `score_b` (`accuracy_a` and `accuracy_b` where all
        are), `change` (B - A), `p_row` and `p_cell` (corrected), `state`, and `why` where it is in one table only.
    comparisons : DataFrame
        One row a comparison of either: its place, `ntg_a`, `ntg_b`, `verdict_a`, `verdict_b`, `p_change`
        (corrected), `state`.
    notes : list of str
    """

    trials: pd.DataFrame
    comparisons: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    def count(self, table: str, state: str) -> int:
        """Return how many rows of `table` ("trials" or "comparisons") have a state."""
        return int((getattr(self, table)["state"] == state).sum())

    @property
    def verdicts_changed(self) -> pd.DataFrame:
        """The comparisons that both tables have, with another verdict."""
        both = self.comparisons[self.comparisons["state"].isin([SAME, WITHIN, BEYOND])]
        return both[both["verdict_a"] != both["verdict_b"]]


def difference(
    rows_a: pd.DataFrame,
    rows_b: pd.DataFrame,
    comparisons_a: pd.DataFrame,
    comparisons_b: pd.DataFrame,
    *,
    alpha: float = 0.05,
) -> Difference:
    """Compare two tables of trials, and the comparisons that were made of each.

    Parameters
    ----------
    rows_a, rows_b : DataFrame
        One row a trial, columns as in :data:`bench.schema.TRIAL`. A is the reference.
    comparisons_a, comparisons_b : DataFrame
        As :func:`bench.stats.gap.negative_transfer` returns them for these rows.
    alpha : float
        Chance of calling anything changed beyond noise where all changes are noise.

    Raises
    ------
    BenchError
        For an `alpha` outside 0 to 1.
    """
    if not 0 < alpha < 1:
        raise BenchError(f"alpha must lie between 0 and 1, got {alpha}")
    both, notes = _matched(rows_a, rows_b)
    trials = _judged(both, alpha)
    comparisons = _compared(trials, comparisons_a, comparisons_b, alpha)
    notes += _unjudged(trials)
    if set(metrics_of(trials)) <= {ACCURACY}:  # tables as they always were
        names = {"score_a": "accuracy_a", "score_b": "accuracy_b"}
        return Difference(as_accuracy(trials).rename(columns=names), as_accuracy(comparisons), notes)
    return Difference(trials, comparisons, notes)


def shared_trials(rows_a: pd.DataFrame, rows_b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of each table whose trial the other has too: what can be judged alike on both sides."""
    import pandas as pd

    a, b = (with_scores(conform(rows, TRIAL)) for rows in (rows_a, rows_b))
    sides = pd.concat([a[TRIAL_PLACE].drop_duplicates(), b[TRIAL_PLACE].drop_duplicates()], ignore_index=True)
    shared = sides[sides.duplicated()].assign(shared=True)
    kept = []
    for rows in (a, b):
        there = rows[TRIAL_PLACE].merge(shared, on=TRIAL_PLACE, how="left")["shared"].notna().to_numpy()
        kept.append(rows[there].reset_index(drop=True))
    return kept[0], kept[1]


# --- trials --------------------------------------------------------------------------------------------


def _matched(rows_a: pd.DataFrame, rows_b: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Put the rows of one place beside each other."""
    notes, sides = [], []
    for name, rows in (("A", rows_a), ("B", rows_b)):
        rows = with_scores(conform(rows, TRIAL))
        twice = rows.duplicated(TRIAL_PLACE, keep="last")
        if twice.any():
            notes.append(f"{name} has {int(twice.sum()):,} places more than once: the last row of each counts.")
        sides.append(rows[~twice][[*TRIAL_PLACE, *RESULT, "metric_unit", "status", "key"]])
    both = sides[0].merge(sides[1], on=TRIAL_PLACE, how="outer", suffixes=("_a", "_b"), indicator="where", sort=True)
    other = int((both["key_a"] != both["key_b"]).fillna(False).sum())
    if other:
        notes.append(
            f"{other:,} trials have another key: their data, recipe, backbone or schema version is another, not only "
            "the software."
        )
    return both, notes


def _judged(both: pd.DataFrame, alpha: float) -> pd.DataFrame:
    import pandas as pd

    done_a, done_b = (both[f"status_{side}"].fillna(OK).eq(OK) & both["where"].ne(gone) for side, gone in _SIDES)
    identical = pd.Series(True, index=both.index)
    for name in RESULT:
        a, b = both[f"{name}_a"], both[f"{name}_b"]
        identical &= (a.eq(b).fillna(False) | (a.isna() & b.isna())).astype(bool)
    table = both[TRIAL_PLACE].assign(
        score_a=both["test_score_a"], score_b=both["test_score_b"], change=both["test_score_b"] - both["test_score_a"],
        metric_unit=both["metric_unit_a"].fillna(both["metric_unit_b"]),
    )  # fmt: skip
    changed = done_a & done_b & ~identical
    place = table.groupby(PLACE, dropna=False, sort=False).ngroup()
    spread = _spread(both, done_a, place)
    table["p_cell"] = _cell_p(table, place, changed, done_a & done_b)
    table["p_row"] = _row_p(table["change"], *spread, changed)
    beyond = changed & ((table["p_row"] <= alpha / 2) | (table["p_cell"] <= alpha / 2))
    # Two failures of one trial agree; a result that only one side has is missing on the other.
    both_failed = both["where"].eq("both") & ~done_a & ~done_b
    table["state"] = np.select(
        [beyond, changed, (done_a & done_b) | both_failed, done_a | (both["where"].eq("left_only"))],
        [BEYOND, WITHIN, SAME, ONLY_A],
        ONLY_B,
    )
    table["why"] = np.select(
        [table["state"].isin(STATES[:3]), both["where"].eq("both")], ["", "the other failed"], "the other has no row"
    )
    return table


_SIDES = (("a", "right_only"), ("b", "left_only"))


def _spread(both: pd.DataFrame, done: pd.Series, place: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return for each row the standard deviation that noise has, and its degrees of freedom, from A."""
    by = both["test_score_a"].where(done).groupby(place)
    n, sd, mean = (by.transform(how).to_numpy(dtype=float) for how in ("count", "std", "mean"))
    examples = both["n_test_a"].to_numpy(dtype=float, na_value=np.nan)
    # One more right and one more wrong: a place that is always right has sampling error too.
    p = (mean * examples + 1) / (examples + 2)
    plain = both["metric"].eq(ACCURACY).to_numpy()
    sampling = np.where(plain, np.nan_to_num(np.sqrt(np.where(plain, p * (1 - p) / examples, 0.0))), np.nan)
    few = n < FEWEST_SEEDS
    return np.where(few, sampling, np.fmax(sd, sampling)), np.where(few, np.inf, n - 1)


def _row_p(change: pd.Series, spread: np.ndarray, freedom: np.ndarray, changed: pd.Series) -> np.ndarray:
    from scipy import stats

    moved = changed.to_numpy() & (np.abs(change.to_numpy(dtype=float)) > TOLERANCE)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(change.to_numpy(dtype=float)) / (spread * np.sqrt(2))
    p = np.where(moved, 2 * stats.t.sf(t, freedom), np.where(changed, 1.0, np.nan))
    return _holm(p)


def _cell_p(table: pd.DataFrame, place: pd.Series, changed: pd.Series, done: pd.Series) -> np.ndarray:
    """Return for each row the corrected p value of its cell's mean change; NaN where there is none."""
    p = _mean_p(table["change"][done], place[done])
    moved = changed.groupby(place).any()
    p = p[p.index.isin(moved.index[moved])]
    corrected = dict(zip(p.index, _holm(p.to_numpy()), strict=True))
    return np.where(done, place.map(corrected).to_numpy(dtype=float), np.nan)


def _mean_p(change: pd.Series, group: pd.Series) -> pd.Series:
    """Return the p value of each group's mean change by the paired t test, for groups of three or more."""
    import pandas as pd

    order = np.argsort(group.to_numpy(), kind="stable")
    values, groups = np.round(change.to_numpy(dtype=float)[order], 12), group.to_numpy()[order]
    names, starts, counts = np.unique(groups, return_index=True, return_counts=True)
    found = pd.Series(np.nan, index=names)
    for n in np.unique(counts[counts >= FEWEST_SEEDS]):
        members = counts == n
        matrix = values[starts[members][:, None] + np.arange(n)].T
        found[names[members]] = t_test(matrix)
    return found.dropna()


def _holm(p: np.ndarray) -> np.ndarray:
    import pandas as pd

    return correct(pd.Series(p), pd.Series(0, index=range(len(p))), "holm")


def _unjudged(trials: pd.DataFrame) -> list[str]:
    """Say of which metrics single rows changed that nothing tells from noise."""
    blind = trials[(trials["state"] == WITHIN) & (trials["metric"] != ACCURACY) & trials["p_row"].isna()]
    return [
        f"{len(part):,} rows by {metric} changed, of cells with fewer than {FEWEST_SEEDS} seeds: nothing tells that "
        "from noise."
        for metric, part in blind.groupby("metric")
    ]


# --- comparisons ---------------------------------------------------------------------------------------


def _compared(trials: pd.DataFrame, a: pd.DataFrame, b: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Match comparisons; the change of a gap is judged by the paired t test over seeds, like a cell's."""
    both = a[[*COMPARISON_KEY, *GAP]].merge(
        b[[*COMPARISON_KEY, *GAP]], on=COMPARISON_KEY, how="outer", suffixes=("_a", "_b"), indicator="where", sort=True
    )
    shared = both["where"].eq("both")
    same = shared.copy()
    for name in GAP:
        left, right = both[f"{name}_a"], both[f"{name}_b"]
        same &= (left.eq(right).fillna(False) | (left.isna() & right.isna())).astype(bool)
    gaps = _gap_changes(trials, both)
    p = _mean_p(gaps["change"], gaps["comparison"]).reindex(both.index).where(shared & ~same).to_numpy(dtype=float)
    both["p_change"] = _holm(p)
    few = gaps.groupby("comparison")["beyond"].any().reindex(both.index, fill_value=False)
    beyond = (both["p_change"] <= alpha) | (both["p_change"].isna() & few & shared & ~same)
    only_a = both["where"].eq("left_only")
    both["state"] = np.select([same, shared & beyond, shared, only_a], [SAME, BEYOND, WITHIN, ONLY_A], ONLY_B)
    return both.drop(columns="where")


def _gap_changes(trials: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return, for each comparison and seed, the change of the gap, and whether one of its rows is beyond noise."""
    import pandas as pd

    setting = ["suite", "target", "backbone", "target_size", "metric", "seed"]
    known = trials[trials["state"].isin([SAME, WITHIN, BEYOND])]
    scratch = known[known["source"].isna() & (known["strategy"] == SCRATCH)][[*setting, "change", "state"]]
    place = [name for name in PLACE if name != "target_size"]
    wanted = comparisons[[*place, "target_size"]].assign(comparison=comparisons.index)
    transfer = known[known["source"].notna()][[*TRIAL_PLACE, "change", "state"]]
    # Rows that use no target label stand at size 0 and are compared at every size.
    free = transfer["target_size"] == 0
    pairs = [
        transfer[~free].merge(wanted, on=PLACE),
        transfer[free].drop(columns="target_size").merge(wanted, on=place),
    ]
    both = pd.concat(pairs, ignore_index=True).merge(scratch, on=setting, suffixes=("", "_scratch"))
    both["beyond"] = (both["state"] == BEYOND) | (both["state_scratch"] == BEYOND)
    return both.assign(change=both["change_scratch"] - both["change"])[["comparison", "change", "beyond"]].dropna()
