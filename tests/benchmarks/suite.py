"""The default suite by the harness, against two scripts that one would write otherwise.

`tutorial.py` is the usual tutorial's loop, the source trained again for every cell; `careful.py` saves source
models and reuses them. The harness is ``ntbench run`` as anybody would call it: a new process with its
default number of workers, and everything counts, start-up, data, similarity and report included.

The tutorial takes hours, so it is sampled, unless ``--full`` is given. Its cells fall into strata by
(strategy, transfer depth, frozen depth, size): within one, every cell takes the same steps with the same
shapes. A round is one whole run of the harness and, by each script, one cell of every stratum, another one
each round. Then, with t the seconds of a stratum's cell and n its number of cells,

    tutorial = sum over strata of n * t
    careful  = sum over strata of n * t' + m * s

where t' is a cell with its source model on disk already, m the number of source models and s the mean
seconds of training and saving one, over those that the round's cells need. Start-up and reading the data,
some seconds, are not charged to the scripts. They run in this process, with torch's default number of
threads or with one, whichever a few cells show to be faster.

The scripts' accuracies are compared with the harness's rows for the same cells, in accuracy.csv.
"""

from __future__ import annotations

import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from . import careful, tutorial
from .ratios import Measured, Options, machine, merge, show
from .tutorial import Cell, Study

ROUNDS = 3
PILOT = 6
AIMS = {"tutorial": ">= 12", "careful": ">= 2.5"}
REPOSITORY = Path(__file__).resolve().parents[2]
SUITE = REPOSITORY / "experiments" / "default.toml"
ACCURACY = ("benchmark", "baseline", "cells", "mean_difference", "standard_error", "machine")

Place = tuple
Accuracies = dict[Place, float]


@dataclass
class Round:
    """Seconds of the whole suite by each contestant, and the scripts' accuracies on what they ran."""

    harness: float = 0.0
    scripts: dict[str, float] = field(default_factory=dict)
    accuracies: dict[str, Accuracies] = field(default_factory=dict)


def place(cell: Cell) -> Place:
    """Return where a cell stands in the table."""
    return tuple(getattr(cell, name) for name in tutorial.COLUMNS[:-1])


def strata(cells: Sequence[Cell]) -> dict[tuple, list[Cell]]:
    """Group cells that cost the same."""
    found = defaultdict(list)
    for cell in cells:
        found[cell.strategy, cell.transfer_depth, cell.frozen_depth, cell.target_size].append(cell)
    return dict(found)


def draw(groups: dict[tuple, list[Cell]], index: int) -> dict[tuple, Cell]:
    """Draw a cell of every stratum; every round has others, the same on every machine."""
    return {
        group: random.Random(f"{group} {index // len(cells)}").sample(cells, len(cells))[index % len(cells)]
        for group, cells in groups.items()
    }


def run_harness(suite: Path, out: Path, device: str) -> float:
    """Run the whole suite as a user would; return the seconds."""
    command = [sys.executable, "-m", "bench", "run", str(suite), "--out", str(out), "--device", device]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def harness_accuracies(folder: Path) -> Accuracies:
    """Return the test accuracies of a run by place in the table."""
    import bench

    rows = bench.load_results(folder)
    keys = rows[list(tutorial.COLUMNS[:-1])].astype(object)
    keys = keys.where(keys.notna(), None)
    return dict(zip(keys.itertuples(index=False, name=None), rows["test_accuracy"], strict=True))


def timed(work: Callable[[], float], device: str) -> tuple[float, float]:
    """Return seconds and what the work returned."""
    began = time.perf_counter()
    value = work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began, value


def sample_round(study: Study, index: int, folder: Path) -> Round:
    """Run one cell of every stratum by each script and scale up to the suite."""
    every = list(tutorial.cells(study))
    groups, chosen = strata(every), draw(strata(every), index)
    device, result = study.device.type, Round(accuracies={name: {} for name in AIMS})
    total, source_seconds = dict.fromkeys(AIMS, 0.0), []
    for turn, (group, cell) in enumerate(chosen.items()):
        model = (cell.source, study.suite.source_seed(cell.seed))
        if cell.source and not (folder / f"{model[0]}-{model[1]}.pt").exists():
            source_seconds.append(timed(lambda m=model: careful.source_model(study, *m, folder), device)[0])
        scripts = {
            "tutorial": lambda c=cell: tutorial.run_cell(study, c),
            "careful": lambda c=cell: careful.run_cell(study, c, folder),
        }
        for name in scripts if turn % 2 == 0 else reversed(scripts):
            seconds, accuracy = timed(scripts[name], device)
            total[name] += seconds * len(groups[group])
            result.accuracies[name][place(cell)] = accuracy
    models = {(c.source, study.suite.source_seed(c.seed)) for c in every if c.source}
    total["careful"] += len(models) * statistics.mean(source_seconds)
    result.scripts = total
    return result


