"""``ntbench reproduce``: figures and tables rebuilt from stored rows, or from rows that are run again."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.report.material import Part
    from bench.report.reproducible import Product

DIFFERS = 1
RUNS = "runs"


def reproduce(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FIGURE|TABLE|all]...", help="What to rebuild; without it, what there is is listed."),
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Run the suites again and compare their rows with the stored ones.")
    ] = False,
    results: Annotated[Path, typer.Option("--results", metavar="DIR", help="Where the stored rows are.")] = Path(
        "results"
    ),
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where everything is written.")] = Path(
        "runs/reproduced"
    ),
    experiments: Annotated[Path, typer.Option("--experiments", metavar="DIR", help="Where the suites are.")] = Path(
        "experiments"
    ),
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", metavar="N", min=0, help="Worker processes of --from-scratch.")
    ] = None,
    device: Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="Of --from-scratch.")] = "auto",
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="LIST", help="Only these seeds of --from-scratch: 0-2.")
    ] = None,
) -> None:
    """Rebuild figures and tables.

    From the stored rows, in seconds; each file is then compared with the committed one. With
    --from-scratch the suites are run again into OUT/runs (which resumes: remove it to begin anew), their
    rows compared with the stored ones as by ntbench diff, and everything is rebuilt from the new rows.

    Names: default/gap_map, or gap_map for every suite's, or default for all of a suite's, or figures,
    tables or all.

    Exit codes: 0 rebuilt and as stored; 1 a table differs from the committed one, or rows changed beyond noise; 2
    bad input; 3 rows are missing; 130 interrupted.
    """
    from bench.report.reproducible import choose, products

    known = products(results)
    if not what:
        _print_products(known.values())
        return
    chosen = choose(known, what)
    suites = list(dict.fromkeys(suite for product in chosen for suite in product.suites))
    if from_scratch:
        code, parts = _run_again(suites, results, experiments, out / RUNS, jobs, device, seeds)
    else:
        code, parts = 0, {suite: _part(results / suite) for suite in suites}
    different = _rebuild(chosen, parts, out, compare=not from_scratch)
    raise typer.Exit(code or (DIFFERS if different else 0))


def _print_products(known: Iterable[Product]) -> None:
    for product in known:
        print(f"{product.kind:<7} {product.name:<40} {product.what}")
    print("\nntbench reproduce NAME... rebuilds some, ntbench reproduce all everything.")


def _part(folder: Path) -> Part:
    """Return the results of the one suite in a folder."""
    from bench.cli.gather import gather
    from bench.errors import DataError
    from bench.ledger.results import load_correctness

    material = gather(folder, details=False)
    if len(material.parts) != 1:
        raise DataError(f"{folder} should hold the rows of one suite, it holds those of {len(material.parts)}")
    part = material.parts[0]
    part.tasks = {card["name"]: card for card in material.made.tasks}
    part.correct = partial(load_correctness, folder)
    return part


def _rebuild(chosen: list[Product], parts: dict[str, Part], out: Path, *, compare: bool) -> int:
    """Make every product and say how it compares with the committed one; return how many tables differ."""
    from bench.errors import BenchError, StoreError

    different = 0
    for product in chosen:
        folder = out / product.name.partition("/")[0]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the folder {folder}: {error.strerror}") from error
        try:
            paths = product.make(parts, folder)
        except StoreError:
            raise
        except BenchError as error:
            print(f"not made: {product.name}: {error}", file=sys.stderr)
            continue
        for path in paths:
            said, wrong = _compared(product, path) if compare else ("", False)
            different += wrong
            print(f"{path}{said}", flush=True)
    return different


def _compared(product: Product, path: Path) -> tuple[str, bool]:
    """Compare a file with the committed one; a picture that differs is said and is no failure: fonts do that."""
    from bench.report.reproducible import TABLE, same_content

    committed = product.committed / path.name
    if not committed.is_file():
        return "  (none is committed)", False
    if same_content(path, committed):
        return "  (as committed)", False
    if product.kind == TABLE:
        return f"  DIFFERS from {committed}", True
    return f"  (drawn otherwise than {committed}: another version of matplotlib or of the figure)", False


def _run_again(
    suites: list[str], results: Path, experiments: Path, out: Path, jobs: int | None, device: str, seeds: str | None
) -> tuple[int, dict[str, Part]]:
    """Run suites again and compare their rows with the stored ones; return the exit code and the new rows."""
    from bench.cli.diff import CHANGED, compare_folders, print_difference
    from bench.cli.options import read_suite
    from bench.cli.run import carry_out
    from bench.launch.means import Means

    means = Means(jobs=jobs, device=device).resolved()
    loaded = {name: read_suite(experiments / f"{name}.toml", seeds, None) for name in suites}
    parts, codes = {}, []
    for name, suite in loaded.items():
        outcome = carry_out(suite, out / name, means, where=[], retry_failed=True)
        found = compare_folders(results / name, out / name)
        print_difference(found, results / name, out / name)
        print()
        codes += [found.code, CHANGED if outcome.failed else 0]
        parts[name] = _part(out / name)
    # A change weighs more than a missing row.
    return next((code for code in (CHANGED, *codes) if code and code in codes), 0), parts
