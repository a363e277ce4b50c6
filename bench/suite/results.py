"""The rows of a run folder that belong to a suite as it now reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.ledger.results import ORDER, load_results
from bench.ledger.stored import read_stored
from bench.suite.model import Suite
from bench.suite.plan import Plan

if TYPE_CHECKING:
    import pandas as pd


def results_of(suite: Suite, folder: str | Path) -> pd.DataFrame:
    """Return the rows of a run folder that belong to a suite as it now reads.

    A folder may also hold rows of the suite as it was before its recipe, its data or its pairs were
    changed; to compare those with the new ones would be wrong. They are left out with a warning.
    Rows of seeds that the suite does not name stay. Trials that another suite ran, or this one under
    another name, count where their keys are the same: they are not run twice.

    Raises
    ------
    StoreError
        As :func:`load_results`.
    """
    rows = load_results(folder)
    seeds = tuple(sorted({*suite.seeds, *(int(seed) for seed in rows["seed"].unique())}))
    plan = Plan.of(suite.model_copy(update={"seeds": seeds}), read_stored(folder))
    wanted = set(rows["key"])
    known = {trial.key for trial in plan.trials() if trial.key in wanted}
    kept = rows[rows["key"].isin(known)].drop_duplicates("key", keep="last").assign(suite=suite.name)
    kept = kept.sort_values(ORDER, kind="stable", na_position="first", ignore_index=True)
    kept.attrs["warnings"] = list(rows.attrs.get("warnings", []))
    mine = rows[rows["suite"] == suite.name]
    stale = int((~mine["key"].isin(known)).sum())
    if stale:
        what = "1 row" if stale == 1 else f"{stale} rows"
        kept.attrs["warnings"].append(f"{what} of the suite as it was before a change to it or its data: left out")
    return kept
