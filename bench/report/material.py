"""What a report is made of: everything that a folder of results holds, suite by suite."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.atomic_write import write_whole
from bench.errors import DataError, StoreError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

PROVENANCE = "provenance.json"


@dataclass
class Part:
    """The results of one suite.

    Attributes
    ----------
    suite : str
    rows : DataFrame
        One row a trial, columns as in :data:`bench.schema.TRIAL`.
    comparisons : DataFrame
        As :func:`bench.stats.gap.negative_transfer` returns it, judged as the suite says.
    config : dict
        The suite as it was last run; empty where that is not known.
    file : str
        Where the suite's file stands, seen from here; a guess where `config` is empty.
    sizes : dict of target -> {examples in all: what the suite calls that size}
    notes : list of str
        What cannot be said of these results, and why.
    tasks : dict of name -> card
        What is known of their tasks: examples, classes, fingerprint.
    correct : callable or None
        Reads which test examples each trial got right, where the folder keeps that.
    """

    suite: str
    rows: pd.DataFrame
    comparisons: pd.DataFrame
    config: dict[str, Any] = field(default_factory=dict)
    file: str = ""
    sizes: dict[str, dict[int, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    correct: Callable[[], Mapping[str, np.ndarray]] | None = None

    @cached_property
    def over_examples(self) -> pd.DataFrame:
        """The comparisons with bootstrap intervals over seeds and test examples.

        Raises
        ------
        BenchError
            When it is not known which test examples were right.
        """
        from bench.stats.gap import negative_transfer, options_of

        if self.correct is None:
            raise DataError(f"the results of {self.suite} do not say which test examples were right")
        return negative_transfer(self.rows, correct=self.correct(), **options_of(self.comparisons))


@dataclass
class Made:
    """What results were made with, as a ledger or a ``provenance.json`` says it.

    Attributes
    ----------
    runs : list of dict
        One a time a suite was run: versions, commit, machine, and the suite itself (`config`).
    tasks : list of dict
        Cards of the tasks: fingerprint, version, shape, classes, counts.
    models : dict of (source, backbone, weighting, seed) -> dict
        Source models: rate, steps, accuracies.
    """

    runs: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    models: dict[tuple, dict[str, Any]] = field(default_factory=dict)

    def last_runs(self) -> dict[str, dict[str, Any]]:
        """Return the last run of each suite."""
        return {run["suite"]: run for run in self.runs if "suite" in run}

    def differing_runs(self) -> list[dict[str, Any]]:
        """Return the runs, of those that differ only in when they started the last."""
        found: dict[str, dict[str, Any]] = {}
        for run in self.runs:
            same = json.dumps({name: value for name, value in run.items() if name != "started"}, sort_keys=True)
            found.pop(same, None)
            found[same] = run
        return list(found.values())


@dataclass
class Material:
    """All results of a folder.

    Attributes
    ----------
    folder : str
        As it was named.
    parts : list of Part
    made : Made
    curves, tracebacks : dict of trial key -> text, or None
        Learning curves as JSON, ``[[learning rate, step, train loss, validation loss, validation accuracy], ...]``.
        None where the folder holds no ledger.
    by_class : dict of trial key -> text, or None
        What a trial scores on single classes, as JSON: ``{metric: [value, ...]}``.
    weights : callable or None
        Returns what each source example weighed; None where the folder keeps no weights.
    notes : list of str
        What cannot be said of the folder as a whole, and why.
    """

    folder: str
    parts: list[Part] = field(default_factory=list)
    made: Made = field(default_factory=Made)
    curves: dict[str, str] | None = None
    tracebacks: dict[str, str] | None = None
    by_class: dict[str, str] | None = None
    weights: Callable[[], pd.DataFrame] | None = None
    notes: list[str] = field(default_factory=list)


def write_provenance(made: Made, folder: Path) -> Path:
    """Write what a folder's results were made with beside them, for those who have the rows and no ledger.

    Source models stay in the ledger. Returns the file's path.
    """
    content = {"runs": [_bare(run) for run in made.differing_runs()], "tasks": made.tasks}
    return write_whole(folder / PROVENANCE, json.dumps(content, indent=1) + "\n", shared=True)


def _bare(run: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in run.items() if name != "kind"}


def read_provenance(folder: Path) -> Made:
    """Read what :func:`write_provenance` wrote; empty where there is none.

    Raises
    ------
    StoreError
        When the file cannot be read or is no such thing.
    """
    path = folder / PROVENANCE
    if not path.is_file():
        return Made()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        runs, tasks = content["runs"], content["tasks"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(f"cannot read {path}: {type(error).__name__}: {error}") from error
    if not all(isinstance(entry, dict) for part in (runs, tasks) if isinstance(part, list) for entry in part):
        raise StoreError(f"cannot read {path}: runs and tasks must be lists of objects")
    return Made(runs, tasks)
