"""From p values to verdicts: corrected over a stated family, then read in a fixed order."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

CORRECTIONS = ("holm", "fdr_bh")


def correct(p: pd.Series, family: pd.Series, method: str) -> np.ndarray:
    """Correct p values within each family.

    Parameters
    ----------
    p : Series of float
        NaN where nothing was tested: it stays NaN and does not count as a member.
    family : Series
        Family of each p value.
    method : {"holm", "fdr_bh"}
        Holm (1979) bounds the chance of any false rejection in a family, Benjamini and Hochberg (1995)
        the expected share of false ones among the rejections.

    Returns
    -------
    float array of the same length
    """
    from statsmodels.stats.multitest import multipletests

    values = p.to_numpy(dtype=float)
    corrected = np.full(len(values), np.nan)
    tested = np.nonzero(~np.isnan(values))[0]
    groups = family.to_numpy()[tested]
    order = np.argsort(groups, kind="stable")
    starts = np.nonzero(np.diff(groups[order], prepend=np.nan))[0]
    with _cheap_collections():
        for members in np.split(tested[order], starts[1:]):
            if len(members):
                corrected[members] = multipletests(values[members], method=method)[1]
    return corrected


@contextmanager
def _cheap_collections() -> Iterator[None]:
    """Set living objects aside from garbage collection, which `multipletests` runs at every call."""
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def verdicts(ntg: np.ndarray, p: np.ndarray, p_equivalence: np.ndarray, alpha: float) -> np.ndarray:
    """Read corrected p values as verdicts.

    In this order: *equivalent* when the equivalence test rejects (then the gap lies within the margin
    and is practically nil, even where it differs from 0 for certain); *negative* or *positive* when the
    test of no gap rejects, by the sign of the gap; else *inconclusive*. A comparison without a p value
    (fewer than two seeds) is inconclusive.

    Parameters
    ----------
    ntg, p, p_equivalence : float arrays, shape (k,)
    alpha : float

    Returns
    -------
    array of str, shape (k,)
    """
    ntg, p, p_equivalence = (np.asarray(a, dtype=float) for a in (ntg, p, p_equivalence))
    differs = p <= alpha
    return np.select(
        [p_equivalence <= alpha, differs & (ntg > 0), differs & (ntg < 0)],
        ["equivalent", "negative", "positive"],
        "inconclusive",
    )
