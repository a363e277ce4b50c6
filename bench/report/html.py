"""The report as one HTML file: findings, figures, tables that sort and filter, a page for every trial."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.atomic_write import write_whole
from bench.errors import BenchError, unknown
from bench.report.cells import legend
from bench.report.figures import COMPARISONS, WEIGHTS, Panel, panels, weight_panels
from bench.report.findings import failures, findings
from bench.report.grid import NEAR
from bench.report.harm import harm_table
from bench.report.html_data import data_blocks, meta
from bench.report.html_provenance import config_text, run_table, task_table, version_table
from bench.report.inputs import transform_sentences
from bench.report.packing import to_json
from bench.report.svg import inline_svg
from bench.report.weightings import sentences, weighted
from bench.schema import OK, VERDICTS, similarity_columns

if TYPE_CHECKING:
    from bench.report.material import Material, Part

PAGE = Path(__file__).parent / "page"
SCRIPTS = ("report.js", "detail.js")
MOST_PANELS = 40
MOST_CELLS = 1_500  # comparisons in one figure: more than can be told apart, and slow to draw
_CELL = ["target", "backbone", "source", "weighting", "strategy", "transfer_depth", "frozen_depth", "target_size"]
POINT = 96 / 72  # pixels of the screen


def write_html(material: Material, path: Path, *, near: str = NEAR) -> Path:
    """Write the report of a folder's results as one file that opens from the disk and fetches nothing.

    It is made of what can be said; what cannot is listed with why. Equal material gives an equal file.

    Parameters
    ----------
    material : Material
    path : Path
    near : str
        Measure of similarity that sorts sources.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    StoreError
        When the file cannot be written.
    """
    return write_whole(path, render(material, near=near), shared=True)


def render(material: Material, *, near: str = NEAR) -> str:
    """Return the report as text of an HTML page."""
    import jinja2
    from markupsafe import Markup

    from bench import __version__

    _demand_measure(material, near)
    script = "\n".join((PAGE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    figures, undrawn = _figures(material, near)
    names = ", ".join(part.suite for part in material.parts) or Path(material.folder).name
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template("report.html").render(
        version=__version__,
        title=f"Negative transfer in {names}",
        subtitle=_subtitle(material),
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=Markup((PAGE / "report.css").read_text(encoding="utf-8")),
        shares=_shares(material),
        parts=[_part(part, near) for part in material.parts],
        notes=[*_notes(material), *undrawn],
        legend=_legend(material),
        figures=figures,
        runs=run_table(material.made),
        versions=version_table(material.made),
        tasks=task_table(material.made),
        meta=Markup(to_json(meta(material))),
        data=data_blocks(material),
        footer=f"Made by ntbench {__version__} from {_shown(material.folder)}. This file needs no network.",
    )


def _shown(folder: str) -> str:
    """Return a folder as others may see it: where it stands on this machine is nobody's business."""
    return Path(folder).name if Path(folder).is_absolute() else folder


def _demand_measure(material: Material, near: str) -> None:
    known = dict.fromkeys(name for part in material.parts for name in similarity_columns(part.comparisons))
    if material.parts and near not in known:
        raise unknown("measure", near, known)


def _subtitle(material: Material) -> str:
    trials = sum(len(part.rows) for part in material.parts)
    failed = sum(int((part.rows["status"].fillna(OK) != OK).sum()) for part in material.parts)
    comparisons = sum(len(part.comparisons) for part in material.parts)
    lost = f" ({failed:,} failed)" if failed else ""
    about = " ".join(filter(None, (str(part.config.get("description", "")).strip() for part in material.parts)))
    about = about if len(material.parts) == 1 else ""
    return f"{about + '. ' if about else ''}{trials:,} trials{lost}, {comparisons:,} comparisons."


def _shares(material: Material) -> list[dict[str, Any]]:
    """Return how many comparisons have each verdict, those without any gap left out."""
    import pandas as pd

    known = [part.comparisons.loc[part.comparisons["ntg"].notna(), "verdict"] for part in material.parts]
    counts = pd.concat(known).value_counts() if known else {}
    return [
        {
            "verdict": verdict,
            "count": int(counts.get(verdict, 0)),
            "label": f"{int(counts.get(verdict, 0)):,} {verdict}",
        }
        for verdict in VERDICTS
        if counts.get(verdict, 0)
    ]


