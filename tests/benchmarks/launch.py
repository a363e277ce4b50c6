"""Where trials run: two local processes against one, Ray against local processes, and how fast a driver is.

* Scaling and Ray: ``bench.run`` of the default suite with its first five seeds (all ten with ``--full``), each in
  a process of its own, from its start to its end: imports, data, workers, and for Ray the cluster on this
  machine too. Worker processes have one thread each.
* What the machine gives: a bare PyTorch loop in two processes at once against one, each timed by itself without
  its imports. On a shared machine it differs from minute to minute, and scaling with it.
* Driver: trials that train nothing and are done at once, one a unit of work, so that what is left is the way
  of a unit to a worker and of its row to the disk. Rows a second from the start of the stage to its end, with
  two workers. Ray must be installed for the lines on Ray; without it they are left out, and that is said.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .ratios import Measured, Options, Stopwatch

REPOSITORY = Path(__file__).resolve().parents[2]
SUITE = REPOSITORY / "experiments" / "default.toml"
ROUNDS = 3
SEEDS = 5
WORKERS = 2
ROWS = 6_000
EPOCHS = 400  # of the bare loop: a quarter of a minute
SCALING, OVERHEAD, DRIVER = ">= 1.8", "<= 1.1", ">= 500"

EMPTY = """
import numpy as np
import torch

import bench.runner as runner
from bench.training.fit import Fitted
from bench.training.judge import Look
from bench.training.lanes import Tested


def run_trials(self, trials):
    correct = torch.ones(self.plan.card(trials[0].target).n_test, dtype=torch.bool)
    tested, fitted = Tested(Look(1.0, 0.1, 1.0), correct.long(), correct), Fitted(curve=[[0.05, 75, 0.1, 0.5, 0.5]])
    lane = type("Lane", (), {"network": torch.nn.Identity()})
    return [self._record(trial, lane, fitted, tested, 0.0) for trial in trials]


runner.Runner.run_trials = run_trials
runner.trainable_parameters = lambda network, strategy: 0
"""


def has_ray() -> bool:
    """Whether Ray is installed; says so where it is not."""
    if importlib.util.find_spec("ray") is not None:
        return True
    print("Ray is not installed (ntbench[ray]): the lines on Ray are left out")
    return False


def run_suite(suite: Path, out: Path, seeds: int | None, means: dict[str, Any]) -> None:
    """Run a suite in a process of its own."""
    _in_process("suite", str(suite), str(out), json.dumps(seeds), json.dumps(means))


def rows_a_second(folder: Path, means: dict[str, Any], rows: int) -> float:
    """Run so many empty trials in a process of its own; return how many are stored in a second."""
    return float(_in_process("empty", str(folder), json.dumps(means), str(rows)))


def bare_seconds(processes: int, epochs: int = EPOCHS) -> float:
    """Train by a bare loop in so many processes at once; return the seconds of the slowest."""
    with ThreadPoolExecutor(processes) as pool:
        return max(map(float, pool.map(lambda _: _in_process("bare", str(epochs)), range(processes))))


def _in_process(*arguments: str) -> str:
    command = [sys.executable, "-m", "tests.benchmarks.launch", *arguments]
    env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=REPOSITORY, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(options: Options, suite: Path = SUITE, rows: int = ROWS, epochs: int = EPOCHS) -> list[Measured]:
    """Measure scaling, what Ray costs, and the driver."""
    ways: dict[str, dict[str, Any]] = {"1 process": {"jobs": 1}, "2 processes": {"jobs": WORKERS}}
    if has_ray():
        ways["Ray"] = {"jobs": WORKERS, "launcher": "ray"}
    seeds = None if options.full else SEEDS
    rounds, watch = options.rounds or ROUNDS, Stopwatch()
    rates: dict[str, list[float]] = {}
    given: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        for index in range(rounds):
            given.append(WORKERS * bare_seconds(1, epochs) / bare_seconds(WORKERS, epochs))
            print(f"two bare loops: {given[-1]:.2f} times as fast as one", flush=True)
            for name in list(ways) if index % 2 == 0 else reversed(ways):
                out, means = Path(scratch) / f"{name} {index}", {**ways[name], "device": options.device}
                watch.run(name, lambda o=out, m=means: run_suite(suite, o, seeds, m))
                rates.setdefault(name, []).append(rows_a_second(Path(f"{out} empty"), means, rows))
                print(f"{name}: {watch.seconds[name][-1]:.1f} s; {rates[name][-1]:.0f} empty rows a second", flush=True)
    part = suite.stem if options.full or suite != SUITE else f"default suite, {SEEDS} seeds"
    found = [
        Measured(
            f"launch: speed of 2 processes, {part}", "1 process", watch.ratios("1 process", "2 processes"), SCALING
        )
    ]
    found.append(Measured("launch: speed of 2 processes, a bare loop", "1 process", given))
    if "Ray" in ways:
        found.append(
            Measured(f"launch: time on Ray, {part}", "2 processes", watch.ratios("Ray", "2 processes"), OVERHEAD)
        )
    for name, of_way in rates.items():
        aim = DRIVER if name == "Ray" else ""
        found.append(Measured(f"launch: empty trials by {name}", "1 row a second", of_way, aim))
    return found


# --- what runs in processes of its own ----------------------------------------------------------------


def whole(suite: str, out: str, seeds: str, means: str) -> None:
    """Run a suite from Python as anybody would."""
    import bench

    rows = bench.run(suite, out, seeds=json.loads(seeds), **json.loads(means))
    assert (rows.status == "ok").all()


def bare(epochs: str) -> None:
    """Train by nothing but torch and print how long that took."""
    import torch

    from .step import bare as train
    from .step import make_setting

    torch.set_num_threads(1)
    train(make_setting(16, "cpu", epochs=1))
    setting = make_setting(16, "cpu", int(epochs))
    began = time.perf_counter()
    train(setting)
    print(time.perf_counter() - began)


def empty(folder: str, means: str, rows: str) -> None:
    """Run empty trials and print how many were stored in a second."""
    import bench
    from bench.launch.driver import Silent

    class Clock(Silent):
        began = ended = 0.0

        def stage(self, name: str, total: int) -> None:
            self.began = time.perf_counter()

        def advance(self, record: dict[str, Any]) -> None:
            self.ended = time.perf_counter()

    out, clock = Path(folder), Clock()
    out.mkdir(parents=True)
    plugin = out / "empty.py"
    plugin.write_text(EMPTY)
    # Scratch and, of the one source, feature extraction: two trials a seed. One source model for all.
    suite = {
        "name": "empty", "backbones": [{"backbone": "mlp", "widths": [4], "name": "mlp"}], "lanes": 1,
        "strategies": ["feature-extraction"], "target_sizes": [20], "seeds": int(rows) // 2, "source_models": 1,
        "measures": [], "tasks": {"near": {"task": "printed-digits", "n": 100, "n_test": 50}}, "image_size": 8,
        "pairs": [{"target": "digits", "source": "near"}], "source_recipe": {"steps": 1, "checkpoints": 1},
    }  # fmt: skip
    found = bench.run(suite, out / "run", plugins=[plugin], progress=clock, **json.loads(means))
    assert len(found) == int(rows) // 2 * 2
    assert (found.status == "ok").all()
    print(len(found) / (clock.ended - clock.began))


if __name__ == "__main__":
    {"suite": whole, "empty": empty, "bare": bare}[sys.argv[1]](*sys.argv[2:])
