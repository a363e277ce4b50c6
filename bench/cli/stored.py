"""From a run folder to its rows and to how its suites want them judged, without the suite files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, StoreError
from bench.store import Stored, ledgers, read_stored

if TYPE_CHECKING:
    import pandas as pd

    from bench.suite import Suite


def read_folder(folder: Path) -> Stored:
    """Index a run folder's ledger.

    Raises
    ------
    StoreError
        When there is no such folder or it holds no ledger.
    """
    if not folder.is_dir():
        raise StoreError(f"no run folder at {folder}")
    if not ledgers(folder):
        raise StoreError(f"{folder} holds no ledger.jsonl: nothing was run there")
    return read_stored(folder)


def suites_of(folder: Path, stored: Stored) -> tuple[list[Suite], list[str]]:
    """Return the suites that were run in a folder, each as it was last, and what stands in the way of others."""
    from bench.suite import Suite, load_suite

    last = {run["suite"]: run for run in stored.runs}
    suites, problems = [], []
    for name, run in last.items():
        try:
            suites.append(load_suite(Suite.from_run(run["config"], folder)))
        except (BenchError, KeyError, ValueError) as error:
            problems.append(f"suite {name} cannot be read again from the run folder: {str(error).splitlines()[0]}")
    return suites, problems


def comparisons_of(folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """Return the comparisons of a run folder and warnings, judged as its suite says."""
    from bench.results import load_results
    from bench.stats.gap import negative_transfer

    if not folder.is_dir() or not ledgers(folder):
        return _committed(folder)
    suites, warnings = suites_of(folder, read_folder(folder))
    parts = [_judged(suite, folder) for suite in suites]
    if not parts:
        rows = load_results(folder)
        parts = [negative_transfer(rows)]
        warnings += rows.attrs.get("warnings", [])
    for part in parts:
        warnings += part.attrs["warnings"]
    return _joined(parts), list(dict.fromkeys(warnings))


def _committed(folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """Return the comparisons of committed rows, each suite judged as the provenance beside them says."""
    from bench.report.material import read_provenance
    from bench.results import load_results
    from bench.stats.gap import negative_transfer

    rows = load_results(folder)
    runs = read_provenance(folder).last_runs()
    parts = []
    for name, part in rows.groupby("suite", dropna=False, sort=True):
        statistics = runs.get(name, {}).get("config", {}).get("statistics", {})
        parts.append(negative_transfer(part, **statistics))
    parts = parts or [negative_transfer(rows)]
    warnings = [note for part in parts for note in part.attrs["warnings"]]
    return _joined(parts), list(dict.fromkeys([*rows.attrs.get("warnings", []), *warnings]))


def _judged(suite: Suite, folder: Path) -> pd.DataFrame:
    from bench.results import results_of
    from bench.stats.gap import negative_transfer

    rows = results_of(suite, folder)
    found = negative_transfer(rows, **suite.statistics.model_dump())
    found.attrs["warnings"] = [*rows.attrs.get("warnings", []), *found.attrs["warnings"]]
    return found


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    filled = [part for part in parts if len(part)]
    if len(filled) < 2:
        return filled[0] if filled else parts[0]
    options: dict[str, Any] = filled[0].attrs
    joined = pd.concat(filled, ignore_index=True)
    joined.attrs = options
    return joined
