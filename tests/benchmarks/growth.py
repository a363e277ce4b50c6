"""Planning a suite, resuming a finished run, loading its results and driving one, from a thousand rows to a million.

Runs are made up: the suites have more and more sources and targets, the ledgers hold what the plan's trials
would have left there, line by line as the store writes it. Each measurement is a fresh process that first
does the same with ten rows, so that imports do not count. Memory is the peak of that process above where
it stood before.

* planning: every trial of the suite with its key;
* resuming: reading the ledger and finding that nothing is missing;
* loading: ``bench.load_results``;
* driving: what the driver does for each trial beside the trial, which takes no time here: finding what is
  missing, packing it, taking a worker's answer in and having it on the disk.

Seconds and mebibytes stand in growth.csv, with what ten million rows would take: planning them is measured
with --full, all else is in proportion to the largest number that was.

A row's cost at each number of rows is divided by that at a thousand: near one, or below where something is
fixed, if the cost grows in proportion. Memory below a mebibyte counts as one: it is the interpreter's.
"""

from __future__ import annotations

import base64
import csv
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from bench.ledger.file import LEDGER, encode
from bench.ledger.stored import read_stored
from bench.ledger.unit_records import row_of
from bench.suite import Suite, load_suite
from bench.suite.plan import Plan
from bench.trial import SCHEMA_VERSION, Card

ROUNDS = 3
SIZES = (1_000, 10_000, 100_000, 1_000_000)
MOST_DRIVEN = 100_000  # rows: each is written and synced
BEYOND = 10_000_000
COLUMNS = ("what", "rows", "seconds", "MiB", "how")
SHOWN = (1_000, 100_000, BEYOND)
NAMES = {
    "planning": "plan: every trial with its key",
    "ledger": "the ledger on the disk",
    "resuming": "resume: read the ledger, find what is missing",
    "loading": "load the table",
    "driving": "drive: all that the driver does beside the trials",
}
STEADY = 20_000  # rows in all over which few rows are timed, again and again
LEAST = 2**20  # bytes: less than this a process takes by chance
BYTES_A_ROW = 1_700
AIM = "<= 1.5"
N_TEST = 539
SCRATCH = 5 * 10  # trials of a target: sizes and seeds
TRANSFER = 14 * SCRATCH  # trials of a pair: the points of the triangle besides


def make_suite(rows: int) -> Suite:
    """Return a suite of at least so many trials: every source to every target, the whole triangle."""
    side = 1
    while side * (SCRATCH + TRANSFER * side) < rows:
        side += 1
    names = [f"t{i}" for i in range(side)]
    return load_suite(
        {
            "name": "large",
            "backbones": [{"backbone": "cnn", "norm": "batch", "name": "cnn"}],
            "strategies": ["triangle"],
            "target_sizes": [20, 50, 100, 200, 500],
            "seeds": 10,
            "tasks": {
                **{f"s{i}": {"task": "printed-digits", "label_noise": (i + 1) / 1000} for i in range(side)},
                **{name: {"task": "digits", "label_noise": (i + 1) / 1000} for i, name in enumerate(names)},
            },
            "pairs": [{"target": name, "sources": [f"s{i}" for i in range(side)]} for name in names],
        }
    )


def make_plan(suite: Suite) -> Plan:
    """Return the suite's plan with cards of data that nobody has read."""
    cards = {}
    for name, spec in Plan(suite).tasks.items():
        classes = tuple("0123456789")
        cards[spec.digest] = Card(name, f"{spec.digest}00", 1, classes, (1, 8, 8), 1258, N_TEST, (125,) * 10)
    return Plan(suite, cards)


