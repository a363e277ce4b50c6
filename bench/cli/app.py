"""The verbs, put together."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bench.cli import check, debug, diff, export, listing, merge, new, plan, report, reproduce, run, show, status, table

_EPILOG = (
    "A first run: ntbench new pair mine, then ntbench run mine.toml. "
    "Exit codes: 0 success; 1 failed trials, or results that changed; 2 bad input; 3 missing rows; "
    "70 a bug in ntbench; 130 interrupted. ntbench VERB --help says what they mean for a verb."
)


def _version(asked: bool) -> None:
    if asked:
        from bench import __version__

        print(f"ntbench {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Measure negative transfer: does starting from a source model hurt the target, by how much, how surely."""


def command() -> Any:
    """Return the command with all its verbs."""
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(epilog=_EPILOG)(_root)
    app.command("run")(run.run)
    app.command("plan")(plan.plan)
    app.command("table")(table.table)
    app.command("report")(report.report)
    app.command("export")(export.export)
    app.command("diff")(diff.diff)
    app.command("reproduce")(reproduce.reproduce)
    app.command("status")(status.status)
    app.command("merge")(merge.merge)
    app.command("debug")(debug.debug)
    app.command("show")(show.show)
    app.command("list")(listing.list_names)
    app.command("check")(check.check)
    scaffolds = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Write a file to start from.")
    made = (
        new.task,
        new.change,
        new.backbone,
        new.strategy,
        new.method,
        new.adaptation,
        new.measure,
        new.weighting,
        new.metric,
    )
    for verb in (new.pair, *made):
        scaffolds.command(verb.__name__)(verb)
    app.add_typer(scaffolds, name="new")
    return typer.main.get_command(app)