def full_round(suite: Path, device: str, threads: int, folder: Path) -> Round:
    """Run both scripts in full, each in a process of its own."""
    result = Round()
    for name in AIMS:
        out = folder / f"{name}.csv"
        command = [sys.executable, "-m", f"tests.benchmarks.{name}", str(suite), str(out), device, str(threads)]
        began = time.perf_counter()
        subprocess.run(command, check=True, cwd=REPOSITORY)
        result.scripts[name] = time.perf_counter() - began
        result.accuracies[name] = tutorial.read(out)
    return result


def choose_threads(study: Study) -> int:
    """Return how many threads the scripts are faster with: torch's default, or one."""
    default = torch.get_num_threads()
    groups = list(strata(list(tutorial.cells(study))).values())
    cells = random.Random("pilot").sample([group[0] for group in groups], min(PILOT, len(groups)))
    seconds = {default: 0.0, 1: 0.0}
    if len(seconds) == 1 or study.device.type == "cuda":
        return default
    for cell in cells:
        for threads in seconds:
            torch.set_num_threads(threads)
            seconds[threads] += timed(lambda c=cell: tutorial.run_cell(study, c), "cpu")[0]
    torch.set_num_threads(default)
    print(", ".join(f"{t} threads: {s:.1f} s" for t, s in seconds.items()), f"for {len(cells)} cells of the tutorial")
    return min(seconds, key=seconds.get)


def agreement(rounds: Sequence[Round], reference: Accuracies, name: str, on: str) -> dict[str, str]:
    """Compare a script's accuracies with the harness's on the same cells: script minus harness, in fractions.

    Cells of one seed share their examples and often their source, so the standard error is that of the
    mean over seeds, each seed counting by its mean.
    """
    found: Accuracies = {}
    for one in rounds:
        found |= one.accuracies[name]
    by_seed = defaultdict(list)
    for cell, accuracy in found.items():
        by_seed[cell[-1]].append(accuracy - reference[cell])
    means = [statistics.mean(differences) for differences in by_seed.values()]
    error = statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else math.nan
    values = ("suite", name, str(len(found)), f"{statistics.mean(means):.4f}", f"{error:.4f}", on)
    return dict(zip(ACCURACY, values, strict=True))


def stepped(suite: Path, folder: Path) -> Path:
    """Write a suite whose heads take steps, as those of the scripts do."""
    text = suite.read_text(encoding="utf-8")
    path = folder / suite.name
    path.write_text(text.replace("[recipe]\n", '[recipe]\nhead = "stepped"\n', 1), encoding="utf-8")
    return path


def measure(options: Options, suite: Path = SUITE) -> list[Measured]:
    """Measure the suite's throughput relative to the scripts'."""
    whole = "default suite" if suite == SUITE else suite.stem
    before = torch.get_num_threads()
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        suite = stepped(suite, folder)
        study = Study(suite, options.device)
        threads = choose_threads(study)
        for index in range(options.rounds or (1 if options.full else ROUNDS)):
            harness = run_harness(suite, folder / f"run{index}", options.device)
            torch.set_num_threads(threads)
            if options.full:
                one = full_round(suite, options.device, threads, folder)
            else:
                (folder / f"sources{index}").mkdir()
                one = sample_round(study, index, folder / f"sources{index}")
            torch.set_num_threads(before)
            one.harness = harness
            rounds.append(one)
            said = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in one.scripts.items())
            print(f"round {index + 1}: harness {harness:.0f} s, {said} (threads: {threads})", flush=True)
        reference = harness_accuracies(folder / "run0")
    on = machine(options.device)
    compared = [agreement(rounds, reference, name, on) for name in AIMS]
    merge(options.folder / "accuracy.csv", compared, ACCURACY)
    print(show(compared, ACCURACY))
    return [
        Measured(f"suite: speed, {whole}", f"{name} script", [r.scripts[name] / r.harness for r in rounds], aim)
        for name, aim in AIMS.items()
    ]
