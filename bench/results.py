"""From a run folder's ledger to the tidy table, one row a trial."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import StoreError
from bench.schema import TRIAL, conform
from bench.store import Damage, ledgers, read_records
from bench.trial import SCHEMA_VERSION

if TYPE_CHECKING:
    import pandas as pd

    from bench.suite.model import Suite

PARQUET = "results.parquet"


def load_results(folder: str | Path) -> pd.DataFrame:
    """Return a run folder's rows as one tidy table.

    Parameters
    ----------
    folder : path
        Of a run; or of committed results, which hold a ``results.parquet`` and no ledger.

    Returns
    -------
    DataFrame
        One row a trial in the order of the suite, columns as :data:`bench.schema.TRIAL` documents
        them: accuracies are fractions, `source` is missing for scratch. Of several records of one trial
        the last counts. ``attrs["warnings"]`` says what could not be read.

    Raises
    ------
    StoreError
        When there is no such folder, or it holds no results.
    """
    folder = Path(folder)
    if not ledgers(folder):
        return _from_parquet(folder)
    damage, warnings = Damage(), []
    rows: dict[str, dict[str, Any]] = {}
    values: dict[tuple, dict[str, Any]] = {}
    other_schemas: set[Any] = set()
    for record in read_records(folder, damage):
        if record["kind"] == "trial":
            if record.get("schema") != SCHEMA_VERSION:
                other_schemas.add(record.get("schema"))
                continue
            row = dict(record["row"])
            row["traceback"] = record["key"] if record["detail"].get("traceback") else None
            rows[record["key"]] = row
        elif record["kind"] == "similarity":
            values[_pair(record)] = record["values"]
    if damage.lines:
        warnings.append(str(damage))
    if other_schemas:
        shown = ", ".join(sorted(map(str, other_schemas)))
        warnings.append(f"rows of schema version {shown} are left out: this is version {SCHEMA_VERSION}")
    for row in rows.values():
        row.update(values.get(_pair(row), {}))
    frame = conform(list(rows.values()), TRIAL)
    frame = frame.sort_values(_ORDER, kind="stable", na_position="first", ignore_index=True)
    frame.attrs["warnings"] = warnings
    return frame


# The ledger's order is that in which trials happened to finish; the table's does not depend on it.
_ORDER = [
    "suite", "target", "backbone", "source", "weighting", "target_size", "strategy",
    "transfer_depth", "frozen_depth", "seed", "key",
]  # fmt: skip


def _pair(record: dict[str, Any]) -> tuple:
    names = ("source", "target", "backbone", "weighting", "source_seed")
    return tuple(record[name] for name in names)


def results_of(suite: Suite, folder: str | Path) -> pd.DataFrame:
    """Return the rows of a run folder that belong to a suite as it now reads.

    A folder may also hold rows of the suite as it was before its recipe, its data or its pairs were
    changed; to compare those with the new ones would be wrong. They are left out with a warning.
    Rows of seeds that the suite does not name stay.

    Raises
    ------
    StoreError
        As :func:`load_results`.
    """
    from bench.store import read_stored
    from bench.suite.plan import Plan
    from bench.trial import Card

    rows = load_results(folder)
    mine = rows[rows["suite"] == suite.name]
    seeds = tuple(sorted({*suite.seeds, *(int(seed) for seed in mine["seed"].unique())}))
    cards = {key: Card.from_json(values) for key, values in read_stored(folder).cards.items()}
    wanted = set(mine["key"])
    known = {
        trial.key for trial in Plan(suite.model_copy(update={"seeds": seeds}), cards).trials() if trial.key in wanted
    }
    kept = mine[mine["key"].isin(known)].reset_index(drop=True)
    kept.attrs["warnings"] = list(rows.attrs.get("warnings", []))
    stale = len(mine) - len(kept)
    if stale:
        what = "1 row" if stale == 1 else f"{stale} rows"
        kept.attrs["warnings"].append(f"{what} of the suite as it was before a change to it or its data: left out")
    return kept


def _from_parquet(folder: Path) -> pd.DataFrame:
    import pandas as pd

    path = folder / PARQUET if folder.is_dir() else folder
    if path.suffix != ".parquet" or not path.is_file():
        what = "is no folder" if not folder.exists() else "holds no results (no ledger.jsonl, no results.parquet)"
        raise StoreError(f"{folder} {what}")
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}: {error}") from error
    return conform(frame, TRIAL)


def load_correctness(folder: str | Path) -> dict[str, np.ndarray]:
    """Return which test examples each finished trial got right.

    Returns
    -------
    dict of key -> bool array, shape (n_test,)
        For intervals that resample examples as well as seeds.
    """
    found = {}
    for record in read_records(Path(folder)):
        if record["kind"] == "trial" and record["row"]["status"] == "ok":
            found[record["key"]] = unpack(record["detail"]["correct"], record["row"]["n_test"])
    return found


def unpack(text: str, n: int) -> np.ndarray:
    """Return the bool array, shape (n,), that a ledger keeps packed as base64 of bits."""
    bits = np.frombuffer(base64.b64decode(text), np.uint8)
    return np.unpackbits(bits, count=n).astype(bool)
