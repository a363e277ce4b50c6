"""Runs in worker processes: killed drivers, killed workers, any number of workers, one table."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

import bench
from bench.ledger.file import LEDGER, read_records

PLUGIN = """
import os, signal
import bench

@bench.strategy("deadly")
def deadly(depth):
    yield bench.point("deadly", depth, depth, copied_lr=None)

import bench.runner as runner
real = runner.Runner.run_trials

def run_trials(self, trials):
    if any(self.plan.strategy(trial).name == "deadly" and trial.seed == 1 for trial in trials):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, trials)

runner.Runner.run_trials = run_trials
"""


def same(a, b):
    timings = ["seconds", "source_seconds"]
    return a.drop(columns=timings).equals(b.drop(columns=timings))


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    suite = {
        "name": "small",
        "backbones": [{"backbone": "cnn", "channels": [4, 4], "norm": "batch", "name": "cnn"}],
        "strategies": ["feature-extraction", "fine-tune", "linear-probe-fine-tune"],
        "target_sizes": [20, 40],
        "seeds": 3,
        "image_size": 8,
        "tasks": {"source": {"task": "printed-digits", "n": 200, "n_test": 50}},
        "pairs": [{"target": "digits", "sources": ["source"]}],
        "recipe": {"steps": 40, "learning_rates": [0.05, 0.2], "checkpoints": 2},
        "source_recipe": {"steps": 10},
    }
    folder = tmp_path_factory.mktemp("reference")
    return suite, bench.run(suite, folder, jobs=1)


def test_the_number_of_workers_does_not_show_in_the_table(reference, tmp_path):
    suite, rows = reference
    assert (rows.status == "ok").all()
    assert same(bench.run(suite, tmp_path / "two", jobs=2), rows)
    assert same(bench.run(suite, tmp_path / "four", jobs=4, timeout=300), rows)
    assert same(bench.run(suite, tmp_path / "inline", launcher="inline"), rows)


def test_a_driver_that_is_killed_again_and_again_gets_there_with_the_same_table(reference, tmp_path):
    suite, rows = reference
    (tmp_path / "suite.json").write_text(json.dumps(suite))
    script = "import json, sys, bench\nbench.run(json.load(open(sys.argv[1])), sys.argv[2], jobs=2)\n"
    out = tmp_path / "out"
    rng = random.Random(0)
    for _ in range(3):
        driver = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "suite.json"), str(out)])
        size = 0
        target = rng.randint(200, 9000)  # bytes of ledger that this life may add
        start = (out / LEDGER).stat().st_size if (out / LEDGER).exists() else 0
        deadline = time.monotonic() + 120
        while driver.poll() is None and size < target and time.monotonic() < deadline:
            time.sleep(0.01)
            size = (out / LEDGER).stat().st_size - start if (out / LEDGER).exists() else 0
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert same(bench.run(suite, out, jobs=2), rows)
    assert not (out / "work").exists()


def test_a_worker_that_is_killed_costs_its_trial_alone(reference, tmp_path):
    suite, rows = reference
    plugin = tmp_path / "deadly.py"
    plugin.write_text(PLUGIN)
    suite = {**suite, "strategies": ["deadly", "fine-tune", "linear-probe-fine-tune"], "target_sizes": [20]}
    table = bench.run(suite, tmp_path / "out", jobs=2, plugins=[plugin])
    failed = table[table.status == "failed"]
    assert set(zip(failed.strategy, failed.seed, strict=True)) == {("deadly", 1)}
    assert failed.error.str.contains("killed by SIGKILL").all()
    others = table[table.strategy.isin(["fine-tune", "scratch"])]
    assert (others.status == "ok").all()
    kept = rows[rows.key.isin(others.key)].reset_index(drop=True)
    assert others.test_accuracy.tolist() == kept.test_accuracy.tolist()


def test_ctrl_c_finishes_what_is_in_flight_and_the_rest_later(reference, tmp_path):
    suite, rows = reference
    (tmp_path / "suite.json").write_text(json.dumps(suite))
    script = (
        "import json, sys, bench\n"
        "rows = bench.run(json.load(open(sys.argv[1])), sys.argv[2], jobs=1)\n"
        "print(len(rows))\n"
    )
    out = tmp_path / "out"
    driver = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "suite.json"), str(out)], stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and driver.poll() is None:
        time.sleep(0.02)
        if (out / LEDGER).exists() and sum(r["kind"] == "trial" for r in read_records(out)) >= 3:
            break
    driver.send_signal(signal.SIGINT)
    printed, _ = driver.communicate(timeout=120)
    assert driver.returncode == 0
    assert 3 <= int(printed) < len(rows)
    assert same(bench.run(suite, out, jobs=1), rows)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no processor affinity on this system")
def test_as_many_workers_as_usable_cores():
    from bench.launch.machine import default_jobs

    assert default_jobs("cpu") == len(os.sched_getaffinity(0))
    assert default_jobs("cuda") == 1
