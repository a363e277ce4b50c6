"""Does the textbook's advice hold? Which strategy wins for small and large targets, near and far sources.

The advice is that of Stanford's CS231n notes on transfer learning and of many after them: a small target
and a similar source, train a linear classifier on the features; small and different, use features from
earlier layers; large and similar, fine-tune everything; large and different, fine-tune, or start from
scratch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import DataError
from bench.schema import SCRATCH, similarity_columns
from bench.scores import as_accuracy
from bench.stats import paired
from bench.stats.bootstrap import RESAMPLES, seed_weights
from bench.stats.gap import SETTING, default_margin, prepare
from bench.stats.nearness import halves, has_intervals, similarity_means
from bench.stats.select import DEPTHS, STRATEGY_KEY, SUFFIX, select_depth
from bench.stats.verdict import correct

if TYPE_CHECKING:
    import pandas as pd

FULL, FULL_STRATEGY = "fine-tune everything", "fine-tune"
# What stands in each corner: (small, similar) -> the arms that the advice leaves open, the first one meant.
TEXTBOOK: Mapping[tuple[bool, bool], tuple[str, ...]] = {
    (True, True): ("feature-extraction",),
    (True, False): ("layer-transfer",),
    (False, True): (FULL,),
    (False, False): (FULL, SCRATCH),
}
HELD, FAILED, UNDECIDED, BETWEEN = "held", "failed", "undecided", "in between"
UNTRIED, LOST = "not run", "its trials failed"  # of what was advised


def textbook(
    rows: pd.DataFrame,
    *,
    measure: str = "frechet_distance",
    margin: float | None = None,
    alpha: float = 0.05,
    advice: Mapping[tuple[bool, bool], Sequence[str]] = TEXTBOOK,
) -> pd.DataFrame:
    """Say for every source and target size which strategy won, how surely, and whether the textbook was right.

    A strategy with several depths competes as one arm whose depth is chosen on validation data
    (:func:`bench.stats.select.select_depth`); fine-tuning all blocks is an arm of its own, and so is
    scratch. Of a target's sizes the lower half counts as small (the middle one of an odd number too), of
    its sources the nearer half as similar, as far as intervals tell (:func:`bench.stats.nearness.halves`):
    of a source whose interval overlaps one of the other half nothing is advised, and nothing judged.

    The advised arm is tested against every other arm, paired by seed. The advice *failed* where some arm
    is surely better (paired t, Holm over all arms of all cells of the target); it *held* where every
    other arm is surely not better by more than the margin (one-sided tests, all of which must reject, so
    that no correction is due); else it is *undecided*. Where the advice leaves two arms open, the better
    one on average speaks for it.

    Parameters
    ----------
    rows : DataFrame
        One row a trial, columns as in :data:`bench.schema.TRIAL`.
    measure : str
        What makes a source near.
    margin : float, optional
        In the metric's unit: 0.01 by default, one point; a metric that is not bounded has no default.
    alpha : float
    advice : mapping of (small, similar) to arms

    Returns
    -------
    DataFrame
        One row a cell: its setting, `weighting` and `source`, `similarity`, `small`, `similar` (missing for a source
        in between), `n_seeds`, `n_arms`, `winner` (highest mean test score), `winner_score`, `scratch_score`,
        `win_share` (of the resamples over seeds in which the winner wins), `lead` over the second-best arm
        `runner_up` with `lead_low` and `lead_high`, `advised`, `advised_score`, `shortfall` of the advice
        behind the winner with `shortfall_low` and `shortfall_high`, `p_holm` (the least over arms) and `outcome`.
        Of rows by accuracy the scores are called `winner_accuracy` and so on.

    Raises
    ------
    DataError
        When similarity was not measured, a size or source is alone, or no source is surely similar or different; for a
        metric that is not bounded without a margin.
    """
    import pandas as pd

    rows = prepare(rows)
    margin = default_margin(rows) if margin is None else margin
    if measure not in similarity_columns(rows) or rows.loc[rows["source"].notna(), measure].isna().all():
        raise DataError(f"{measure} was measured for no pair: no source is near or far")
    every = _arms(rows)
    scratch = every[every["arm"] == SCRATCH]
    failed = rows[~rows["done"]]
    cells: list[dict[str, Any]] = []
    for setting, part in every[every["source"].notna()].groupby([n for n in SETTING if n != "target_size"]
                                                               + ["weighting"], dropna=False):  # fmt: skip
        where = dict(zip([n for n in SETTING if n != "target_size"], setting[:-1], strict=True))
        small, similarity = _halves(part, measure)
        for (size, source), block in part.groupby(["target_size", "source"]):
            here = where | {"target_size": size}
            base = scratch[np.logical_and.reduce([scratch[k].eq(v).fillna(pd.isna(v)) for k, v in here.items()])]
            wide = pd.concat([block, base]).pivot_table(
                index="seed", columns="arm", values="test_score", aggfunc="first"
            )
            wide = wide.dropna(axis=1, thresh=2).dropna()
            if len(wide) < 2 or wide.shape[1] < 2:
                continue
            corner = (size in small, similarity.get(source, pd.NA))
            known = {"weighting": setting[-1], "source": source, "similarity": block[measure].mean()}
            advised = () if corner[1] is pd.NA else advice[corner]
            mine = failed[(failed["source"] == source) & (failed["weighting"] == setting[-1])]
            mine = mine[np.logical_and.reduce([mine[k].eq(v).fillna(pd.isna(v)) for k, v in here.items()])]
            known["lost"] = not {FULL_STRATEGY if arm == FULL else arm for arm in advised}.isdisjoint(mine["strategy"])
            cells.append(here | known | dict(zip(("small", "similar"), corner, strict=True))
                         | _cell(wide, advised, margin, alpha))  # fmt: skip
    if not cells:
        raise DataError("no source and size has two arms over two seeds to compare")
    return as_accuracy(_settle(pd.DataFrame(cells).astype({"similar": "boolean"}), alpha))


def _arms(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the trials that compete, with the column `arm`: one arm a strategy, the depth chosen on validation."""
    import pandas as pd

    done = rows[rows["done"] & (rows["target_size"] > 0)]
    chosen = select_depth(rows)
    chosen = chosen[(chosen["status"] == "ok") & (chosen["target_size"] > 0) & chosen["test_score"].notna()]
    every = chosen.assign(arm=chosen["strategy"].str.removesuffix(SUFFIX))
    several = done.groupby(STRATEGY_KEY, dropna=False)[DEPTHS[1]].transform("nunique") > 1
    tuned = done[(done["strategy"] == FULL_STRATEGY) & (done["frozen_depth"] == 0)]
    # With one depth the strategy is that arm already.
    full = tuned[several.loc[tuned.index]].assign(arm=FULL)
    alone = (every["strategy"] == FULL_STRATEGY) & (every["frozen_depth"] == 0)
    return pd.concat([every.assign(arm=every["arm"].mask(alone, FULL)), full], ignore_index=True)