def _part(part: Part, near: str) -> dict[str, Any]:
    seeds = sorted({int(seed) for seed in part.rows["seed"].dropna()})
    said = f"{len(seeds)} seeds: {_ranges(seeds)}" if len(seeds) != 1 else f"1 seed: {seeds[0]}"
    count, weights = len(part.rows), weighted(part.rows)
    return {
        "name": part.suite,
        "findings": [*findings(part.comparisons, near=near), *(sentences(weights) if weights is not None else ())],
        "inputs": transform_sentences(part.rows),
        "harm": harm_table(part.comparisons),
        "about": f"{part.file}; {count:,} {'trial' if count == 1 else 'trials'}; {said}.",
        "config": config_text(part.config),
    }


def _ranges(numbers: list[int]) -> str:
    """Write sorted numbers as ranges: 0-4, 7."""
    groups: list[list[int]] = []
    for number in numbers:
        if groups and number == groups[-1][1] + 1:
            groups[-1][1] = number
        else:
            groups.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in groups) or "none"


def _legend(material: Material) -> str:
    """Say how to read gaps and verdicts, once where all suites are judged alike."""
    said = dict.fromkeys(legend(part.comparisons) for part in material.parts if len(part.comparisons))
    if len(said) < 2:
        return next(iter(said), "")
    return "Suites are judged by their own settings. " + " ".join(
        f"{part.suite}: {legend(part.comparisons)}" for part in material.parts if len(part.comparisons)
    )


# --- what cannot be said -------------------------------------------------------------------------------


def _notes(material: Material) -> list[str]:
    notes = [note.replace(material.folder, _shown(material.folder)) for note in material.notes]
    if len(material.parts) > 1:
        names = ", ".join(part.suite for part in material.parts)
        notes.append(f"{len(material.parts)} suites are here ({names}): each is judged by itself, none with another.")
    for part in material.parts:
        label = f"{part.suite}: " if len(material.parts) > 1 else ""
        notes += [
            label + note
            for note in [*part.notes, *_shortfalls(part), *failures(part.rows, "filter the trials by their status")]
        ]
    return list(dict.fromkeys(notes))


def _shortfalls(part: Part) -> Iterator[str]:
    """Say what the rows are too few for."""
    rows = part.rows
    if not len(rows):
        yield "There are no rows."
        return
    if (rows["status"].fillna(OK) != OK).all():
        yield "Every trial failed: there is nothing to compare."
    elif rows["source"].isna().all():
        yield "There are scratch trials alone: no transfer to compare with them."
    elif rows["seed"].nunique() == 1:
        yield "One seed: gaps are single runs, without intervals and verdicts."


# --- figures -------------------------------------------------------------------------------------------


def _figures(material: Material, near: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Draw what can be drawn; return that, and sentences about what cannot."""
    drawn: list[dict[str, Any]] = []
    undrawn: list[str] = []
    left_out = 0
    for panel, label in _panels(material, near, undrawn):
        if len(drawn) >= MOST_PANELS:
            left_out += 1
            continue
        try:
            drawn.append(_figure(panel, f"f{len(drawn)}-", label))
        except BenchError as error:
            undrawn.append(f'No figure "{panel.title}"{label}: {error}.')
    if left_out:
        undrawn.append(f"{left_out:,} more figures are left out of this page, after the first {MOST_PANELS}.")
    return drawn, undrawn


def _panels(material: Material, near: str, undrawn: list[str]) -> Iterator[tuple[Panel, str]]:
    """Yield what is to be drawn, and a label where there are several suites."""
    for part in material.parts:
        if part.comparisons["ntg"].notna().sum():
            label = f" ({part.suite})" if len(material.parts) > 1 else ""
            yield from ((panel, label) for panel in panels(part.rows, part.comparisons, near=near))
    if material.weights is not None:
        try:
            yield from ((panel, "") for panel in weight_panels(material.weights()))
        except BenchError as error:
            why = str(error).replace(material.folder, _shown(material.folder))
            undrawn.append(f"No figure of the source examples' weights: {why}.")


def _figure(panel: Panel, prefix: str, label: str) -> dict[str, Any]:
    from markupsafe import Markup

    cells = _cells(panel)
    if cells > MOST_CELLS:
        raise BenchError(f"{cells:,} comparisons are too many for one picture (at most {MOST_CELLS:,})")
    svg, width = inline_svg(panel.draw(), prefix)
    width *= POINT
    return {
        "title": panel.title + label,
        "reading": panel.kind.reading,
        "svg": Markup(svg),
        # Letters must stay readable: a narrow screen scrolls the figure instead of shrinking it further.
        "least": round(min(width, 0.8 * width)),
        "most": round(1.25 * width),
    }


def _cells(panel: Panel) -> int:
    """Return how many comparisons a figure is about: of rows, those that differ in more than their seed."""
    if panel.kind.reads == COMPARISONS:
        return len(panel.table)
    if panel.kind.reads == WEIGHTS:
        return panel.table["weighting"].nunique()
    return len(panel.table[_CELL].drop_duplicates())
