"""The negative transfer gap: scratch minus transfer, paired by seed, with an interval and a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import BenchError, DataError, nearest, unknown
from bench.schema import ACCURACY, COMPARISON, OK, SCRATCH, TRIAL, conform, similarity_columns
from bench.scores import MARGIN, metrics_of, scale_of, with_scores
from bench.stats import collapse, paired
from bench.stats.bootstrap import BOTH, gap_intervals
from bench.stats.edges import grid_edges
from bench.stats.family import check_contrasts, families, name_contrasts
from bench.stats.nearness import similarity_means
from bench.stats.one_class import one_class_seeds, scratch_warnings
from bench.stats.own_merit import own_merits
from bench.stats.verdict import CORRECTIONS, verdicts
from bench.stats.verdict import correct as correct_p

if TYPE_CHECKING:
    import pandas as pd

# What a comparison is judged within: rows of two suites, two ways of validation or two metrics never meet.
SCOPE = ["suite", "validation"]
SETTING = [*SCOPE, "target", "backbone", "target_size", "metric"]
COMPARISON_KEY = [*SETTING, "source", "weighting", "strategy", "transfer_depth", "frozen_depth"]
REQUIRED = ["source", "target", "backbone", "strategy", "target_size", "seed", "test_accuracy"]
AUTO = "auto"
INTERVALS = ("t", "bootstrap")
TESTS = {
    "t": (paired.t_test, paired.t_equivalence),
    "sign-flip": (paired.sign_flip_test, paired.sign_flip_equivalence),
}


def negative_transfer(
    rows: pd.DataFrame,
    *,
    margin: float | None = None,
    alpha: float = 0.05,
    test: str = "t",
    correction: str = "holm",
    family: Sequence[str] = ("target", "target_size"),
    contrasts: Mapping[str, Mapping[str, Any]] | None = None,
    interval: str = "t",
    correct: Mapping[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    r"""Compare every transfer with training from scratch.

    The negative transfer gap of a comparison is :math:`\mathrm{NTG} = \mathrm{score}(scratch) -
    \mathrm{score}(transfer)` on the target's test set (Wang et al., CVPR 2019, in scores, of which more is
    better, instead of errors): above zero, transfer harms. Scores are by the metric that the rows name, accuracy
    where they name none; those of two metrics are never compared. It is the mean over the seeds that both arms have,
    paired by seed. Its interval comes from the paired t distribution and is not corrected; verdicts are
    read from corrected p values (see :func:`bench.stats.verdict.verdicts` for their order), so an
    interval that excludes 0 may still be *inconclusive*.

    Zero-shot rows (target size 0: no target label is used) are compared with scratch at every size.

    Parameters
    ----------
    rows : DataFrame
        One row a trial, columns as in :data:`bench.schema.TRIAL`; of these, `source`, `target`,
        `backbone`, `strategy`, `target_size`, `seed` and `test_accuracy` (or `metric` and `test_score`) must
        be there.
    margin : float, optional
        Half-width of the equivalence region, in the metric's unit: 0.01 by default, one point of accuracy. A metric
        that is not bounded has no default.
    alpha : float
        Level of the verdicts; intervals cover 1 - alpha.
    test : {"t", "sign-flip", "auto"}
        The paired t test, or the exact sign-flip test over seeds. With "sign-flip" the equivalence test
        is by sign flips too. Where all seeds agree exactly, "t" falls back on sign flips. "auto" takes the
        sign-flip test, which assumes no distribution, wherever its least p value 2/2^n could survive the
        correction over the whole family, and the t test elsewhere; the data have no say in it.
    correction : {"holm", "fdr_bh"}
        How p values are corrected; both tests are corrected over the same family.
    family : sequence of str
        Columns that delimit a family of comparisons; a suite and a way of validation always do.
        :data:`bench.stats.family.MAP` makes a transfer map (one pair at one size) a family.
    contrasts : mapping of name to conditions, optional
        The few comparisons that a study is about, named in advance: ``{"frozen copies harm": {"source":
        "A", "strategy": "layer-transfer", "transfer_depth": 4}}``. They make up a family of their own,
        corrected by Holm's method; everything else is corrected without them.
    interval : {"t", "bootstrap"}
        With "bootstrap", or with `correct`, the columns `ntg_boot_low` and `ntg_boot_high` are filled
        (see :mod:`bench.stats.bootstrap`); the paired t interval over seeds is always there.
    correct : mapping of key to bool array, shape (n_test,), optional
        Which test examples each trial got right, as :func:`bench.load_correctness` gives it. With them
        the bootstrap resamples seeds and examples, without them seeds only; `resampled` says which.

    Returns
    -------
    DataFrame
        One row a comparison, columns as in :data:`bench.schema.COMPARISON`, sorted. ``attrs["warnings"]``
        lists in sentences what was left out or cannot be judged, ``attrs["collapsed"]`` says in one which arms
        collapsed at every learning rate; ``attrs`` also has the parameters.

    Raises
    ------
    DataError
        When a column is missing, an accuracy is no fraction, two different results claim one place, or a metric
        that is not bounded is given no margin.
    UnknownName
        For an unknown test, correction, interval, family or contrast column.
    """
    _check_options(margin, alpha, test, correction, family, interval)
    check_contrasts(contrasts or {})
    rows = prepare(rows)
    margin = default_margin(rows) if margin is None else margin
    measures = similarity_columns(rows)
    trials, warnings = _pair(rows)
    table = _summarise(trials, measures)
    table["contrast"], unfit = name_contrasts(table, contrasts or {})
    groups = families(table, [*SCOPE, "metric"], family)
    table["test"] = _tests(table["n_seeds"], groups, test, alpha)
    table = table.assign(**_judge(trials, table["test"].to_numpy(), margin, alpha))
    table["correction"] = np.where(table["contrast"].notna(), "holm", correction)
    table["p_holm"] = _corrected(table["p_value"], groups, table["correction"])
    table["p_equivalence_holm"] = _corrected(table["p_equivalence"], groups, table["correction"])
    table["verdict"] = verdicts(table["ntg"], table["p_holm"], table["p_equivalence_holm"], alpha)
    warnings += (
        collapse.warnings(rows)
        + unfit
        + _limits(table, groups, alpha)
        + scratch_warnings(table)
        + own_merits(rows)
        + grid_edges(rows)
    )
    if interval == "bootstrap" or correct is not None:
        found = gap_intervals(trials[trials["paired"]], len(table), correct or {}, alpha)
        table["ntg_boot_low"], table["ntg_boot_high"], table["resampled"] = found
        warnings += _seeds_alone(table["resampled"], table["metric"])
    table = conform(table, COMPARISON)
    options = {"margin": margin, "alpha": alpha, "test": test, "correction": correction, "family": list(family)}
    options |= {"interval": interval, "contrasts": dict(contrasts or {})}
    table.attrs = {"warnings": warnings, "collapsed": collapse.headline(rows), **options}
    return table


def _tests(n_seeds: pd.Series, groups: pd.Series, test: str, alpha: float) -> pd.Series:
    """Say which test judges each comparison: by the number of its seeds and the size of its family alone."""
    import pandas as pd

    if test != AUTO:
        return pd.Series(test, index=n_seeds.index, dtype="string")
    tested = n_seeds >= 2
    sizes = tested.groupby(groups).transform("sum")
    able = [bool(n >= 2 and paired.resolution(int(n)) * m <= alpha) for n, m in zip(n_seeds, sizes, strict=True)]
    return pd.Series(np.where(able, "sign-flip", "t"), index=n_seeds.index, dtype="string")


def _judge(trials: pd.DataFrame, tests: np.ndarray, margin: float, alpha: float) -> dict[str, np.ndarray]:
    """Return gap, paired t interval and both p values of every comparison, by the test that each is given."""
    columns = {name: np.full(len(tests), np.nan) for name in ("ntg", "ntg_low", "ntg_high", "p_value", "p_equivalence")}
    for members, matrix in _differences(trials, len(tests)):
        columns["ntg"][members] = matrix.mean(axis=0)
        columns["ntg_low"][members], columns["ntg_high"][members] = paired.interval(matrix, alpha)
        for name, (p_test, equivalence_test) in TESTS.items():
            mine = tests[members] == name
            columns["p_value"][members[mine]] = p_test(matrix[:, mine])
            columns["p_equivalence"][members[mine]] = equivalence_test(matrix[:, mine], margin)
    return columns


def _corrected(p: pd.Series, groups: pd.Series, methods: pd.Series) -> np.ndarray:
    """Correct p values within their families, each family by its method."""
    corrected = np.full(len(p), np.nan)
    for method in methods.unique():
        mine = (methods == method).to_numpy()
        corrected[mine] = correct_p(p[mine], groups[mine], method)
    return corrected


def default_margin(rows: pd.DataFrame) -> float:
    """Return the margin of equivalence where none is said.

    Raises
    ------
    DataError
        For prepared rows by a metric that is not bounded.
    """
    for metric in metrics_of(rows):
        scale = scale_of(rows[rows["metric"] == metric])
        if not scale.bounded:
            raise DataError(f"the metric {metric} is not bounded: say a margin of equivalence, in {scale.units}")
    return MARGIN


def _check_options(
    margin: float | None, alpha: float, test: str, correction: str, family: Sequence[str], interval: str
) -> None:
    if margin is not None and not margin > 0:
        raise BenchError(f"margin must be above 0 (a fraction: 0.01 is one point), got {margin}")
    if not 0 < alpha < 1:
        raise BenchError(f"alpha must lie between 0 and 1, got {alpha}")
    if test not in (*TESTS, AUTO):
        raise unknown("test", test, (*TESTS, AUTO))
    if interval not in INTERVALS:
        raise unknown("interval", interval, INTERVALS)
    if correction not in CORRECTIONS:
        raise unknown("correction", correction, CORRECTIONS)
    if isinstance(family, str):
        raise BenchError(f'family must be a sequence of column names, got the string "{family}"')
    for name in family:
        if name not in COMPARISON_KEY:
            raise unknown("family column", name, COMPARISON_KEY)


def prepare(rows: pd.DataFrame) -> pd.DataFrame:
    """Check trial rows and bring them into one order, so that their order on disk decides nothing.

    Adds the column `done`: whether the row has a result. Of a failed and a completed row for one place,
    the completed one is kept.

    Raises
    ------
    DataError
        See :func:`negative_transfer`.
    """
    other = {"metric", "test_score"} <= set(rows.columns)
    missing = [name for name in REQUIRED if name not in rows.columns and not (other and name == "test_accuracy")]
    if missing:
        hint = nearest(missing[0], [c for c in rows.columns if c not in {column.name for column in TRIAL}])
        raise DataError(f"the rows lack the column {', '.join(missing)}{hint}")
    rows = conform(rows, TRIAL)
    outside = rows["test_accuracy"][(rows["test_accuracy"] < 0) | (rows["test_accuracy"] > 1)]
    if len(outside):
        raise DataError(
            f"test_accuracy must be a fraction between 0 and 1, row {outside.index[0]} has {outside.iloc[0]}"
        )
    rows = with_scores(rows)
    rows["done"] = (rows["status"].fillna(OK) == OK).astype(bool) & rows["test_score"].notna()
    rows["validation"] = _known_validation(rows)
    place = [*COMPARISON_KEY, "seed"]
    rows = rows.sort_values([*place, "done", "key"], ascending=[True] * len(place) + [False, True], kind="stable")
    repeated = rows.duplicated(place)
    if repeated.any():
        _refuse_conflicts(rows, place)
        rows = rows[~repeated]
    return rows.reset_index(drop=True)


def _known_validation(rows: pd.DataFrame) -> pd.Series:
    """Fill in how a failed trial would have been validated, where its suite leaves one possibility."""
    labels = rows["validation"].where(rows["done"] & (rows["target_size"] > 0))
    by_suite = labels.groupby(rows["suite"], dropna=False)
    only = by_suite.transform("first").where(by_suite.transform("nunique") == 1)
    return rows["validation"].where(rows["done"] | rows["validation"].notna(), only)


def _refuse_conflicts(rows: pd.DataFrame, place: list[str]) -> None:
    """Raise when two completed rows for one place differ: they come from different recipes or versions."""
    done = rows[rows["done"]].drop_duplicates([*place, "test_score", "key"])
    conflict = done[done.duplicated(place)]
    if len(conflict):
        row = conflict.iloc[0]
        what = f"{row['source'] if isinstance(row['source'], str) else 'no source'} -> {row['target']}"
        depth = f"{row['transfer_depth']}, {row['frozen_depth']}"
        raise DataError(
            f"two different results for {what}, {row['backbone']}, {row['strategy']} ({depth}), "
            f"{row['target_size']} target examples, seed {row['seed']} ({len(conflict)} such rows in all): "
            "they come from different recipes or versions; keep one, or tell them apart by `suite`"
        )


def paired_trials(rows: pd.DataFrame) -> pd.DataFrame:
    """Return every completed transfer trial beside the scratch trial of its seed.

    Columns as in :data:`bench.schema.TRIAL`, `scratch_score`, `scratch_accuracy`, and `gap`: scratch minus
    transfer by the metric.

    Raises
    ------
    DataError
        See :func:`negative_transfer`.
    """
    trials, _ = _pair(prepare(rows))
    trials = trials[trials["paired"]].reset_index(drop=True)
    # Rounded, so that 0.9 - 0.8 and 0.8 - 0.7 are the same difference.
    return trials.assign(gap=(trials["scratch_score"] - trials["test_score"]).astype(float).round(12))


def _pair(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Put its scratch results beside every transfer trial; say what has none."""
    is_scratch = rows["source"].isna()
    scratch = rows[is_scratch]
    baseline = scratch[scratch["strategy"] == SCRATCH]
    transfer = at_every_size(rows[~is_scratch], baseline)
    place = [*SETTING, "seed"]
    names = {"done": "scratch_done", "test_score": "scratch_score", "test_accuracy": "scratch_accuracy"}
    names |= {"key": "scratch_key", "classes_predicted": "scratch_classes"}
    beside = baseline[[*place, *names]].rename(columns=names)
    trials = transfer.merge(beside, on=place, how="left").merge(_best_tuned(scratch), on=place, how="left")
    trials["there"] = trials["scratch_done"].notna()
    trials["scratch_done"] = trials["scratch_done"].eq(True)
    trials["paired"] = trials["done"] & trials["scratch_done"]
    trials["failed"] = ~trials["done"] | (trials["there"] & ~trials["scratch_done"])
    possible = trials.groupby(COMPARISON_KEY, dropna=False)["there"].transform("any")
    warnings = _unpaired(trials, possible)
    trials = trials[possible].reset_index(drop=True)
    trials["comparison"] = trials.groupby(COMPARISON_KEY, dropna=False, sort=True).ngroup()
    return trials.sort_values(["comparison", "seed"], kind="stable").reset_index(drop=True), warnings


