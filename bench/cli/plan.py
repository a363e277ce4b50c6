"""``ntbench plan``: what a suite comes to, what of it is done, and how long the rest may take."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import Out, Plugins, Seeds, SuiteFile, Where, read_suite, run_folder, stored_plan
from bench.cli.wording import recipe_line
from bench.schema import BY_OWN

if TYPE_CHECKING:
    from bench.suite import Plan
    from bench.suite.count import Counts, Tally

SHOWN = 40  # lines of one summary
WHOLE = 0.95  # share of an estimate that passes for all of it


def plan(
    suite: SuiteFile,
    out: Out = None,
    seeds: Seeds = None,
    where: Where = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", metavar="N", min=0, help="Workers that the estimate is for.")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Count a suite's trials; estimate the time.

    Says how many source models and trials it has, which of them are done, failed and missing in the run
    folder, and how long the missing ones may take. Nothing is read or trained.
    """
    from bench.suite import Selection
    from bench.suite.count import count

    loaded = read_suite(suite, seeds, plugin)
    folder = run_folder(loaded, out)
    plan, stored = stored_plan(loaded, folder)
    counts = count(plan, stored, Selection.parse(where or (), plan))
    if stored.damage.lines:
        print(f"note: {stored.damage}", file=sys.stderr)
    print(f"suite {loaded.name}, run folder {folder}{'' if folder.is_dir() else ' (not there yet)'}")
    print(f"{recipe_line(loaded)}\n")
    _table("", {"source models": counts.all_models, "trials": counts.all_trials})
    _table("trials by pair", counts.by("pair") if len(counts.by("pair")) <= SHOWN else counts.by("target"))
    _table("trials by strategy", counts.by("strategy"))
    for line in _transforms(plan):
        print(line)
    print(_estimate(plan, counts, jobs))
    for line in _unknown(plan):
        print(line)


def _table(title: str, tallies: dict[str, Tally]) -> None:
    """Print counts by state, aligned."""
    head = (title, "in all", "done", "failed", "missing")
    rows = [(name, *(f"{n:,}" for n in (t.total, t.done, t.failed, t.missing))) for name, t in tallies.items()]
    hidden = len(rows) - SHOWN
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows[:SHOWN]):
        numbers = "  ".join(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
        print(f"{row[0].ljust(widths[0])}  {numbers}")
    if hidden > 0:
        print(f"... and {hidden:,} more")
    print()


def _estimate(plan: Plan, counts: Counts, jobs: int | None) -> str:
    """Say how long what is missing may take, and what that rests on."""
    from bench.cli.wording import counted, duration
    from bench.launch.machine import default_jobs
    from bench.suite.estimate import estimate

    if not counts.all_trials.missing:
        return "Nothing is missing."
    found = estimate(plan, counts)
    workers = max(1, default_jobs("cpu") if jobs is None else jobs)
    about = f"{duration(found.seconds / workers)} of training on {counted(workers, 'worker')}"
    if found.measured >= WHOLE:
        return f"About {about}, from the times of the trials that are done."
    shares = {
        "from the times of trials of the same shape": found.measured,
        "predicted from those of other shapes": found.predicted,
        "a guess from numbers of steps": found.guessed,
    }
    said = " and ".join(f"{share:.0%} of it {what}" for what, share in shares.items() if share >= 0.005)
    if found.guessed <= 1 - WHOLE:
        return f"About {about}, {said}."
    if found.guessed >= WHOLE:
        said = "a guess from numbers of steps"
    return f"Very roughly {about}: {said}, easily off by a factor of five; run one seed first (--seeds 0) to know."


def _transforms(plan: Plan) -> list[str]:
    """Say whose train pool standardises tables, as far as their data have been read."""
    targets: dict[str, list[str]] = {}
    for target in plan.targets:
        by = plan.standardised_by(target, target)
        if by is not None:
            targets.setdefault("the target" if by == target else by, []).append(target)
    if targets and plan.suite.standardise == BY_OWN:
        return ["Each table is standardised by its own train pool: a shift between source and target is erased."]
    return [f"Tables in pairs to {_names(t)} are standardised by the train pool of {by}." for by, t in targets.items()]


def _unknown(plan: Plan) -> list[str]:
    """Say what the counts leave open while data have not been read."""
    said = []
    unread = [name for name in plan.tasks if plan.card(name) is None]
    heads = any(s.keep_head for row in plan.strategies for s in row)
    open_ = [n for n in unread if plan.classes(n) is None]
    if open_ and heads:
        said.append(
            f"The classes of {_names(open_)} are known once their data are read: until then every pair with them "
            "counts as fit for strategies that keep the source's head."
        )
    shapes = {plan.input_shape(target) for target in plan.targets}
    if len(plan.targets) > 1 and () in shapes:
        said.append("A source of several targets is trained once for each input shape; these are not known yet.")
    return said


def _names(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
