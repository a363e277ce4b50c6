"""``ntbench run``: run what is missing of a suite, then say what came of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import Out, Plugins, Seeds, SuiteFile, Where, read_suite, run_folder, stored_plan

if TYPE_CHECKING:
    from pathlib import Path

    from bench.launch.driver import Outcome
    from bench.launch.means import Means
    from bench.launch.shards import Shard
    from bench.suite import Plan, Selection, Suite
    from bench.suite.count import Counts
    from bench.suite.estimate import Forecast

DEVICES = ("auto", "cpu", "cuda")
LAUNCHERS = ("inline", "processes", "ray")
Timeout = Annotated[
    float | None, typer.Option("--timeout", metavar="SECONDS", help="A trial that takes longer counts as failed.")
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="I/N", help="Only share I of N, in a folder of its own; ntbench merge makes one of all."
    ),
]
LauncherOption = Annotated[
    str | None,
    typer.Option(
        "--launcher",
        metavar="|".join(LAUNCHERS),
        help="Where trials run: this process, local ones or a Ray cluster.  [default: processes]",
    ),
]
Address = Annotated[
    str | None, typer.Option("--address", metavar="HOST:PORT", help="Of a Ray cluster.  [default: one on this machine]")
]
Cpus = Annotated[float | None, typer.Option("--cpus", metavar="N", help="CPUs that a Ray worker takes.  [default: 1]")]
Gpus = Annotated[
    float | None, typer.Option("--gpus", metavar="N", help="GPUs that a Ray worker takes; 0.25: four share one.")
]


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
    timeout: Timeout = None,
    shard: ShardOption = None,
    launcher: LauncherOption = None,
    address: Address = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
) -> None:
    """Run what is missing of a suite.

    The same command goes on where it stopped. Afterwards, the comparison table, findings and the paths of
    what was written are printed. The table depends neither on the launcher nor on the number of workers.

    Exit codes: 0 complete, 1 some trials or measurements failed (failed trials are rows), 2 bad input (the message says
    what and where), 130 interrupted.
    """
    from bench.launch.means import Means
    from bench.launch.shards import Shard

    loaded = read_suite(suite, seeds, plugin)
    share = None if shard is None else Shard.parse(shard)
    folder = run_folder(loaded, out)
    if share and out is None:
        folder = folder.with_name(folder.name + share.suffix)
    means = Means(launcher, jobs, device, timeout, address, cpus, gpus).resolved()
    outcome = carry_out(loaded, folder, means, where=where or [], shard=share, retry_failed=retry_failed)
    if share:
        _say_shard(loaded, folder, share, outcome)
    else:
        from bench.cli.after import say_results

        say_results(loaded, folder, outcome)
    raise typer.Exit(1 if outcome.failed or outcome.unmeasured else 0)


def carry_out(
    suite: Suite, folder: Path, means: Means, *, where: list[str], shard: Shard | None = None, retry_failed: bool
) -> Outcome:
    """Run what is missing of a suite with its progress on standard error; end the command where it is interrupted."""
    from bench.cli.progress import Outlook, watch
    from bench.launch.driver import run_suite
    from bench.suite import Selection

    def select(plan: Plan) -> Selection:
        return Selection.parse(where, plan)

    def look() -> tuple[Counts, Forecast]:
        return _look(suite, folder, where, retry_failed)

    counts, forecast = look()
    _say_header(suite, folder, means, where, shard, counts)
    try:
        with watch(Outlook(forecast, lambda: look()[1], max(1, means.jobs or 1))) as progress:
            outcome = run_suite(
                suite, folder, means, select=select, shard=shard, retry_failed=retry_failed, progress=progress
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


def _say_header(
    suite: Suite, folder: Path, means: Means, where: list[str], shard: Shard | None, counts: Counts
) -> None:
    """Say what is about to run, where, and how much of it is there already."""
    from bench import __version__
    from bench.cli.wording import counted, state

    trials, models = counts.all_trials, counts.all_models
    only = f" where {' '.join(where)}" if where else ""
    share = f", shard {shard}" if shard else ""
    _err(f"ntbench {__version__}: suite {suite.name}{only}{share} -> {folder} ({means.device}, {means.label()})")
    whole = "in the whole suite: " if shard else ""
    _err(f"{whole}{counted(models.total, 'source model')}: {state(models.done, models.failed, models.missing)}")
    _err(f"{whole}{counted(trials.total, 'trial')}: {state(trials.done, trials.failed, trials.missing)}")


def _say_shard(suite: Suite, folder: Path, shard: Shard, outcome: Outcome) -> None:
    """Say how a shard stands: it is compared when all are merged."""
    from bench.cli.wording import state

    done = state(outcome.done, outcome.failed, outcome.missing)
    _err(f"{suite.name}, trials of shard {shard}: {done}, in {folder}")
    _err("when all shards are done: ntbench merge OUT SHARD...")


def _say_interrupted(outcome: Outcome) -> None:
    from bench.cli.wording import counted

    left = counted(outcome.missing, "trial is", "trials are")
    _err(f"interrupted: {left} missing, {outcome.done:,} done and stored; the same command goes on from there")


def _err(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