def at_every_size(transfer: pd.DataFrame, baseline: pd.DataFrame) -> pd.DataFrame:
    """Repeat rows that use no target label for every size (and way of validation) that the baseline has.

    Parameters
    ----------
    transfer : DataFrame
        Prepared rows (:func:`prepare`) with a source.
    baseline : DataFrame
        Prepared rows that say which sizes there are: scratch, as a rule.
    """
    import pandas as pd

    free = transfer["target_size"] == 0
    if not free.any() or baseline.empty:
        return transfer
    settings = baseline[SETTING].drop_duplicates()
    labels_enter = ["validation", "target_size"]
    once = transfer[free].sort_values("done", ascending=False, kind="stable")
    once = once.drop_duplicates([c for c in [*COMPARISON_KEY, "seed"] if c not in labels_enter])
    wide = once.drop(columns=labels_enter).merge(settings, on=["suite", "target", "backbone", "metric"], how="left")
    wide["target_size"] = wide["target_size"].fillna(0)
    return pd.concat([transfer[~free], wide[transfer.columns]], ignore_index=True)


def _best_tuned(scratch: pd.DataFrame) -> pd.DataFrame:
    """For each setting and seed, the scratch arm that is best on validation data (plain scratch if equal)."""
    arms = scratch[scratch["done"]].assign(longer=lambda f: f["strategy"] != SCRATCH)
    order = ["val_score", "val_loss", "longer", "strategy"]
    arms = arms.sort_values(order, ascending=[False, True, True, True], kind="stable")
    best = arms.drop_duplicates([*SETTING, "seed"])
    return best[[*SETTING, "seed", "test_score"]].rename(columns={"test_score": "tuned_score"})


