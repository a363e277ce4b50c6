"""How much of what an oracle could win back a learned weighting of source examples does win back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import DataError, nearest
from bench.schema import SCRATCH
from bench.scores import as_accuracy
from bench.stats import paired
from bench.stats.gap import COMPARISON_KEY, SETTING, at_every_size, prepare

if TYPE_CHECKING:
    import pandas as pd

UNIFORM, ORACLE = "uniform", "oracle"
JUDGED = ["weight_auroc", "weight_average_precision", "effective_sample_size", "weight_fallbacks"]
COLUMNS = [
    "weighting", "n_seeds", "uniform_score", "score", "oracle_score", "won", "won_low", "won_high", "winnable",
    "share", "share_low", "share_high", "note", "uniform_ntg", "ntg", "relative_cost", *JUDGED,
    "weight_auroc_low", "weight_auroc_high",
]  # fmt: skip
PLACE = [name for name in COMPARISON_KEY if name != "weighting"]
NOTHING = "oracle and uniform do not differ"
WORSE = "the oracle is worse than uniform"


def won_back(rows: pd.DataFrame, *, uniform: str = UNIFORM, oracle: str = ORACLE, alpha: float = 0.05) -> pd.DataFrame:
    r"""Compare weightings with the uniform one, and with an oracle that knows which examples are harmful.

    The share won back is :math:`(s_w - s_{uniform}) / (s_{oracle} - s_{uniform})` of scores, a ratio of means
    over the seeds that all three have; its interval is Fieller's (1954) for paired means. Where the
    oracle is not surely different from uniform (the denominator's own interval holds 0) the ratio has no
    bounded interval: it is left undefined and `note` says so, the gain in points is still there. So it is
    where the oracle is surely worse, for then there is nothing to win.

    Parameters
    ----------
    rows : DataFrame
        One row a trial, columns as in :data:`bench.schema.TRIAL`, with several values of `weighting`.
    uniform, oracle : str
        What `weighting` calls them.
    alpha : float

    Returns
    -------
    DataFrame
        One row for each comparison's place and weighting other than those two: `n_seeds`,
        `uniform_score`, `score`, `oracle_score` (`uniform_accuracy` and so on of rows by accuracy), `won` with
        `won_low` and `won_high` (over uniform, by the metric, paired t), `winnable` (oracle over uniform), `share`,
        `share_low`, `share_high` and `note`. Without oracle rows the share is missing and `note` says that. Besides,
        means over the seeds: `uniform_ntg` and `ntg`, the gap to scratch before and after;
        `relative_cost`, seconds of source model and trial over uniform's; and what rows say of the weights
        (:data:`JUDGED`), `weight_auroc` with its interval over seeds.

    Raises
    ------
    DataError
        When no row has the uniform weighting.
    """
    import pandas as pd

    rows = prepare(rows)
    sized = rows[rows["target_size"] > 0]
    plain = sized[sized["done"] & (sized["strategy"] == SCRATCH)]
    scratch = {
        tuple(map(str, place)): block.set_index("seed")["test_score"].astype(float)
        for place, block in plain.groupby(SETTING, dropna=False)
    }
    rows = at_every_size(rows[rows["done"] & rows["source"].notna()], sized)
    known = sorted(rows["weighting"].dropna().unique())
    if uniform not in known:
        raise DataError(f'no transfer has the weighting "{uniform}"{nearest(uniform, known)}')
    found = []
    for place, part in rows.groupby(PLACE, dropna=False, sort=True):
        arm = {name: block.set_index("seed") for name, block in part.groupby("weighting")}
        if uniform not in arm:
            continue
        setting = dict(zip(PLACE, place, strict=True))
        before = scratch.get(tuple(str(setting[name]) for name in SETTING))
        for name in sorted(set(arm) - {uniform, oracle}):
            one = _one(
                {which: block["test_score"].astype(float) for which, block in arm.items()},
                name,
                uniform,
                oracle,
                alpha,
            )
            found.append(setting | {"weighting": name} | one | _besides(arm[uniform], arm[name], before, alpha))
    return as_accuracy(pd.DataFrame(found, columns=[*PLACE, *COLUMNS]))


def _besides(uniform: pd.DataFrame, mine: pd.DataFrame, scratch: pd.Series | None, alpha: float) -> dict[str, float]:
    """Return the gap to scratch before and after, the relative cost, and what is known of the weights."""
    found = {"uniform_ntg": math.nan, "ntg": math.nan}
    if scratch is not None:
        for name, block in (("uniform_ntg", uniform), ("ntg", mine)):
            found[name] = float((scratch - block["test_score"]).mean())
    cost = [block["seconds"].fillna(0).add(block["source_seconds"].fillna(0)).mean() for block in (uniform, mine)]
    found["relative_cost"] = float(cost[1] / cost[0]) if cost[0] > 0 else math.nan
    found |= {name: float(mine[name].astype(float).mean()) for name in JUDGED}
    seen = mine["weight_auroc"].dropna().astype(float).to_numpy()
    _, found["weight_auroc_low"], found["weight_auroc_high"], _ = paired.summary(seen, alpha)
    return found


def _one(arm: dict[str, pd.Series], name: str, uniform: str, oracle: str, alpha: float) -> dict[str, Any]:
    import pandas as pd

    names = [uniform, name, oracle] if oracle in arm else [uniform, name]
    wide = pd.concat([arm[which] for which in names], axis=1, keys=names).dropna().sort_index()
    gain = (wide[name] - wide[uniform]).to_numpy()
    won, low, high, _ = paired.summary(gain, alpha)
    result = {"n_seeds": len(wide), "uniform_score": wide[uniform].mean(), "score": wide[name].mean()}
    result |= {"won": won, "won_low": low, "won_high": high}
    if oracle not in arm:
        return result | {"note": f'no trial has the weighting "{oracle}"'}
    winnable = (wide[oracle] - wide[uniform]).to_numpy()
    share, low, high = fieller(gain, winnable, alpha)
    note = NOTHING if math.isnan(share) else None
    if note is None and winnable.mean() < 0:
        share, low, high, note = math.nan, math.nan, math.nan, WORSE
    return result | {
        "oracle_score": wide[oracle].mean(), "winnable": winnable.mean() if len(winnable) else math.nan,
        "share": share, "share_low": low, "share_high": high, "note": note,
    }  # fmt: skip


def fieller(x: np.ndarray, y: np.ndarray, alpha: float) -> tuple[float, float, float]:
    r"""Return the ratio of two paired means and the ends of its interval by Fieller's theorem.

    The interval holds every :math:`\rho` that the paired t test of :math:`x - \rho y` does not reject
    (Fieller, "Some problems in interval estimation", JRSS B 16(2), 1954). It is bounded only where the
    mean of y differs from 0 at level `alpha`; elsewhere, and for a single seed, all three are NaN.

    Parameters
    ----------
    x, y : arrays, shape (n,)
        Numerator and denominator by seed.
    """
    from scipy import stats

    n = len(x)
    if n < 2:
        return (math.nan,) * 3
    (sxx, sxy), (_, syy) = np.cov(x, y)
    t2 = stats.t.ppf(1 - alpha / 2, n - 1) ** 2 / n
    mean_x, mean_y = float(np.mean(x)), float(np.mean(y))
    a, b, c = mean_y**2 - t2 * syy, mean_x * mean_y - t2 * sxy, mean_x**2 - t2 * sxx
    if a <= paired.TOLERANCE**2:
        return (math.nan,) * 3
    root = math.sqrt(max(b * b - a * c, 0.0))
    return mean_x / mean_y, (b - root) / a, (b + root) / a
