"""``ntbench merge``: one run folder of many."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The run folder to make, or to add to.")],
    shards: Annotated[list[Path], typer.Argument(metavar="SHARD...", help="Run folders, in any order.")],
) -> None:
    """Merge the run folders of shards into one.

    What stands in several of them is kept once, where they agree; two results for one trial that differ are
    an error that names both, and so are different suites. Merging again adds nothing, so shards can be merged
    as they finish.
    """
    from bench.cli.stored import suites_of
    from bench.cli.wording import counted, printable, state
    from bench.launch.merge import merge as merge_folders
    from bench.ledger.stored import read_stored
    from bench.suite import Plan
    from bench.suite.count import count

    merged = merge_folders(out, shards)
    print(f"{out}: {counted(merged.added, 'record')} added, {merged.known:,} there already or in several places")
    stored = read_stored(out)
    suites, problems = suites_of(out, stored)
    for suite in suites:
        trials = count(Plan.of(suite, stored), stored).all_trials
        print(f"{suite.name}, trials: {state(trials.done, trials.failed, trials.missing)}")
    for note in [*merged.notes, *problems]:
        print(f"note: {printable(note)}", file=sys.stderr)
    print(f"next: ntbench report {out}; ntbench run SUITE --out {out} runs what is missing")
