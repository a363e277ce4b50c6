"""Provenance as a report shows it: runs, versions, data, the suite as it was run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bench.trial import Card, counts_text, shape_from_json, shape_text

if TYPE_CHECKING:
    from bench.report.material import Made

SHOWN_RUNS = 20
_RUN = ("suite", "started", "commit", "python", "system", "processor", "cores", "device", "jobs")


def run_table(made: Made) -> dict[str, Any] | None:
    """Return the last runs as rows of text, the latest first; None where none is known."""
    if not made.runs:
        return None
    shown = made.runs[::-1][:SHOWN_RUNS]
    notes = []
    if len(made.runs) > SHOWN_RUNS:
        notes.append(f"{len(made.runs) - SHOWN_RUNS:,} earlier runs are not shown.")
    commits = {str(run.get("commit")) for run in made.runs}
    if len(commits) > 1:
        notes.append(f"The rows come from runs of {len(commits)} commits.")
    return {
        "columns": list(_RUN),
        "rows": [["unknown" if run.get(name) is None else str(run[name]) for name in _RUN] for run in shown],
        "notes": notes,
    }


def version_table(made: Made) -> dict[str, Any] | None:
    """Return the versions of packages, a column a suite; None where none is known."""
    runs = {name: run["versions"] for name, run in made.last_runs().items() if isinstance(run.get("versions"), dict)}
    if not runs:
        return None
    packages = dict.fromkeys(package for versions in runs.values() for package in versions)
    return {
        "suites": list(runs),
        "rows": [(package, [str(versions.get(package, "")) for versions in runs.values()]) for package in packages],
    }


def task_table(made: Made) -> list[dict[str, Any]]:
    """Return what is known of the data."""
    return [
        {
            "name": card.get("name", ""),
            "fingerprint": card.get("fingerprint", ""),
            "version": card.get("version", ""),
            "input": shape_text(shape_from_json(card.get("shape", ()))),
            "classes": len(card.get("classes", ())),
            "n_train": card.get("n_train", ""),
            "n_test": card.get("n_test", ""),
            "notes": [str(note) for note in card.get("notes") or ()],
            **_class_counts(card),
        }
        for card in made.tasks
    ]


def _class_counts(card: dict[str, Any]) -> dict[str, Any]:
    """Return the examples of each class, and what always predicting the largest scores, as far as the card says."""
    names, train, test = (card.get(name) or () for name in ("classes", "class_counts", "test_counts"))
    if len(train) != len(names):
        return {"counts": "", "majority": ""}
    if len(test) != len(names):
        return {"counts": counts_text(names, train, most=None), "majority": ""}
    known = Card.from_json(card)
    share = (
        f"{names[known.majority]} {100 * known.majority_accuracy:.1f} %" if known.majority_accuracy is not None else ""
    )
    return {"counts": counts_text(names, train, test, most=None), "majority": share}


def config_text(config: dict[str, Any]) -> str:
    """Write a suite as it was run; empty where it is not known."""
    return json.dumps(config, indent=2, ensure_ascii=False) if config else ""
