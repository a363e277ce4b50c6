"""Options that several verbs take, and from them to a suite and a selection."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bench.ledger.stored import Stored
    from bench.suite import Plan, Suite


def named_path(text: str) -> Path:
    """Return a path that is named: nothing at all would mean the current folder.

    Raises
    ------
    BadParameter
        For empty text, as an unset variable in a script leaves it.
    """
    if not str(text).strip():
        raise typer.BadParameter('an empty name; for the current folder say "."')
    return Path(text)


SuiteFile = Annotated[Path, typer.Argument(metavar="SUITE", help="A suite file (TOML).", show_default=False)]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.", show_default=False, parser=named_path)]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Run folder.  [default: runs/<name of the suite>]", parser=named_path),
]
Seeds = Annotated[
    str | None,
    typer.Option("--seeds", metavar="LIST", help="Seeds to run instead of the suite's: 0-9, 3 or 0,2,5-7."),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="KEY=VALUE...",
        help="Only some trials: 'pair=noise->digits' (quoted), source, target, backbone, strategy, weighting, "
        "n, f (blocks transferred, frozen), size or seed = a value or several (a,b). Several conditions must all hold.",
    ),
]
Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", metavar="FILE", help="A Python file that registers more names.")
]

TrustedPlugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="A plug-in of the folder's suites that you trust: its code is run."),
]

_CONDITION = re.compile(r"[A-Za-z]\w*=(?!.*\.toml$)")


def spread_where(arguments: list[str]) -> list[str]:
    """Let one ``--where`` take several conditions: ``--where a=1 b=2`` is ``--where a=1 --where b=2``."""
    found: list[str] = []
    open_ = False
    for argument in arguments:
        if open_ and found[-1] != "--where" and _CONDITION.match(argument):
            found.append("--where")
        elif argument == "--where" or argument.startswith("--where="):
            open_ = True
        elif not found or found[-1] != "--where":
            open_ = False
        found.append(argument)
    return found


def read_suite(path: Path, seeds: str | None, plugins: list[Path] | None) -> Suite:
    """Read a suite with other seeds and more plug-ins.

    Raises
    ------
    BenchError
        For everything that is wrong with it, and for seeds that are none.
    """
    from bench.api import with_seeds
    from bench.errors import BenchError
    from bench.suite import load_suite

    suite = load_suite(path, tuple(str(p) for p in plugins or ()))
    if seeds is None:
        return suite
    try:
        return with_seeds(suite, seeds)
    except ValueError as error:
        raise BenchError(f"--seeds: {error}") from None


def load_plugins(plugins: list[Path] | None) -> None:
    """Import plug-in files that the command line names.

    Raises
    ------
    DataError
        When one is missing or raises while it is imported.
    """
    from bench.registry import load_plugin

    for path in plugins or ():
        load_plugin(path)


def run_folder(suite: Suite, out: Path | None) -> Path:
    """Return the run folder of a suite."""
    return Path("runs") / suite.name if out is None else out


def stored_plan(suite: Suite, folder: Path) -> tuple[Plan, Stored]:
    """Return a suite's plan with what its run folder knows of the data, and what that holds."""
    from bench.ledger.stored import read_stored
    from bench.suite import Plan

    stored = read_stored(folder)
    return Plan.of(suite, stored), stored
