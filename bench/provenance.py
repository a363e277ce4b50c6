"""The provenance of a run: versions, commit, machine, the content of plug-ins."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.ledger.file import parse_summary, read_records
from bench.ledger.model_files import file_digest
from bench.ledger.records import FinishedTrial, RunRecord, TrialRecord

PACKAGES = (
    "ntbench",
    "torch",
    "torchvision",
    "numpy",
    "pandas",
    "scikit-learn",
    "scipy",
    "statsmodels",
    "matplotlib",
    "higher",
)


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide results, without importing them."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def commit() -> str | None:
    """Return the git commit of the checkout that this code runs from, with "+changes" where the code differs."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return None
    try:
        run = {"cwd": folder, "capture_output": True, "text": True, "timeout": 10, "check": True}
        head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], **run).stdout.strip()
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "-uno", "--", "bench", "pyproject.toml"], **run
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+changes" if dirty else "")


def describe(device: str, jobs: int) -> dict[str, Any]:
    """Return a run's provenance, for the ledger and the report (never part of a trial's key)."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "commit": commit(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "device": device,
        "jobs": jobs,
    }


def plugin_digests(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the digest of each plug-in file that is there, by its name in the suite; no code is run."""
    return {name: file_digest(path) for name, path in files.items() if path.is_file()}


def changed_plugins(
    folder: Path, files: Mapping[str, Path], runs: Sequence[Mapping[str, Any]], keys: Callable[[], Collection[str]]
) -> list[str]:
    """Say which plug-ins have changed since rows of a run folder were made with them.

    Their names and versions decide what a row is; this is for an author who forgot to raise the version. Modules
    that a plug-in imports are not looked at.

    Parameters
    ----------
    folder : Path
    files : mapping of str to Path
        Plug-in files by their names in the suite.
    runs : sequence of records
        The folder's, each with the digests of its time.
    keys : callable
        Returns the keys of the rows that matter; called only where a digest differs.

    Returns
    -------
    list of str
        A sentence for each.
    """
    now = plugin_digests(files)
    if all(_digests(run).get(name, digest) == digest for run in runs for name, digest in now.items()):
        return []
    made, current = {}, {}
    for record in read_records(folder, read=parse_summary):
        match record:
            case RunRecord():
                current = _digests(record.to_json())
            case TrialRecord() | FinishedTrial():
                made[record.key] = current
    before = [made.get(key, {}) for key in keys()]
    return [
        f"plug-in {Path(name).name} has changed since its rows were made; raise version=... in its decorator if "
        "results change, and they are made again"
        for name, digest in now.items()
        if any(digests.get(name, digest) != digest for digests in before)
    ]


def _digests(run: Mapping[str, Any]) -> Mapping[str, str]:
    """Return a run record's plug-in digests; none of a record by another hand or an earlier version."""
    found = run.get("plugins")
    return found if isinstance(found, dict) else {}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
