"""Yosinski et al.'s decomposition of what is lost and won at each depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import DataError, nearest, unknown
from bench.schema import SCRATCH
from bench.scores import as_accuracy
from bench.stats import paired
from bench.stats.gap import SETTING, prepare
from bench.stats.verdict import CORRECTIONS, correct

if TYPE_CHECKING:
    import pandas as pd

# Names under which a suite may have the points (k, k) and (k, 0); paths that end there are something else.
FROZEN = ("layer-transfer", "feature-extraction", "triangle")
TUNED = ("layer-transfer-tuned", "fine-tune", "triangle")
COMPONENTS = {
    "co-adaptation": ("scratch", "BnB"),
    "specificity": ("BnB", "AnB"),
    "lingering benefit": ("AnB+", "scratch"),
    "lingering benefit over BnB+": ("AnB+", "BnB+"),
}


def arms(rows: pd.DataFrame, source: str, control: str) -> pd.DataFrame:
    """Return the trials of AnB, AnB+, BnB and BnB+, one row a setting, depth and seed, with `arm`, `depth`, `score`.

    Parameters
    ----------
    rows : DataFrame
        As :func:`bench.stats.gap.prepare` gives it.
    source, control : str
        A, and the source that shares the target's classes (B's own other half).

    Raises
    ------
    DataError
        When no trial has such a source.
    """
    import pandas as pd

    known = sorted(rows["source"].dropna().unique())
    for what, name in (("source", source), ("control", control)):
        if name not in known:
            raise DataError(f'no trial has the {what} "{name}"{nearest(name, known)}')
    single = rows["weighting"].isna() | (rows["weighting"] == "uniform")
    done = rows[rows["done"] & single & (rows["transfer_depth"] > 0)]
    found = []
    for letter, name in (("A", source), ("B", control)):
        mine = done[done["source"] == name]
        frozen = mine[mine["strategy"].isin(FROZEN) & (mine["frozen_depth"] == mine["transfer_depth"])]
        tuned = mine[mine["strategy"].isin(TUNED) & (mine["frozen_depth"] == 0)]
        found += [frozen.assign(arm=f"{letter}nB"), tuned.assign(arm=f"{letter}nB+")]
    every = pd.concat(found, ignore_index=True).rename(columns={"transfer_depth": "depth", "test_score": "score"})
    return every.drop_duplicates([*SETTING, "arm", "depth", "seed"])[[*SETTING, "arm", "depth", "seed", "score"]]


def decomposition(
    rows: pd.DataFrame, source: str, control: str, *, alpha: float = 0.05, correction: str = "holm"
) -> pd.DataFrame:
    """Split what transfer does at each depth n into co-adaptation, specificity and lingering benefit.

    After Yosinski, Clune, Bengio & Lipson ("How transferable are features in deep neural networks?",
    NeurIPS 2014). BnB copies and freezes n blocks of a network trained on the target's own classes, AnB
    of one trained on the source; the plus tunes them. *Co-adaptation* is what freezing alone costs,
    scratch - BnB (below zero where the control's larger data help); *specificity* what the source's
    features cost beyond that, BnB - AnB; the two add up to the gap of AnB. The *lingering benefit* is
    what AnB+ wins over scratch, and beyond BnB+, which has been trained as long.

    Parameters
    ----------
    rows : DataFrame
        One row a trial, columns as in :data:`bench.schema.TRIAL`, weighted uniformly.
    source, control : str
        A, and a source with the target's own classes on other examples.
    alpha : float
    correction : {"holm", "fdr_bh"}
        Over all components and depths of a setting.

    Returns
    -------
    DataFrame
        Setting, `source`, `control`, `depth`, `component`, `value` (by the metric), `low`, `high`
        (paired t over seeds), `p_value`, `p_holm` and `n_seeds`; depths that an arm lacks are left out.

    Raises
    ------
    DataError
        When there is no such source or control.
    """
    import pandas as pd

    if correction not in CORRECTIONS:
        raise unknown("correction", correction, CORRECTIONS)
    rows = prepare(rows)
    trials = arms(rows, source, control)
    base = rows[rows["done"] & rows["source"].isna() & (rows["strategy"] == SCRATCH)]
    found: list[dict[str, Any]] = []
    for setting, part in trials.groupby(SETTING, dropna=False, sort=True):
        named = dict(zip(SETTING, setting, strict=True))
        scratch = base[
            np.logical_and.reduce([(base[k] == v) | (base[k].isna() & pd.isna(v)) for k, v in named.items()])
        ]
        level = scratch.set_index("seed")["test_score"].astype(float)
        for depth, here in part.groupby("depth", sort=True):
            arm = {name: block.set_index("seed")["score"].astype(float) for name, block in here.groupby("arm")}
            arm["scratch"] = level
            for component, (more, less) in COMPONENTS.items():
                if more in arm and less in arm:
                    d = (arm[more] - arm[less]).dropna().sort_index().to_numpy()
                    value, low, high, p = paired.summary(d, alpha)
                    found.append(
                        named
                        | {"source": source, "control": control, "depth": int(depth), "component": component}
                        | {"value": value, "low": low, "high": high, "p_value": p, "n_seeds": len(d)}
                    )
    if not found:
        raise DataError(f'no depth has what is needed of "{source}", "{control}" and scratch')
    table = pd.DataFrame(found)
    groups = table.groupby(SETTING, dropna=False).ngroup()
    return as_accuracy(table.assign(p_holm=correct(table["p_value"], groups, correction)))
