"""Compare what two checkouts compute: ``python -m tests.compare_checkouts A B``, from the top of the checkout.

    python -m tests.compare_checkouts ../before . --suite default:0-1 --suite depth:0
    python -m tests.compare_checkouts runs/compare/a/default runs/compare/b/default      # of runs that are there

Both checkouts run their own suites of these names, side by side, each with its own code and the same Python, and one
thread a worker. Trials, source models, what source examples weighed, tasks and measures of similarity are then held
against each other: everything but seconds must be equal to the bit, of trials the learning curves and every single
test prediction too. Records are matched by key; those whose key changed by what they are about (source, target,
strategy, ...), and are counted apart. Columns and measures that one side lacks are named and do not count as a
difference, nor does a measure whose version differs: it was meant to change.

Exit codes: 0 the same, 1 different, 2 bad input, which includes a suite whose data are missing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import BenchError, DataError, StoreError
from bench.ledger.file import Damage, ledgers, read_records
from bench.ledger.model_files import file_digest

SAME, DIFFERENT, BAD, INTERRUPTED = 0, 1, 2, 130
SUITES = ("default:0-1", "depth:0", "weighting:0")
OUT = Path("runs") / "compare"
GRACE = 60  # seconds that a run may take to stop
SHOWN = 3  # examples of what differs in a column
TIMES = {"seconds", "source_seconds"}
IGNORED = TIMES | {"kind", "key", "schema", "traceback", "predictions"}  # the last names a file by who is in it
KEYS = ("key", "context", "source_model")
VERSIONS = "versions."
# Kind of record -> (what it is called, what tells one from another beside its key).
_MODEL = ("source", "target", "backbone", "weighting", "source_seed", "meta.target", "meta.size", "meta.seed")
_TRIAL = (
    "source", "target", "backbone", "strategy", "transfer_depth", "frozen_depth", "weighting", "target_size", "seed",
)  # fmt: skip
KINDS = {
    "task": ("tasks", ("name",)),
    "source": ("source models", _MODEL),
    "weights": ("weights of source examples", ("file",)),
    "similarity": ("similarity", _MODEL),
    "trial": ("trials", _TRIAL),
}


@dataclass
class Compared:
    """Records of one kind of two runs, held against each other.

    Attributes
    ----------
    same : int
        Records with the same key that are equal to the bit.
    changed : int
        Records with the same key of which a value differs.
    rekeyed, rekeyed_changed : int
        Records whose key changed: with equal values, and with others.
    keys : Counter of str
        What changed of those: "key", "context" or "source_model".
    values : dict of column -> list of (place, value in A, value in B)
    only : pair of lists of str
        Places that are in A alone, and in B alone.
    columns : pair of sets of str
        Columns that no record of the other side has.
    versions : dict of measure -> (version in A, version in B)
        Of measures whose values are not compared.
    """

    same: int = 0
    changed: int = 0
    rekeyed: int = 0
    rekeyed_changed: int = 0
    keys: Counter[str] = field(default_factory=Counter)
    values: dict[str, list[tuple[str, Any, Any]]] = field(default_factory=dict)
    only: tuple[list[str], list[str]] = ((), ())
    columns: tuple[set[str], set[str]] = (frozenset(), frozenset())
    versions: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def differs(self) -> bool:
        """Whether anything differs that was not said to."""
        return bool(self.changed or self.rekeyed or self.rekeyed_changed or any(self.only))


def records_of(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Read a run folder: kind -> key -> the last record of that key, flat.

    Raises
    ------
    StoreError
        When there is no ledger, or lines of it are damaged: what they held would not be compared.
    """
    if not ledgers(folder):
        raise StoreError(f"{folder} is neither a checkout (with bench/ and experiments/) nor a run folder")
    damage, found = Damage(), {kind: {} for kind in KINDS}
    for record in read_records(folder, damage):
        if record["kind"] in found:
            key, flat = record["key"], {**dict(_flat(record)), "key": record["key"]}
            if flat.get("status") == "ok" or found[record["kind"]].get(key, flat).get("status") != "ok":
                found[record["kind"]][key] = flat
    if damage.lines:
        raise StoreError(f"{folder}: {damage}")
    for path in sorted((folder / "weights").glob("*.safetensors")):
        found["weights"][path.stem] = {"key": path.stem, "file": path.name, "content": file_digest(path)}
    return found