def _halves(part: pd.DataFrame, measure: str) -> tuple[set[int], dict[str, bool]]:
    """Return the small sizes of a target, and which sources are surely similar (True) or different (False)."""
    sizes, target = sorted(part["target_size"].unique()), part["target"].iloc[0]
    sources = similarity_means(part[part[measure].notna()], ["source"], [measure])
    if len(sizes) < 2 or len(sources) < 2:
        raise DataError(
            f"the textbook's square needs two target sizes and two sources with a {measure}, "
            f"{target} has {len(sizes)} and {len(sources)}"
        )
    if not has_intervals(sources, measure):
        raise DataError(
            f"{measure} was measured without intervals, so no source of {target} is surely similar or different; "
            "running the suite again measures it anew"
        )
    near, far = ([sources.index[i] for i in half] for half in halves(sources, measure))
    if not near and not far:
        raise DataError(f"the intervals of {measure} overlap: no source of {target} is surely similar or different")
    return set(sizes[: (len(sizes) + 1) // 2]), dict.fromkeys(near, True) | dict.fromkeys(far, False)


def _cell(wide: pd.DataFrame, advised: Sequence[str], margin: float, alpha: float) -> dict[str, Any]:
    """Judge one cell; wide has a row a seed and a column an arm."""
    mean = wide.mean().round(12)
    ranked = mean.sort_values(ascending=False, kind="stable")
    winner, second = ranked.index[:2]
    resampled = seed_weights(len(wide), RESAMPLES) @ wide.to_numpy(dtype=float)
    lead, lead_low, lead_high, _ = paired.summary((wide[winner] - wide[second]).to_numpy(), alpha)
    cell = {
        "n_seeds": len(wide), "n_arms": wide.shape[1], "winner": winner, "winner_score": float(mean[winner]),
        "scratch_score": float(mean.get(SCRATCH, np.nan)),
        "win_share": float((resampled.argmax(axis=1) == wide.columns.get_loc(winner)).mean()),
        "runner_up": second, "lead": lead, "lead_low": lead_low, "lead_high": lead_high,
    }  # fmt: skip
    open_to = [arm for arm in advised if arm in wide]
    if not open_to:
        return cell | {"advised": next(iter(advised), None), "p_values": [], "not_better": np.nan}
    best = max(open_to, key=lambda arm: (mean[arm], -advised.index(arm)))
    others = [arm for arm in wide.columns if arm not in open_to]
    ahead = np.round((wide[others].to_numpy(dtype=float).T - wide[best].to_numpy(dtype=float)).T, 12)
    short, low, high, _ = paired.summary((wide[winner] - wide[best]).to_numpy(), alpha)
    p = paired.t_test(ahead)
    return cell | {
        "advised": best, "advised_score": float(mean[best]),
        "shortfall": short, "shortfall_low": low, "shortfall_high": high,
        "p_values": list(np.where(ahead.mean(axis=0) > 0, p, 1.0)),
        "not_better": float(np.max(_one_sided(ahead, margin), initial=0.0)),
    }  # fmt: skip


def _one_sided(ahead: np.ndarray, margin: float) -> np.ndarray:
    """Return p values of "this arm is ahead by the margin or more", shape (arms,)."""
    from scipy import stats

    p = np.zeros(ahead.shape[1])
    for j, d in enumerate(ahead.T):
        if np.ptp(d) <= paired.TOLERANCE:
            p[j] = 0.5 ** len(d) if d[0] < margin else 1.0  # the sign-flip test, as elsewhere
        else:
            p[j] = stats.ttest_1samp(d, margin, alternative="less").pvalue
    return p


def _settle(cells: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Correct over all arms of all cells of a target and read the outcomes."""
    import pandas as pd

    long = cells["p_values"].explode().dropna().astype(float)
    target = cells.groupby([n for n in SETTING if n != "target_size"], dropna=False).ngroup()
    corrected = pd.Series(correct(long, target.loc[long.index], "holm"), index=long.index)
    cells["p_holm"] = corrected.groupby(level=0).min().reindex(cells.index)
    unjudged = cells["advised"].isna()
    untried = ~unjudged & cells["not_better"].isna()
    cells["outcome"] = np.select(
        [unjudged, untried & cells["lost"], untried, cells["p_holm"] <= alpha, cells["not_better"] <= alpha],
        [BETWEEN, LOST, UNTRIED, FAILED, HELD],
        UNDECIDED,
    )
    return cells.drop(columns=["p_values", "not_better", "lost"])
