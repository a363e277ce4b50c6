"""``ntbench debug``: one trial again, in this process, with a debugger where it goes wrong."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.options import TrustedPlugins

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.ledger.stored import Stored
    from bench.suite import Plan
    from bench.trial import SourceModel, Trial

RUNS = Path("runs")
FAILED = 1


def debug(
    trial: Annotated[
        str, typer.Argument(metavar="TRIAL", help="The key of a trial or source model, or how it begins.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Its run folder.  [default: look under runs]")
    ] = None,
    suite: Annotated[
        Path | None,
        typer.Option("--suite", metavar="SUITE", help="Its suite file, where the run folder was moved away from it."),
    ] = None,
    device: Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where networks are trained.")] = (
        "auto"
    ),
    plugin: TrustedPlugins = None,
) -> None:
    """Run one trial of a run folder again and open the debugger (pdb) where it goes wrong.

    It runs in this process, on one thread, as a worker would run it; nothing is written to the run folder.
    Ctrl-C opens the debugger too, for what hangs. Keys: ntbench status DIR (what workers have in work), its
    --json, or the column "key" of the table.

    Exit codes: 0 the trial went well, 1 it failed, 2 bad input: data that are not where they were, or changed.
    """
    from bench.cli.options import load_plugins
    from bench.errors import BenchError
    from bench.launch.alone import MissingData, run_alone
    from bench.launch.machine import choose_device

    load_plugins(plugin)
    folder, stored, key = _find_folder(trial, out)
    plan, unit = _find_unit(folder, stored, key, suite)
    print(f"{key} of {folder}: running", file=sys.stderr, flush=True)
    try:
        record = run_alone(plan, unit, stored, folder, choose_device(device))
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, MissingData):
            hint = "" if suite else "; where the suite lies elsewhere now, say --suite FILE"
            raise BenchError(f"{error}{hint}") from None
        import pdb

        traceback.print_exc()
        pdb.post_mortem(error.__traceback__)
        raise typer.Exit(FAILED) from None
    _say_result(record)


def _find_folder(key: str, out: Path | None) -> tuple[Path, Stored, str]:
    """Return the one folder that holds a key that begins so, what it holds, and the whole key.

    Keys of what has a row come first; what hangs in a run that goes on has none yet.
    """
    from bench.cli.stored import read_folder
    from bench.errors import BenchError
    from bench.ledger.file import ledgers

    folders = [out] if out else [p for p in sorted(RUNS.glob("*")) if p.is_dir() and ledgers(p)]
    held = [(folder, read_folder(folder)) for folder in folders]
    found: list[tuple[Path, Stored, str]] = []
    for keys_of in (_stored_keys, _planned_keys):
        if key and not found:
            found = [
                (folder, stored, name)
                for folder, stored in held
                for name in dict.fromkeys(keys_of(folder, stored))
                if name.startswith(key)
            ]
    where = out or f"any folder under {RUNS}"
    if not found:
        raise BenchError(f'no trial or source model of {where} has a key that starts with "{key}"')
    if len(found) > 1:
        several = ", ".join(f"{name} in {folder}" for folder, _, name in found[:4])
        raise BenchError(f'{len(found)} keys start with "{key}": {several}; give more of it, or --out')
    return found[0]


def _stored_keys(folder: Path, stored: Stored) -> Iterator[str]:
    yield from (*stored.failed, *stored.done, *stored.models)


def _planned_keys(folder: Path, stored: Stored) -> Iterator[str]:
    from bench.cli.stored import suites_of
    from bench.suite import Plan

    for suite in suites_of(folder, stored)[0]:
        plan = Plan.of(suite, stored)
        yield from (trial.key for trial in plan.trials())
        yield from (model.key for model in plan.source_models() if model.source not in plan.models)


def _find_unit(folder: Path, stored: Stored, key: str, file: Path | None) -> tuple[Plan, Trial | SourceModel]:
    from bench.cli.stored import suites_of
    from bench.errors import BenchError
    from bench.launch.alone import find_unit
    from bench.suite import Plan, load_suite

    suites, problems = ([load_suite(file)], []) if file else suites_of(folder, stored)
    for suite in suites:
        plan = Plan.of(suite, stored)
        unit = find_unit(plan, key)
        if unit is not None:
            return plan, unit
    why = "; ".join(problems) or "the suite was changed since, has another name, or was run with other seeds"
    raise BenchError(f"{key} is none of the trials of {folder} as its suites read now: {why}")


def _say_result(record: dict[str, Any]) -> None:
    from bench.schema import ACCURACY

    row = record.get("row", record)
    other = ("metric", "test_score", "val_score") if row.get("metric", ACCURACY) != ACCURACY else ()
    names = ("test_accuracy", "val_accuracy", "source_accuracy", "learning_rate", "steps", "best_step", "seconds")
    print(f"{record['key']}: ok")
    for name in (*other, *names):
        if row.get(name) is not None:
            print(f"  {name}: {row[name]}")