def records(plan: Plan, rows: int) -> Iterator[dict[str, Any]]:
    """Yield what a run of the first `rows` trials leaves in its ledger: tasks, models, similarity, trials."""
    rng = random.Random(0)
    for digest, card in plan.cards.items():
        yield {"kind": "task", "key": digest, "card": card.to_json()}
    seen = set()
    for trial in islice(plan.trials(), rows):
        model, strategy = trial.model, plan.strategy(trial)
        if model and (model, trial.target) not in seen:
            seen.add((model, trial.target))
            shared = {
                "source": model.source, "backbone": "cnn", "weighting": model.weighting, "source_seed": model.seed,
            }  # fmt: skip
            yield {
                "kind": "source", "key": model.key, **shared, "status": "ok", "source_accuracy": rng.random(),
                "source_loss": rng.random(), "steps": 400, "classes": list("0123456789"),
                "curve": [[0.05, 400, rng.random(), rng.random(), rng.random()]], "seconds": 2 * rng.random(),
            }  # fmt: skip
            values = {name: rng.random() for name in ("proxy_a_distance", "frechet_distance", "leep")}
            yield {"kind": "similarity", "key": model.key, "target": trial.target, **shared, "values": values}
        curve = [[lr, step, *(rng.random() for _ in "abc")] for lr in (0.01, 0.05) for step in (15, 30, 45, 60, 75)]
        row = row_of(plan, trial) | {
            "status": "ok", "test_accuracy": rng.random(), "test_loss": rng.random(), "val_accuracy": rng.random(),
            "val_loss": rng.random(), "learning_rate": 0.05, "steps": 75, "best_step": 75,
            "trainable_parameters": 33338 - 1000 * strategy.frozen, "source_accuracy": rng.random() if model else None,
            "n_test": N_TEST, "seconds": rng.random(),
        }  # fmt: skip
        detail = {"curve": curve, "correct": base64.b64encode(rng.randbytes(N_TEST // 8 + 1)).decode()}
        yield {"kind": "trial", "key": trial.key, "schema": SCHEMA_VERSION, "row": row, "detail": detail}


def write_ledger(folder: Path, rows: int) -> None:
    """Write the ledger of a finished run."""
    folder.mkdir(parents=True)
    plan = make_plan(make_suite(rows))
    with (folder / LEDGER).open("wb") as file:
        file.writelines(encode(record) for record in records(plan, rows))


# --- what is measured, each in a process of its own ----------------------------------------------------


def planning(folder: Path, rows: int) -> None:
    """Expand the plan, from the suite to the last key."""
    count = sum(1 for trial in islice(make_plan(make_suite(rows)).trials(), rows) if trial.key)
    assert count == rows


def resuming(folder: Path, rows: int) -> None:
    """Read the ledger and look for what is missing of the suite."""
    stored = read_stored(folder)
    plan = Plan(make_suite(rows), {key: Card.from_json(card) for key, card in stored.cards.items()})
    assert not any(trial.key not in stored.done for trial in islice(plan.trials(), rows))


def loading(folder: Path, rows: int) -> None:
    """Load the table."""
    from bench.ledger.results import load_results

    assert len(load_results(folder)) == rows


class Empty:
    """A launcher whose trials take no time: their records come as a worker's do, as JSON."""

    jobs = 1

    def __init__(self, plan: Plan, rows: int):
        self._rows = rows
        self._lines = [json.dumps(record) for record in records(plan, 100) if record["kind"] == "trial"]

    def run(self, units: Any) -> Iterator[list[Any]]:
        """Answer the first so many trials, group by group."""
        from bench.launch.units import Done

        left, answers = self._rows, cycle(self._lines)
        for unit in units:
            mine = unit.members[:left]
            found = []
            for member in mine:
                record = json.loads(next(answers))
                record["key"] = record["row"]["key"] = member.key
                found.append(record)
            yield [Done(unit, found)]
            left -= len(mine)
            if not left:
                return


def driving(folder: Path, rows: int) -> None:
    """Have the driver run trials that take no time, into a folder of its own."""
    from bench.launch.driver import Silent, _Run
    from bench.launch.folder import RunFolder
    from bench.launch.shards import Part
    from bench.ledger.file import open_ledger
    from bench.ledger.stored import Stored

    plan = make_plan(make_suite(rows))
    with tempfile.TemporaryDirectory(dir=folder.parent) as out, open_ledger(out) as ledger:
        run = _Run(Part(plan), Stored(), RunFolder(ledger), Empty(plan, rows), Silent(), False, [])
        run._trials()
        assert len(run.stored.done) == rows


WORK: dict[str, Callable[[Path, int], None]] = {
    "planning": planning, "resuming": resuming, "loading": loading, "driving": driving,
}  # fmt: skip


def peak(reset: bool = False) -> int:
    """Return the largest resident memory of this process so far, in bytes; forget it first if asked."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except OSError:
        import resource

        scale = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def one(what: str, folder: str, warm: str, rows: str) -> None:
    """Do one thing in this process and print its seconds and bytes."""
    work, times = WORK[what], max(1, STEADY // int(rows))
    work(Path(warm), 10)
    before = peak(reset=True)
    began = time.perf_counter()
    for _ in range(times):
        work(Path(folder), int(rows))
    seconds = (time.perf_counter() - began) / times
    print(json.dumps([seconds, peak() - before]))


def measure(options: Any, sizes: tuple[int, ...] = SIZES) -> list[Any]:
    """Measure every size that the disk has room for."""
    from .ratios import Measured

    rounds, found = options.rounds or ROUNDS, []
    with tempfile.TemporaryDirectory() as scratch:
        warm = Path(scratch) / "warm"
        write_ledger(warm, 10)
        costs: dict[tuple[str, int], list[tuple[float, float]]] = {}
        ledgers: dict[int, int] = {}
        for rows in sizes:
            if shutil.disk_usage(scratch).free < 2 * rows * BYTES_A_ROW:
                print(f"{rows:,} rows are left out: no room for them in {Path(scratch).parent}")
                continue
            write_ledger(Path(scratch) / str(rows), rows)
            ledgers[rows] = (Path(scratch) / str(rows) / LEDGER).stat().st_size
        for _ in range(rounds):
            for rows in ledgers:
                for what in WORK:
                    if what != "driving" or rows <= MOST_DRIVEN:
                        seconds, size = _in_process(what, Path(scratch) / str(rows), warm, rows)
                        costs.setdefault((what, rows), []).append((seconds, size))
        if options.full:
            costs["planning", BEYOND] = [_in_process("planning", warm, warm, BEYOND)]
    medians = {place: tuple(map(statistics.median, zip(*times, strict=True))) for place, times in costs.items()}
    _write_table(medians, ledgers, options.folder / "growth.csv")
    for (what, rows), measured in costs.items():
        seconds, size = medians[what, rows]
        print(f"{what:<9} {rows:>9,} rows: {seconds:8.3f} s, {size / 2**20:7.1f} MiB")
        if rows == sizes[0] or rows == BEYOND:
            continue
        for index, quantity in enumerate(("time", "memory")):
            least = LEAST if index else 0.0
            base = [max(m[index], least) / sizes[0] for m in costs[what, sizes[0]]]
            ratios = [max(m[index], least) / rows / b for m, b in zip(measured, base, strict=True)]
            found.append(Measured(f"growth: {what}, {quantity} a row at {rows:,}", f"at {sizes[0]:,}", ratios, AIM))
    return found


def _write_table(medians: dict[tuple[str, int], tuple[float, float]], ledgers: dict[int, int], path: Path) -> None:
    """Write what each number of rows takes, and what ten million would in proportion where that was not measured."""
    lines = [("ledger", rows, None, size, "measured") for rows, size in ledgers.items()]
    lines += [(what, rows, *cost, "measured") for (what, rows), cost in medians.items()]
    for what in ("ledger", *WORK):
        mine = [line for line in lines if line[0] == what]
        _, rows, seconds, size, _ = max(mine, key=lambda line: line[1])
        for beyond in (n for n in (*SIZES, BEYOND) if n > rows and rows >= 1_000):
            times = beyond / rows
            how = f"in proportion to {rows:,}"
            lines.append((what, beyond, None if seconds is None else seconds * times, size * times, how))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for what, rows, seconds, size, how in sorted(lines, key=lambda line: line[:2]):
            writer.writerow(
                [what, rows, "" if seconds is None else f"{seconds:.4g}", f"{max(0, size) / 2**20:.4g}", how]
            )


def tables(folder: Path) -> dict[str, str]:
    """Return, for the mark "growth" of the page, what growth.csv says of a few numbers of trials."""
    from .ratios import markdown

    with (folder / "growth.csv").open(newline="", encoding="utf-8") as file:
        lines = {(line["what"], int(line["rows"])): line for line in csv.DictReader(file)}
    columns = {n: f"{n:,} trials" for n in SHOWN}
    rows = [{"": name} | {columns[n]: _cell(lines[what, n]) for n in SHOWN} for what, name in NAMES.items()]
    return {"growth": markdown(rows, ("", *columns.values()))}


def _cell(line: dict[str, str]) -> str:
    star = "" if line["how"] == "measured" else "*"
    size = f"{_amount(float(line['MiB']), ((1024, 'GiB'), (1, 'MiB')))}{star}"
    if not line["seconds"]:
        return size
    seconds = float(line["seconds"])
    time = f"{_amount(seconds, ((3600, 'h'), (60, 'min'), (1, 's'), (0.001, 'ms')))}{star}"
    return time if float(line["MiB"]) < 1 else f"{time}, {size}"


def _amount(value: float, units: tuple[tuple[float, str], ...]) -> str:
    """Return a value to two digits, in the largest unit of which it is at least one."""
    size, name = next((unit for unit in units if value >= unit[0]), units[-1])
    return f"{float(f'{value / size:.2g}'):,g} {name}"


def _in_process(what: str, folder: Path, warm: Path, rows: int) -> tuple[float, float]:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tests.benchmarks.growth", what, str(folder), str(warm), str(rows)]
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return tuple(json.loads(done.stdout))


if __name__ == "__main__":
    one(*sys.argv[1:])
