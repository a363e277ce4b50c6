"""``ntbench run``: run what is missing of a suite, then say what came of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import Out, Plugins, Seeds, SuiteFile, Where, read_suite, run_folder, stored_plan

if TYPE_CHECKING:
    from pathlib import Path

    from bench.launch.driver import Outcome
    from bench.suite import Plan, Selection, Suite
    from bench.suite.count import Counts
    from bench.suite.estimate import Forecast

DEVICES = ("auto", "cpu", "cuda")


def run(
    suite: SuiteFile,
    out: Out = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", "-j", metavar="N", min=0, help="Worker processes; 0: in this one.  [default: one a core]"
        ),
    ] = None,
    seeds: Seeds = None,
    where: Where = None,
    device: Annotated[str, typer.Option("--device", metavar="|".join(DEVICES), help="Where networks are trained.")] = (
        "auto"
    ),
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run what failed before again.")] = False,
    plugin: Plugins = None,
) -> None:
    """Run what is missing of a suite.

    The same command goes on where it stopped. Afterwards, the comparison table, findings and the paths of
    what was written are printed.

    Exit codes: 0 complete, 1 some trials or measurements failed, 2 bad input, 130 interrupted.
    """
    from bench.cli.after import say_results
    from bench.launch.machine import choose_device, default_jobs

    loaded = read_suite(suite, seeds, plugin)
    folder = run_folder(loaded, out)
    device = choose_device(device)
    jobs = default_jobs(device) if jobs is None else jobs
    outcome = carry_out(loaded, folder, jobs=jobs, device=device, where=where or [], retry_failed=retry_failed)
    say_results(loaded, folder, outcome)
    raise typer.Exit(1 if outcome.failed or outcome.unmeasured else 0)


def carry_out(suite: Suite, folder: Path, *, jobs: int, device: str, where: list[str], retry_failed: bool) -> Outcome:
    """Run what is missing of a suite with its progress on standard error; end the command where it is interrupted."""
    from bench.cli.progress import Outlook, watch
    from bench.launch.driver import run_suite
    from bench.suite import Selection

    def select(plan: Plan) -> Selection:
        return Selection.parse(where, plan)

    def look() -> tuple[Counts, Forecast]:
        return _look(suite, folder, where, retry_failed)

    counts, forecast = look()
    _say_header(suite, folder, device, jobs, where, counts)
    try:
        with watch(Outlook(forecast, lambda: look()[1], max(1, jobs))) as progress:
            outcome = run_suite(
                suite, folder, jobs=jobs, device=device, select=select, retry_failed=retry_failed, progress=progress
            )
    except KeyboardInterrupt:
        _err("stopped at once: what was in flight is lost, the rest is stored; the same command goes on from there")
        raise typer.Exit(130) from None
    if outcome.interrupted and outcome.missing:
        _say_interrupted(outcome)
        raise typer.Exit(130)
    return outcome


def _look(suite: Suite, folder: Path, where: list[str], retry_failed: bool) -> tuple[Counts, Forecast]:
    """Count what is there and what is missing, and foresee how long that takes."""
    from bench.suite import Selection
    from bench.suite.count import count
    from bench.suite.estimate import Forecast

    plan, stored = stored_plan(suite, folder)
    selection = Selection.parse(where, plan)
    counts = count(plan, stored, selection)
    return counts, Forecast(plan, counts, selection, retry_failed)


def _say_header(suite: Suite, folder: Path, device: str, jobs: int, where: list[str], counts: Counts) -> None:
    """Say what is about to run, where, and how much of it is there already."""
    from bench import __version__
    from bench.cli.wording import counted, state

    trials, models = counts.all_trials, counts.all_models
    workers = f"{counted(jobs, 'worker')} of one thread" if jobs else "in this process"
    only = f" where {' '.join(where)}" if where else ""
    _err(f"ntbench {__version__}: suite {suite.name}{only} -> {folder} ({device}, {workers})")
    _err(f"{counted(models.total, 'source model')}: {state(models.done, models.failed, models.missing)}")
    _err(f"{counted(trials.total, 'trial')}: {state(trials.done, trials.failed, trials.missing)}")


def _say_interrupted(outcome: Outcome) -> None:
    from bench.cli.wording import counted

    left = counted(outcome.missing, "trial is", "trials are")
    _err(f"interrupted: {left} missing, {outcome.done:,} done and stored; the same command goes on from there")


def _err(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