def _summarise(trials: pd.DataFrame, measures: list[str]) -> pd.DataFrame:
    """Build one row a comparison: what identifies it, counts, and means over the paired seeds."""
    by = trials.groupby("comparison")
    table = by[COMPARISON_KEY].first()
    table["n_seeds"] = by["paired"].sum()
    table["n_failed"] = by["failed"].sum()
    table["metric_unit"] = by["metric_unit"].first()
    both = trials[trials["paired"]]
    both = both.rename(columns={"test_accuracy": "transfer_accuracy", "test_score": "transfer_score"})
    both["ntg_tuned"] = both["tuned_score"] - both["transfer_score"]
    columns = ["scratch_accuracy", "transfer_accuracy", "ntg_tuned", "source_accuracy", "majority_accuracy"]
    columns += ["scratch_score", "transfer_score"]
    means = both.groupby("comparison")[columns].mean()
    similar = similarity_means(both, ["comparison"], measures)
    return table.join(means).join(one_class_seeds(both)).join(similar).reset_index(drop=True)


def _differences(trials: pd.DataFrame, n_comparisons: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Gather comparisons of equal number of seeds n: (which, differences of shape (n, which)), ..."""
    both = trials[trials["paired"]]
    which = both["comparison"].to_numpy()
    # Rounded, so that 0.9 - 0.8 and 0.8 - 0.7 are the same difference.
    d = np.round((both["scratch_score"] - both["test_score"]).to_numpy(dtype=float), 12)
    counts = np.bincount(which, minlength=n_comparisons)
    found = []
    for n in np.unique(counts[counts > 0]):
        members = np.nonzero(counts == n)[0]
        found.append((members, d[np.isin(which, members)].reshape(-1, n).T))
    return found


def _unpaired(trials: pd.DataFrame, possible: pd.Series) -> list[str]:
    """Say which comparisons are left out for want of scratch, and which trials for want of their seed."""
    warnings = []
    lost = trials[~possible].drop_duplicates(COMPARISON_KEY).groupby(SETTING, dropna=False).size()
    for (_, _, target, backbone, size, _), count in list(lost.items())[:5]:
        place = f"{target}, {backbone}" + (f", {size} target examples" if size else "")
        warnings.append(f"No scratch trial for {place}: {_count(count, 'comparison is', 'comparisons are')} left out.")
    if len(lost) > 5:
        warnings.append(
            f"No scratch trial for {len(lost) - 5} more settings: {lost.iloc[5:].sum()} comparisons are left out."
        )
    alone = int((possible & ~trials["there"]).sum())
    if alone:
        warnings.append(
            f"{_count(alone, 'transfer trial has', 'transfer trials have')} no scratch trial with that seed."
        )
    failed = int((possible & trials["failed"]).sum())
    if failed:
        warnings.append(
            f"{_count(failed, 'pair of trials is', 'pairs of trials are')} left out because one of them failed."
        )
    return warnings


def _seeds_alone(resampled: pd.Series, metrics: pd.Series) -> list[str]:
    """Say for how many comparisons the bootstrap could not resample test examples."""
    alone, warnings = resampled.notna() & (resampled != BOTH), []
    without = int((alone & (metrics == ACCURACY)).sum())
    if without:
        said = _count(without, "comparison has", "comparisons have")
        warnings.append(
            f"{said} no record of which test examples were right: the bootstrap resamples their seeds only."
        )
    for metric, count in metrics[alone & (metrics != ACCURACY)].value_counts(sort=False).items():
        said = _count(count, "comparison is", "comparisons are")
        warnings.append(f"{said} by {metric}, no mean over test examples: the bootstrap resamples their seeds only.")
    return warnings


def _limits(table: pd.DataFrame, groups: pd.Series, alpha: float) -> list[str]:
    """Say what the number of seeds cannot decide."""
    warnings = []
    few = int((table["n_seeds"] < 2).sum())
    if few:
        said = _count(few, "comparison has", "comparisons have")
        warnings.append(f"{said} fewer than two seeds: no interval and no verdict is possible.")
    flipped = (table["test"] == "sign-flip") & (table["n_seeds"] > 0)
    if flipped.any():
        size = int(groups[flipped].value_counts().max())
        n = int(table.loc[flipped, "n_seeds"].max())
        if paired.resolution(n) * size > alpha:
            warnings.append(
                f"The sign-flip test over {n} seeds cannot go below p = {paired.resolution(n):.2g}: in a family of "
                f"{size} comparisons the smallest p value cannot be told from chance at alpha = {alpha:g}."
            )
    return warnings


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


def options_of(comparisons: pd.DataFrame) -> dict[str, Any]:
    """Return the parameters that `comparisons` were made with (the defaults where they are unknown)."""
    defaults = {"margin": 0.01, "alpha": 0.05, "test": "t", "family": ["target", "target_size"], "contrasts": {}}
    known = {name: comparisons.attrs.get(name, value) for name, value in defaults.items()}
    if "correction" not in comparisons:
        return known | {"correction": "holm"}
    # Named contrasts are corrected by Holm's method whatever the others are.
    named = comparisons["contrast"].notna() if "contrast" in comparisons else np.zeros(len(comparisons), bool)
    methods = comparisons.loc[~named, "correction"].dropna().unique()
    return known | {"correction": methods[0] if len(methods) else comparisons.attrs.get("correction", "holm")}
