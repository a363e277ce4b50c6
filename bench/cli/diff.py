"""``ntbench diff``: two folders of results compared, row by row and comparison by comparison."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pandas as pd

    from bench.report.material import Part
    from bench.scores import Scale
    from bench.stats.difference import Difference

SHOWN = 10
ALPHA = 0.05
NOTHING, CHANGED, MISSING = 0, 1, 3
_Side = Annotated[Path, typer.Argument(help="A run folder or one of committed results.", show_default=False)]


@dataclass
class Found:
    """What two folders have in common and what not.

    Attributes
    ----------
    by_suite : dict of str -> Difference
    only : list of str
        Suites that one of them lacks, in words.
    notes : list of str
    """

    by_suite: dict[str, Difference]
    only: list[str]
    notes: list[str]

    @property
    def code(self) -> int:
        """The exit code: 0 the same or within noise, 1 changed beyond it, 3 rows that only one has."""
        from bench.stats.difference import BEYOND, ONLY_A, ONLY_B

        def any_of(*states: str) -> bool:
            return any(
                found.count("trials", s) + found.count("comparisons", s)
                for found in self.by_suite.values()
                for s in states
            )

        if any_of(BEYOND):
            return CHANGED
        return MISSING if self.only or any_of(ONLY_A, ONLY_B) else NOTHING


def diff(
    a: _Side,
    b: _Side,
    alpha: Annotated[float, typer.Option("--alpha", help="Chance of calling noise a change.")] = ALPHA,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Compare two folders of results; A is the reference.

    A trial or comparison is the same to the bit, changed within noise, changed beyond noise, or in one
    folder only. Beyond noise is what the paired t test over seeds finds in the mean of a cell (Holm over
    all that changed), or a row that moved more than two seeds of its cell differ.

    Exit codes: 0 the same or within noise, 1 changed beyond noise, 3 nothing beyond noise, but rows that
    only one has, 2 bad input.
    """
    found = compare_folders(a, b, alpha)
    if as_json:
        print(json.dumps(as_dict(found, alpha), indent=2))
    else:
        print_difference(found, a, b, alpha)
    raise typer.Exit(found.code)


def compare_folders(a: Path, b: Path, alpha: float = ALPHA) -> Found:
    """Compare two folders suite by suite, verdicts of both by the settings of A.

    Raises
    ------
    BenchError
        When one is not there, holds no rows, or they have no suite in common.
    """
    from bench.cli.gather import gather
    from bench.errors import DataError
    from bench.stats.difference import difference

    sides, notes = [], []
    for folder in (a, b):
        material = gather(folder, details=False)
        parts = {part.suite: part for part in material.parts if len(part.rows)}
        if not parts:
            raise DataError(f"{folder} holds no rows to compare{_why(material.notes)}")
        sides.append(parts)
        notes += [f"{folder}: {note}" for part in parts.values() for note in part.notes if "left out" in note]
    left, right = sides
    if len(left) == len(right) == 1 and set(left) != set(right):
        notes.append(f'suite "{next(iter(right))}" of {b} is compared as suite "{next(iter(left))}" of {a}.')
        right = {name: _renamed(part, name) for name, part in zip(left, right.values(), strict=True)}
    shared = [name for name in left if name in right]
    if not shared:
        raise DataError(f"{a} and {b} have no suite in common: {', '.join(left)}; {', '.join(right)}")
    only = [f"suite {name} is in {folder} only" for folder, own, other in ((a, left, right), (b, right, left))
            for name in own if name not in other]  # fmt: skip
    by_suite = {}
    for name in shared:
        one, two = left[name], right[name]
        by_suite[name] = difference(one.rows, two.rows, *_comparisons(one, two), alpha=alpha)
    if not any((one.trials["why"] == "").any() for one in by_suite.values()):
        raise DataError(f"{a} and {b} have no trial in common: other tasks, strategies, sizes or seeds")
    return Found(by_suite, only, notes)


def _why(notes: list[str]) -> str:
    return f" ({notes[0].rstrip('.')})" if notes else ""


def _renamed(part: Part, name: str) -> Part:
    from dataclasses import replace

    comparisons = part.comparisons.assign(suite=name)
    comparisons.attrs = part.comparisons.attrs
    return replace(part, rows=part.rows.assign(suite=name), comparisons=comparisons)


