"""Planning a suite, resuming a finished run and loading its results, from a thousand rows to a million.

Runs are made up: the suites have more and more sources and targets, the ledgers hold what the plan's trials
would have left there, line by line as the store writes it. Each measurement is a fresh process that first
does the same with ten rows, so that imports do not count. Memory is the peak of that process above where
it stood before.

* planning: every trial of the suite with its key;
* resuming: reading the ledger and finding that nothing is missing;
* loading: ``bench.load_results``.

A row's cost at each number of rows is divided by that at a thousand: near one, or below where something is
fixed, if the cost grows in proportion. Memory below a mebibyte counts as one: it is the interpreter's.
"""

from __future__ import annotations

import base64
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from bench.records import row_of
from bench.store import LEDGER, encode, read_stored
from bench.suite import Suite, load_suite
from bench.suite.plan import Plan
from bench.trial import SCHEMA_VERSION, Card

ROUNDS = 3
SIZES = (1_000, 10_000, 100_000, 1_000_000)
STEADY = 20_000  # rows in all over which few rows are timed, again and again
LEAST = 2**20  # bytes: less than this a process takes by chance
BYTES_A_ROW = 1_500
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
    from bench.results import load_results

    assert len(load_results(folder)) == rows


WORK: dict[str, Callable[[Path, int], None]] = {"planning": planning, "resuming": resuming, "loading": loading}


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
        for rows in sizes:
            if shutil.disk_usage(scratch).free < 2 * rows * BYTES_A_ROW:
                print(f"{rows:,} rows are left out: no room for them in {Path(scratch).parent}")
                continue
            write_ledger(Path(scratch) / str(rows), rows)
        for _ in range(rounds):
            for rows in (n for n in sizes if (Path(scratch) / str(n)).exists()):
                for what in WORK:
                    seconds, size = _in_process(what, Path(scratch) / str(rows), warm, rows)
                    costs.setdefault((what, rows), []).append((seconds, size))
    for (what, rows), measured in costs.items():
        seconds, size = (statistics.median(values) for values in zip(*measured, strict=True))
        print(f"{what:<9} {rows:>9,} rows: {seconds:8.3f} s, {size / 2**20:7.1f} MiB")
        if rows == sizes[0]:
            continue
        for index, quantity in enumerate(("time", "memory")):
            least = LEAST if index else 0.0
            base = [max(m[index], least) / sizes[0] for m in costs[what, sizes[0]]]
            ratios = [max(m[index], least) / rows / b for m, b in zip(measured, base, strict=True)]
            found.append(Measured(f"growth: {what}, {quantity} a row at {rows:,}", f"at {sizes[0]:,}", ratios, AIM))
    return found


def _in_process(what: str, folder: Path, warm: Path, rows: int) -> tuple[float, float]:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tests.benchmarks.growth", what, str(folder), str(warm), str(rows)]
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return tuple(json.loads(done.stdout))


if __name__ == "__main__":
    one(*sys.argv[1:])
