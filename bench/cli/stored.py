"""From a run folder to its rows and to how its suites want them judged, without the suite files."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, StoreError
from bench.ledger.file import ledgers
from bench.ledger.stored import Stored, read_stored

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
    demand_ledger(folder)
    return read_stored(folder)


def demand_ledger(folder: Path) -> None:
    """Raise where there is no run folder, or nothing was run there.

    Raises
    ------
    StoreError
    """
    if not folder.is_dir():
        raise StoreError(f"no run folder at {folder}")
    if not ledgers(folder):
        raise StoreError(f"{folder} holds no ledger.jsonl: nothing was run there")


def suites_of(folder: Path, stored: Stored) -> tuple[list[Suite], list[str]]:
    """Return the suites that were run in a folder, each as it was last, and what stands in the way of others.

    A run folder never runs code: a suite with a plug-in is read again only where this process has loaded that
    file before, because ``--plugin`` or a suite file that the user named said so.
    """
    from bench.suite import Suite, load_suite

    last = {run["suite"]: run for run in stored.runs}
    suites, problems = [], []
    for name, run in last.items():
        try:
            suite = Suite.from_run(run["config"], folder)
            if suite.name != name:
                raise BenchError(f'its configuration is that of "{suite.name}"')
            _refuse_plugins(suite)
            suites.append(load_suite(suite, files=False))
        except (BenchError, KeyError, TypeError, ValueError) as error:
            problems.append(f"suite {name} cannot be read again from the run folder: {_first_line(error)}")
    return suites, problems


def _refuse_plugins(suite: Suite) -> None:
    """Raise for a plug-in that nobody but the folder asks for."""
    from bench.registry import is_loaded

    for plugin in suite.plugins:
        path = suite.resolve(plugin)
        if not is_loaded(path):
            what = f"it uses the plug-in {path.name}" if path.is_file() else f"no plug-in file at {path}"
            raise BenchError(
                f"{what}, and plug-ins recorded in a run folder are not executed; pass --plugin FILE to allow it"
            )


def plugin_notes(folder: Path, stored: Stored) -> list[str]:
    """Say which plug-ins have changed since a folder's rows were made; their files are read, not executed."""
    from bench.ledger.results import load_results
    from bench.provenance import changed_plugins
    from bench.suite import Suite

    notes: list[str] = []
    for run in {run["suite"]: run for run in stored.runs}.values():
        try:
            suite = Suite.from_run(run["config"], folder)
        except (BenchError, KeyError, TypeError, ValueError):
            continue  # said where the suite is read
        files = {name: suite.resolve(name) for name in suite.plugins}
        mine = [other for other in stored.runs if other["suite"] == run["suite"]]
        notes += changed_plugins(folder, files, mine, lambda: list(load_results(folder)["key"]))
    return list(dict.fromkeys(notes))


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:300]


def statistics_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return how a suite wants its rows judged, from the suite as a run folder keeps it.

    Raises
    ------
    BenchError
        Where that is no such thing.
    """
    from pydantic import ValidationError

    from bench.suite.model import Statistics

    try:
        said = Statistics.model_validate(config.get("statistics", {}))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BenchError(f"invalid [statistics] table: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    # A margin that nobody said is the metric's, where that has one.
    return {name: value for name, value in said if name != "margin" or name in said.model_fields_set}


def with_examples(options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Add to a suite's statistics which test examples were right, where bootstrap intervals need them.

    Where the folder does not keep them, seeds alone are resampled, and the comparisons' warnings say so.
    """
    from bench.ledger.results import load_correctness

    if options.get("interval") != "bootstrap":
        return options
    with suppress(StoreError):
        return options | {"correct": load_correctness(folder)}
    return options


def comparisons_of(folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """Return the comparisons of a run folder and warnings, judged as its suites say."""
    from bench.ledger.results import load_results

    if not folder.is_dir() or not ledgers(folder):
        return _committed(folder)
    stored = read_folder(folder)
    suites, warnings = suites_of(folder, stored)
    warnings += plugin_notes(folder, stored)
    parts = [_judged(suite, folder) for suite in suites]
    known, configs = {suite.name for suite in suites}, {run["suite"]: run.get("config", {}) for run in stored.runs}
    rows = load_results(folder)
    rest = rows[~rows["suite"].isin(known)]
    for name, part in rest.groupby("suite", dropna=False, sort=True):
        parts.append(_as_stored(str(name), part, configs.get(name, {}), folder, warnings))
    if not parts:
        parts = [_as_stored("", rows, {}, folder, warnings)]
    warnings += rows.attrs.get("warnings", [])
    for part in parts:
        warnings += part.attrs["warnings"]
    return _joined(parts), list(dict.fromkeys(warnings))


def _as_stored(
    name: str, rows: pd.DataFrame, config: dict[str, Any], folder: Path, warnings: list[str]
) -> pd.DataFrame:
    """Judge rows of a suite that cannot be read again: by its statistics, where these can be read."""
    from bench.stats.gap import negative_transfer

    try:
        return negative_transfer(rows.reset_index(drop=True), **with_examples(statistics_of(config), folder))
    except BenchError as error:
        warnings.append(f"suite {name} is judged by the default settings: {error}")
        return negative_transfer(rows.reset_index(drop=True))


def _committed(folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """Return the comparisons of committed rows, each suite judged as the provenance beside them says."""
    from bench.ledger.results import load_results
    from bench.report.material import read_provenance
    from bench.stats.gap import negative_transfer

    rows = load_results(folder)
    runs = read_provenance(folder).last_runs()
    parts, warnings = [], []
    for name, part in rows.groupby("suite", dropna=False, sort=True):
        parts.append(_as_stored(str(name), part, runs.get(name, {}).get("config", {}), folder, warnings))
    parts = parts or [negative_transfer(rows)]
    warnings += [note for part in parts for note in part.attrs["warnings"]]
    return _joined(parts), list(dict.fromkeys([*rows.attrs.get("warnings", []), *warnings]))


def _judged(suite: Suite, folder: Path) -> pd.DataFrame:
    from bench.stats.gap import negative_transfer
    from bench.suite.results import results_of

    rows = results_of(suite, folder)
    found = negative_transfer(rows, **with_examples(suite.statistics.model_dump(), folder))
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