def _comparisons(one: Part, two: Part) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the comparisons of both, judged by the settings of `one` on the trials that both have.

    A verdict over ten seeds and one over three differ without any change; those of what one side lacks
    altogether are its own.
    """
    import pandas as pd

    from bench.stats.difference import shared_trials
    from bench.stats.gap import COMPARISON_KEY, negative_transfer, options_of

    options = options_of(one.comparisons)
    rows = shared_trials(one.rows, two.rows)
    whole = all(len(part) == len(side.rows) for part, side in zip(rows, (one, two), strict=True))
    if whole and (options == options_of(two.comparisons) or not len(two.comparisons)):
        return one.comparisons, two.comparisons
    found = []
    for part, side, other in zip(rows, (one, two), (two, one), strict=True):
        theirs = other.comparisons[COMPARISON_KEY].assign(there=True)
        lacking = side.comparisons[COMPARISON_KEY].merge(theirs, on=COMPARISON_KEY, how="left")["there"].isna()
        alone = side.comparisons[lacking.to_numpy()]
        judged = [table for table in (negative_transfer(part, **options), alone) if len(table)]
        found.append(pd.concat(judged, ignore_index=True) if judged else alone)
    return found[0], found[1]


# --- what is said --------------------------------------------------------------------------------------


def print_difference(found: Found, a: Path, b: Path, alpha: float = ALPHA) -> None:
    """Print counts, the largest changes beyond noise, verdicts that changed, and the rule."""
    print(f"A: {a}\nB: {b}")
    for name, one in found.by_suite.items():
        print(f"\nsuite {name}")
        for table in ("trials", "comparisons"):
            print(f"  {table}: {_counts(one, table)}")
        for line in _largest(one):
            print(f"    {line}")
        changed = one.verdicts_changed
        print(f"  verdicts: {len(changed):,} changed")
        for row in changed.head(SHOWN).to_dict("records"):
            print(f"    {_place(row)}: {row['verdict_a']} -> {row['verdict_b']} ({row['state']})")
        if len(changed) > SHOWN:
            print(f"    ... and {len(changed) - SHOWN:,} more (--json has all)")
        for note in one.notes:
            print(f"  note: {note}")
    for line in found.only:
        print(line)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    print(
        f"\nBeyond noise, at {alpha:g} in all: the mean of a cell over its seeds by the paired t test, or a row that "
        "moved more than two seeds of its cell in A differ; both corrected by Holm over all that changed."
    )
    print(
        {NOTHING: "No change beyond noise.", CHANGED: "Changed beyond noise.", MISSING: "Rows are missing."}[found.code]
    )


def _counts(found: Difference, table: str) -> str:
    from bench.stats.difference import SAME, STATES

    counts = {state: found.count(table, state) for state in STATES}
    words = {SAME: "the same to the bit" if table == "trials" else "the same"}
    return ", ".join(f"{n:,} {words.get(state, state)}" for state, n in counts.items() if n or state == SAME)


def _largest(found: Difference) -> list[str]:
    """Name the trials that changed most beyond noise."""
    from bench.scores import Scale, metrics_of, scale_of
    from bench.stats.difference import BEYOND

    beyond = found.trials[found.trials["state"] == BEYOND]
    a, b = (name if name in beyond else name.replace("score", "accuracy") for name in ("score_a", "score_b"))
    scales = {name: scale_of(beyond[beyond["metric"] == name]) for name in metrics_of(beyond)}
    order = beyond["change"].abs().sort_values(ascending=False, kind="stable").index
    lines = [
        f"{_place(row)}, seed {row['seed']}: {scale.score(row[a])} -> {scale.score(row[b])}{_by(scale)}"
        for row in beyond.loc[order[:SHOWN]].to_dict("records")
        for scale in [scales.get(row.get("metric"), Scale())]
    ]
    return lines + (
        [f"... and {len(beyond) - SHOWN:,} more beyond noise (--json has all)"] if len(beyond) > SHOWN else []
    )


def _by(scale: Scale) -> str:
    from bench.schema import ACCURACY

    return "" if scale.metric == ACCURACY else f" ({scale.label})"


def _place(row: dict[str, Any]) -> str:
    source = f"{row['source']} -> " if isinstance(row["source"], str) else ""
    depth = f"({row['transfer_depth']}, {row['frozen_depth']})"
    return f"{source}{row['target']}, {row['backbone']}, {row['strategy']} {depth}, size {row['target_size']}"


def as_dict(found: Found, alpha: float) -> dict[str, Any]:
    """Return all that was found as JSON-able values; of the trials and comparisons those that are not the same."""
    from bench.stats.difference import SAME, STATES

    suites = {}
    for name, one in found.by_suite.items():
        suites[name] = {"notes": one.notes, "verdicts_changed": len(one.verdicts_changed)}
        for table in ("trials", "comparisons"):
            frame = getattr(one, table)
            suites[name][table] = {state: one.count(table, state) for state in STATES}
            suites[name][f"changed_{table}"] = json.loads(frame[frame["state"] != SAME].to_json(orient="records"))
    return {"alpha": alpha, "exit_code": found.code, "suites": suites, "only": found.only, "notes": found.notes}
