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
    verbs = (
        run.run, plan.plan, table.table, report.report, export.export, diff.diff, reproduce.reproduce, status.status,
        merge.merge, debug.debug, show.show, listing.list_names, check.check,
    )  # fmt: skip
    for verb in verbs:
        app.command(verb.__name__.partition("_")[0])(verb)
    scaffolds = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Write a file to start from.")
    made = (
        new.pair, new.task, new.change, new.backbone, new.strategy, new.method, new.adaptation, new.measure,
        new.weighting, new.metric,
    )  # fmt: skip
    for verb in made:
        scaffolds.command(verb.__name__)(verb)
    app.add_typer(scaffolds, name="new")
    return typer.main.get_command(app)
