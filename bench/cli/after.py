"""What a run ends with: failures, the comparison table, findings and the paths of what was written."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.terminal import console, print_comparisons
from bench.cli.wording import counted, state

if TYPE_CHECKING:
    import pandas as pd

    from bench.launch.driver import Outcome
    from bench.report.material import Made
    from bench.suite import Suite

SHOWN_FAILURES = 5
MATTERS = ("versions", "commit", "python", "processor", "device")  # of a run, to its numbers
KEY = 10  # characters of a key that are enough to name a trial


def say_results(suite: Suite, folder: Path, outcome: Outcome) -> None:
    """Write the derived files and print the results of a run."""
    from bench.cli.stored import with_examples
    from bench.report.findings import findings
    from bench.report.grid import NEAR
    from bench.report.material import write_provenance
    from bench.report.weightings import sentences, weighted
    from bench.report.write import write_report
    from bench.stats.gap import negative_transfer
    from bench.suite.results import results_of

    rows = results_of(suite, folder)
    options = with_examples(suite.statistics.model_dump(), folder)
    made = made_of(folder)
    written = write_report(rows, folder, header_of(folder), tasks=made.tasks, **options)
    written.append(write_provenance(made, folder))
    comparisons = negative_transfer(rows, **options)
    if len(comparisons):
        print_comparisons(comparisons, NEAR)
        print()
        say_list("Findings", findings(comparisons))
    weights = weighted(rows)
    say_list("Weighting the source's examples", [] if weights is None else sentences(weights))
    say_list("Warnings", [*rows.attrs.get("warnings", []), *comparisons.attrs["warnings"]])
    say_list("Written", map(str, written))
    sys.stdout.flush()
    print(f"{suite.name}, trials: {state(outcome.done, outcome.failed, outcome.missing)}", file=sys.stderr)
    if outcome.failed:
        _say_failures(rows, folder)
    if outcome.unmeasured:
        many = counted(len(outcome.unmeasured), "measurement of similarity", "measurements of similarity")
        print(f"{many} failed ({outcome.unmeasured[0]}); ntbench run --retry-failed tries again", file=sys.stderr)


def header_of(folder: Path) -> dict[str, Any]:
    """Return the provenance of the last run in a folder, and what earlier ones had otherwise, as reports give it."""
    runs = made_of(folder).differing_runs()
    if not runs:
        return {}
    *earlier, last = runs
    header = {key: value for key, value in last.items() if key not in ("kind", "config")}
    for key in MATTERS:
        others = [run[key] for run in earlier if key in run and run[key] != last.get(key)]
        if others:
            header[f"{key}, earlier"] = [value for n, value in enumerate(others) if value not in others[:n]]
    return header


def made_of(folder: Path) -> Made:
    """Return what a run folder's results were made with: its runs and its tasks."""
    from bench.ledger.stored import read_stored
    from bench.report.material import Made

    stored = read_stored(folder)
    return Made(stored.runs, list({card["name"]: card for card in stored.cards.values()}.values()))


def say_list(title: str, lines: Iterable[str]) -> None:
    """Print a heading and one point a line (nothing where there is none)."""
    from rich.padding import Padding
    from rich.text import Text

    lines = list(lines)
    if not lines:
        return
    page = console(sys.stdout)
    page.print(Text(title, style="bold"))
    for line in lines:
        if page.is_terminal and title != "Written":
            page.print(Padding(Text(line), (0, 0, 0, 2)))
        else:
            print(f"  {line}")  # not wrapped: whoever reads this is a program, or will want to copy a path


def _say_failures(rows: pd.DataFrame, folder: Path) -> None:
    """List the first failed trials on standard error, and how to see more of them."""
    failed = rows[rows["status"] == "failed"]
    said = [f"failed: {row_name(row)}: {row['error']}" for row in failed.head(SHOWN_FAILURES).to_dict("records")]
    if len(failed) > SHOWN_FAILURES:
        said.append(f"... and {counted(len(failed) - SHOWN_FAILURES, 'failure')} more")
    key = failed["key"].iloc[0][:KEY] if len(failed) else ""
    said.append(f"a traceback: ntbench status {folder} --traceback {key}; run them again: --retry-failed")
    print("\n".join(said), file=sys.stderr)


def row_name(row: dict[str, Any]) -> str:
    """Name a trial as its row says it."""
    source = f"{row['source']} -> " if isinstance(row["source"], str) else ""
    how = f"{row['strategy']} ({row['transfer_depth']}, {row['frozen_depth']})"
    return f"{row['key'][:KEY]} {source}{row['target']}, {how}, size {row['target_size']}, seed {row['seed']}"