def _flat(record: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a record's values by column; those of a row, its detail, a card and the measures under their own names."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            own = name in ("row", "detail", "card", "values")
            yield from _flat(value, before if own else f"{before}{name}.")
        else:
            yield before + name, value


def compare_kind(kind: str, a: Mapping[str, dict[str, Any]], b: Mapping[str, dict[str, Any]]) -> Compared:
    """Hold the records of one kind of two runs against each other, to the bit."""
    found = Compared()
    columns = [{name for record in side.values() for name in record} - IGNORED for side in (a, b)]
    found.columns = (columns[0] - columns[1], columns[1] - columns[0])
    pairs, found.only = _matched(kind, a, b)
    shared = sorted(name for name in columns[0] & columns[1] - {*KEYS} if not name.startswith(VERSIONS))
    for place, one, other in pairs:
        new = _new_versions(one, other)
        found.versions |= new
        differ = [
            (name, one.get(name), other.get(name))
            for name in shared
            if name.removesuffix("_low").removesuffix("_high") not in new
            and _bits(one.get(name)) != _bits(other.get(name))
        ]
        for name, left, right in differ:
            found.values.setdefault(name, []).append((place, left, right))
        # A measurement's key holds the versions of its measures.
        keys = [] if new else [name for name in KEYS if one.get(name) != other.get(name)]
        found.keys.update(keys)
        outcome = ("rekeyed" if keys else "same", "rekeyed_changed" if keys else "changed")[bool(differ)]
        setattr(found, outcome, getattr(found, outcome) + 1)
    return found


def _bits(value: Any) -> str:
    """Write a value so that texts are equal where values are equal to the bit: JSON keeps every digit of a float."""
    return json.dumps(value, sort_keys=True)


def _new_versions(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Return the measures whose versions differ; a record that says none has the first."""
    names = {name.removeprefix(VERSIONS) for name in {*one, *other} if name.startswith(VERSIONS)}
    versions = {name: (one.get(VERSIONS + name, 1), other.get(VERSIONS + name, 1)) for name in names}
    return {name: pair for name, pair in versions.items() if pair[0] != pair[1] and name in one and name in other}


def _matched(kind: str, a: Mapping[str, dict], b: Mapping[str, dict]) -> tuple[list, tuple[list[str], list[str]]]:
    """Pair records by their keys, and those that are left by what they are about; return what is left of both too."""
    place = _placer(kind)
    pairs = [(place(record), record, b[key]) for key, record in a.items() if key in b]
    left = [_by_place(place, (r for key, r in side.items() if key not in other)) for side, other in ((a, b), (b, a))]
    again = [where for where in left[0] if where in left[1]]
    pairs += [(where[0], left[0].pop(where), left[1].pop(where)) for where in again]
    return pairs, tuple([name for name, _ in side] for side in left)


def _placer(kind: str) -> Callable[[Mapping[str, Any]], str]:
    names = KINDS[kind][1]
    return lambda record: ", ".join(f"{name} {record[name]}" for name in names if record.get(name) is not None)


def _by_place(place: Callable, records: Iterator[dict[str, Any]]) -> dict[tuple[str, int], dict[str, Any]]:
    """Index records by place and, where several share one, by their order."""
    seen: Counter[str] = Counter()
    found = {}
    for record in records:
        where = place(record)
        found[where, seen[where]] = record
        seen[where] += 1
    return found


def compare_runs(a: Path, b: Path) -> dict[str, Compared]:
    """Compare two run folders, kind by kind.

    Raises
    ------
    StoreError
        When one cannot be read whole.
    DataError
        When one has no trials, so that nothing would be compared.
    """
    sides = [records_of(folder) for folder in (a, b)]
    for folder, side in zip((a, b), sides, strict=True):
        if not side["trial"]:
            raise DataError(f"{folder} holds no trials to compare")
    return {kind: compare_kind(kind, sides[0][kind], sides[1][kind]) for kind in KINDS}


# --- what is said --------------------------------------------------------------------------------------


def describe(found: Mapping[str, Compared]) -> Iterator[str]:
    """Yield the lines that say what a comparison found."""
    for kind, one in found.items():
        if not (one.same or one.differs):
            continue
        counts = {
            "differ": one.changed, "with another key, equal otherwise": one.rekeyed,
            "with another key, and differ": one.rekeyed_changed, "in A only": len(one.only[0]),
            "in B only": len(one.only[1]),
        }  # fmt: skip
        said = [f"{one.same:,} the same to the bit", *(f"{n:,} {what}" for what, n in counts.items() if n)]
        yield f"  {KINDS[kind][0]}: {', '.join(said)}"
        if one.keys:
            yield f"    what changed of keys: {', '.join(f'{name} ({n:,})' for name, n in one.keys.items())}"
        for name, places in sorted(one.values.items(), key=lambda item: (-len(item[1]), item[0])):
            yield f"    {name} differs in {len(places):,}:"
            yield from (f"      {where}: {_short(left)} -> {_short(right)}" for where, left, right in places[:SHOWN])
        for side, places in zip("AB", one.only, strict=True):
            yield from (f"    in {side} only: {where}" for where in places[:SHOWN])
        for side, names in zip("AB", one.columns, strict=True):
            if names:
                yield f"    columns in {side} only: {', '.join(sorted(names))}"
        for name, (left, right) in sorted(one.versions.items()):
            yield f"    {name}: version {left} in A, {right} in B; its values are not compared"


def _short(value: Any) -> str:
    text = _bits(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


# --- running -------------------------------------------------------------------------------------------


@dataclass
class Side:
    """A checkout, and where its runs go."""

    checkout: Path
    out: Path

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment in which its own code is imported, on one thread."""
        return os.environ | {"PYTHONPATH": str(self.checkout), "OMP_NUM_THREADS": "1"}

    def demand_own_code(self) -> None:
        """Demand that what is imported in its runs is its own.

        Raises
        ------
        DataError
        """
        asked = [sys.executable, "-c", "import bench; print(bench.__file__)"]
        said = subprocess.run(asked, cwd=self.checkout, env=self.environment, capture_output=True, text=True)
        own = self.checkout / "bench" / "__init__.py"
        if said.returncode or Path(said.stdout.strip()) != own:
            raise DataError(f"{self.checkout}: bench is imported from {said.stdout.strip() or said.stderr.strip()}")

    def suite(self, name: str) -> Path:
        """Return its file of a suite.

        Raises
        ------
        DataError
        """
        path = self.checkout / "experiments" / f"{name}.toml"
        if not path.is_file():
            raise DataError(f'there is no suite "{name}" in {path.parent}')
        return path

    def start(self, name: str, seeds: str, jobs: int) -> subprocess.Popen:
        """Start running a suite."""
        command = [sys.executable, "-m", "bench", "run", str(self.suite(name)), "--out", str(self.out / name)]
        command += ["--jobs", str(jobs), *(["--seeds", seeds] if seeds else [])]
        with self.log(name).open("w") as log:
            return subprocess.Popen(command, cwd=self.checkout, env=self.environment, stdout=log, stderr=log)

    def log(self, name: str) -> Path:
        """Return where a run's messages go."""
        return self.out / f"{name}.log"

    def says(self) -> str:
        """Name the checkout, with its commit where git knows it."""
        with suppress(OSError):
            asked = ["git", "-C", str(self.checkout), "describe", "--always", "--dirty"]
            said = subprocess.run(asked, capture_output=True, text=True)
            if not said.returncode:
                return f"{self.checkout} ({said.stdout.strip()})"
        return str(self.checkout)


def run_suite(sides: tuple[Side, Side], name: str, seeds: str, jobs: int) -> str | None:
    """Run a suite in both checkouts side by side; return why it cannot be, where its data are missing.

    Raises
    ------
    BenchError
        When it does not run for any other reason.
    """
    running = [side.start(name, seeds, jobs) for side in sides]
    codes: list[int | None] = [None, None]
    try:
        while None in codes and all(code in (None, 0, 1) for code in codes):
            time.sleep(0.1)
            codes = [run.poll() for run in running]
    finally:
        for run in running:  # the other one, where one cannot be run
            if run.poll() is None:
                run.terminate()  # not SIGINT, which what was started in the background ignores
                try:
                    run.wait(GRACE)
                except subprocess.TimeoutExpired:
                    run.kill()
                    run.wait()
    for side, code in zip(sides, codes, strict=True):
        said = side.log(name).read_text(errors="replace").strip()
        if code == BAD and "NTBENCH_DATA" in said:
            return said.splitlines()[-1].strip()
        if code not in (None, 0, 1):  # None: told to stop; 1: some trials failed, which is compared like the rest
            tail, log = "\n  ".join(said.splitlines()[-8:]), side.log(name)
            raise BenchError(f"{name} in {side.checkout} ended with exit code {code}; {log} ends with\n  {tail}")
    return None


def _unlike(sides: tuple[Side, Side], name: str) -> bool:
    """Whether the two files of a suite ask for different things."""
    one, other = (tomllib.loads(side.suite(name).read_text()) for side in sides)
    return {**one, "description": ""} != {**other, "description": ""}


def compare_checkouts(a: Path, b: Path, suites: list[str], jobs: int, out: Path) -> int:
    """Run suites in two checkouts, compare them, print what was found; return the exit code.

    Raises
    ------
    BenchError
        When a checkout or a suite is not one, or the folder for the runs is in use.
    """
    if a.resolve() == b.resolve():
        raise DataError(f"A and B are one checkout: {a.resolve()}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out} is in use, and runs that are there may be of other code; name another with --out")
    sides = tuple(Side(folder.resolve(), out.resolve() / name) for folder, name in ((a, "a"), (b, "b")))
    named = [(name, seeds) for name, _, seeds in (suite.partition(":") for suite in suites)]
    for side in sides:
        side.demand_own_code()
        for name, _ in named:
            side.suite(name)
    for side in sides:
        side.out.mkdir(parents=True)
    for letter, side in zip("AB", sides, strict=True):
        print(f"{letter}: {side.says()}")
    codes, skipped = [], []
    for name, seeds in named:
        print(f"\nsuite {name}{f', seeds {seeds}' if seeds else ''}", flush=True)
        if _unlike(sides, name):
            print("  note: the two files of this suite differ; what only one asks for is in one only")
        missing = run_suite(sides, name, seeds, jobs)
        if missing:
            print(f"  SKIPPED, nothing was compared: {missing}")
            skipped.append(name)
        else:
            codes.append(report(sides[0].out / name, sides[1].out / name))
    verdict = max(codes, default=SAME)
    print(f"\n{_VERDICTS[verdict] if codes else 'Nothing was compared.'} The runs are in {out}.")
    if skipped:
        print(f"SKIPPED for want of data: {', '.join(skipped)}; NTBENCH_DATA names their folder.")
    return BAD if skipped and verdict == SAME else verdict


_VERDICTS = {SAME: "The same to the bit, but for what is named above.", DIFFERENT: "Different."}


def report(a: Path, b: Path) -> int:
    """Compare two run folders and print what was found; return the exit code."""
    found = compare_runs(a, b)
    print("\n".join(describe(found)), flush=True)
    return DIFFERENT if any(one.differs for one in found.values()) else SAME


def main(arguments: list[str] | None = None) -> int:
    """Compare two checkouts, or two run folders; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.compare_checkouts", description=__doc__.split("\n\n")[0])
    parser.add_argument("a", type=Path, metavar="A", help="A checkout, or a run folder.")
    parser.add_argument("b", type=Path, metavar="B", help="Another.")
    parser.add_argument(
        "--suite", action="append", metavar="NAME[:SEEDS]",
        help=f"A suite of both checkouts, and which of its seeds. [default: {', '.join(SUITES)}]",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, help="Workers of each run; 0: none but itself. [default: 1]")
    parser.add_argument("--out", type=Path, default=OUT, help=f"Where runs go: a new folder. [default: {OUT}]")
    said = parser.parse_args(arguments)
    try:
        checkouts = [(side / "bench").is_dir() and (side / "experiments").is_dir() for side in (said.a, said.b)]
        if all(checkouts):
            return compare_checkouts(said.a, said.b, said.suite or [*SUITES], said.jobs, said.out)
        if any(checkouts):
            raise DataError(f"A and B must both be checkouts or both run folders: {said.a}, {said.b}")
        if said.suite:
            raise DataError("--suite is for checkouts, and these are none (no bench/ and experiments/ in them)")
        print(f"A: {said.a}\nB: {said.b}")
        code = report(said.a, said.b)
        print(f"\n{_VERDICTS[code]}")
        return code
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
