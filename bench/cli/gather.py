"""From a folder to the material of its report: rows by suite, judged as each suite says, and what made them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, StoreError
from bench.ledger.example_weights import keeps_weights, load_weights
from bench.ledger.file import ledgers, parse_record, read_records
from bench.ledger.records import SourceRecord, TrialRecord
from bench.ledger.results import PARQUET, load_results
from bench.ledger.stored import read_stored
from bench.report.material import Made, Material, Part, read_provenance
from bench.suite.results import results_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from bench.ledger.stored import Stored
    from bench.suite import Suite

EXPERIMENTS = Path("experiments")


def gather(folder: Path, *, details: bool = True) -> Material:
    """Gather what a run folder, or a folder of committed results, holds.

    A folder without results gives material that says so. Without `details`, curves, tracebacks and source
    models are left in the ledger.

    Raises
    ------
    StoreError
        When there is no such folder, or what it holds cannot be read.
    """
    if not folder.is_dir():
        raise StoreError(f"no folder at {folder}")
    if ledgers(folder):
        return _from_ledger(folder, details)
    if (folder / PARQUET).is_file():
        return _from_parquet(folder)
    return Material(str(folder), notes=[f"{folder} holds no results: no ledger.jsonl, no {PARQUET}."])


# --- run folders ---------------------------------------------------------------------------------------


def _from_ledger(folder: Path, details: bool) -> Material:
    from bench.cli.stored import plugin_notes, suites_of

    stored = read_stored(folder)
    tasks = {card["name"]: card for card in stored.cards.values()}
    made = Made(stored.runs, list(tasks.values()))
    material = Material(str(folder), curves={}, tracebacks={}, by_class={}, made=made)
    if details:
        _read_details(folder, material)
        if keeps_weights(folder):
            material.weights = lambda: load_weights(folder)
    suites, problems = suites_of(folder, stored)
    material.notes += [f"{problem}; its rows are taken as they are" for problem in problems]
    material.notes += plugin_notes(folder, stored)
    rows = load_results(folder)
    material.notes += rows.attrs.get("warnings", [])
    runs = material.made.last_runs()
    for suite in suites:
        mine = results_of(suite, folder)
        notes = [note for note in mine.attrs["warnings"] if note not in material.notes]
        part = _part(suite.name, mine, runs[suite.name]["config"], folder, notes)
        part.sizes = _sizes(suite, stored)
        material.parts.append(part)
    known = {suite.name for suite in suites}
    for name, mine in _by_suite(rows):
        if name not in known:
            material.parts.append(_part(name, mine, runs.get(name, {}).get("config", {}), folder, []))
    if not len(rows):
        material.notes.append("The ledger holds no finished or failed trial that this version can read.")
    return material


def _read_details(folder: Path, material: Material) -> None:
    """Read what the ledger keeps beside the rows: curves, tracebacks and source models."""
    for record in read_records(folder, read=parse_record):
        match record:
            case TrialRecord(key=key, detail=detail):
                for kept in (material.curves, material.tracebacks, material.by_class):
                    kept.pop(key, None)
                if detail.curve:
                    material.curves[key] = _curve(detail.curve)
                if detail.by_class:
                    material.by_class[key] = json.dumps(detail.by_class, separators=(",", ":"))
                if detail.traceback:
                    material.tracebacks[key] = detail.traceback
            case SourceRecord(ok=True):
                place = (record.source, record.backbone, record.weighting, record.source_seed)
                kept = ("source_accuracy", "val_accuracy", "learning_rate", "steps", "best_step", "seconds", "key")
                model = {name: getattr(record, name) for name in kept}
                # Weightings that learn from the target train several: the row does not say which of them it is.
                before = material.made.models.get(place, model)
                material.made.models[place] = model if before.get("key") == record.key else {}


def _curve(points: list[list[float]]) -> str:
    """Write a curve to four digits: for a hundred thousand trials they must stay small."""
    short = [[None if value is None else float(f"{value:.4g}") for value in point] for point in points]
    return json.dumps(short, separators=(",", ":"))


def _sizes(suite: Suite, stored: Stored) -> dict[str, dict[int, str]]:
    from bench.suite import Plan

    plan = Plan.of(suite, stored)
    return {
        target: {n: str(size) for n, size in zip(plan.sizes(target), suite.target_sizes, strict=True)}
        for target in plan.targets
    }


# --- committed results ---------------------------------------------------------------------------------


def _from_parquet(folder: Path) -> Material:
    material = Material(str(folder))
    material.notes.append(
        f"Made from {PARQUET} alone: learning curves and tracebacks are in a run folder's ledger, which is not here."
    )
    try:
        material.made = read_provenance(folder)
    except StoreError as error:
        material.notes.append(f"{error}.")
    if not material.made.runs:
        material.notes.append("No provenance.json: versions, machine, recipe and data fingerprints are not known.")
    rows = load_results(folder)
    if not len(rows):
        material.notes.append(f"{folder / PARQUET} has no rows.")
    runs = material.made.last_runs()
    for name, mine in _by_suite(rows):
        kept, notes = _alike(mine)
        material.parts.append(_part(name, kept, runs.get(name, {}).get("config", {}), folder, notes))
    return material


def _alike(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Keep, for each target and backbone, the rows that were made alike: of several recipes or versions the most."""
    known = rows[rows["context"].notna()]
    counts = known.groupby(["target", "backbone", "context"]).size()
    if not len(counts) or not counts.index.droplevel("context").has_duplicates:
        return rows, []
    best = counts.groupby(["target", "backbone"]).idxmax()
    kept = rows[rows["context"].isna() | rows["context"].isin({place[2] for place in best})].reset_index(drop=True)
    lost = len(rows) - len(kept)
    return kept, [
        f"Rows of several recipes, data or schema versions are mixed here and cannot be compared: the most numerous "
        f"of each target and backbone are taken, {lost:,} rows are left out."
    ]


# --- both ----------------------------------------------------------------------------------------------


def _by_suite(rows: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    for name, part in rows.assign(suite=rows["suite"].fillna("(no name)")).groupby("suite", sort=True):
        yield str(name), part.reset_index(drop=True)


def _part(name: str, rows: pd.DataFrame, config: dict[str, Any], folder: Path, notes: list[str]) -> Part:
    """Judge a suite's rows as it says; where they cannot be compared, say why."""
    from bench.cli.stored import statistics_of, with_examples
    from bench.schema import COMPARISON, conform
    from bench.stats.gap import negative_transfer

    notes = list(notes)
    try:
        comparisons = negative_transfer(rows, **with_examples(statistics_of(config), folder))
    except (BenchError, TypeError) as error:
        comparisons = conform([], COMPARISON)
        comparisons.attrs["warnings"] = [f"The rows cannot be compared: {error}"]
    notes += comparisons.attrs["warnings"]
    if not config:
        notes.append("The suite as it was run is not known here: verdicts are by the default settings.")
    return Part(name, rows, comparisons, config, _file(name, config, folder), notes=list(dict.fromkeys(notes)))


def _file(name: str, config: dict[str, Any], folder: Path) -> str:
    """Return where the suite's file stands, seen from here: where it was run from, or among the experiments."""
    places = [folder / config["folder"] / f"{name}.toml"] if isinstance(config.get("folder"), str) else []
    found = next((path for path in [*places, EXPERIMENTS / f"{name}.toml"] if path.is_file()), None)
    return f"{name}.toml" if found is None else Path(os.path.relpath(found)).as_posix()
