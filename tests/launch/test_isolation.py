"""A trial that raises, hangs, runs out of memory or kills its process costs itself alone, and says why."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

import bench
from bench.errors import BenchError
from bench.launch.deaths import DEATHS, LOSSES, Deaths
from bench.launch.process import _Process
from bench.launch.units import Death, Done, time_limit
from bench.ledger.file import LEDGER, read_records
from bench.trial import Check, Group

PLUGIN = '''
import ctypes, os, pathlib, resource, signal, sys, time
import bench
import bench.runner as runner

HERE = pathlib.Path(__file__).parent


def raises():
    print("about to raise")
    raise ArithmeticError("planted")


def hangs():
    print("about to hang", flush=True)
    (HERE / "hanging").write_text(str(os.getpid()))
    time.sleep(1000)


def greedy():
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**30, hard))
    try:
        bytearray(2**34)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def killed():
    with (HERE / "kills").open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


def crashes():
    ctypes.string_at(0)


FAULTS = {f.__name__: f for f in (raises, hangs, greedy, killed, crashes)}


def declare(name):
    @bench.strategy(name)
    def declared(depth):
        """A point of its own, so that no trial is another's."""
        yield bench.point(name, depth, depth, steps=1 + (1 + list(FAULTS).index(name)) / 8)


for name in FAULTS:
    declare(name)
real = runner.Runner.run_trials


def run_trials(self, trials):
    for trial in trials:
        name = self.plan.strategy(trial).name
        if trial.seed == 1 and name in FAULTS and not (HERE / "mended").exists():
            FAULTS[name]()
    return real(self, trials)


runner.Runner.run_trials = run_trials
'''
SUITE = {
    "name": "faults",
    "backbones": [{"backbone": "cnn", "channels": [4], "norm": "batch", "name": "cnn"}],
    "target_sizes": [20],
    "seeds": 2,
    "image_size": 8,
    "measures": [],
    "lanes": 2,
    "tasks": {"source": {"task": "printed-digits", "n": 100, "n_test": 50}},
    "pairs": [{"target": "digits", "sources": ["source"]}],
    "recipe": {"steps": 8, "learning_rates": [0.1], "checkpoints": 1},
    "source_recipe": {"steps": 5},
}
CAUSES = {
    "raises": "ArithmeticError: planted",
    "hangs": "timed out: no result after 5 s",
    "greedy": "MemoryError",
    "killed": "the worker process was killed by SIGKILL",
    "crashes": "the worker process was killed by SIGSEGV",
}


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "faults.py"
    path.write_text(PLUGIN)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory and names of signals are Linux's")
def test_every_fault_costs_its_trial_alone(plugin, tmp_path):
    suite = {**SUITE, "strategies": [*CAUSES, "fine-tune"]}
    out = tmp_path / "out"
    rows = bench.run(suite, out, jobs=2, timeout=5, plugins=[plugin])
    failed = rows[rows.status == "failed"]
    assert set(zip(failed.strategy, failed.seed, strict=True)) == {(name, 1) for name in CAUSES}
    for row in failed.itertuples():
        assert CAUSES[row.strategy] in row.error, row.error
    traces = {
        r["row"]["strategy"]: r["detail"]["traceback"]
        for r in read_records(out)
        if r["kind"] == "trial" and r["row"]["status"] == "failed"
    }
    assert "in raises" in traces["raises"]
    assert "about to hang" in traces["hangs"]
    assert "in hangs" in traces["hangs"]  # where it was when its time was over
    assert "in crashes" in traces["crashes"]
    keys = dict(zip(failed.strategy, failed.key, strict=True))
    assert "about to raise" in (out / "logs" / f"{keys['raises']}.log").read_text()
    # Twice alone, after once beside the trial of its lane, and never again.
    assert (tmp_path / "kills").read_text() == "x" * (1 + DEATHS)
    (tmp_path / "mended").touch()
    mended = bench.run(suite, out, jobs=0, plugins=[plugin], retry_failed=True)
    assert (mended.status == "ok").all()
    undisturbed = bench.run(suite, tmp_path / "undisturbed", jobs=0, plugins=[plugin])
    ignored = ["seconds", "source_seconds"]
    assert mended.drop(columns=ignored).equals(undisturbed.drop(columns=ignored))
    assert not (out / "logs" / f"{keys['raises']}.log").exists()


def test_a_worker_whose_driver_is_killed_does_not_outlive_it(plugin, tmp_path):
    suite = {**SUITE, "strategies": ["hangs"], "plugins": [str(plugin)]}
    (tmp_path / "suite.json").write_text(json.dumps(suite))
    script = "import json, sys, bench\nbench.run(json.load(open(sys.argv[1])), sys.argv[2], jobs=1)\n"
    driver = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "suite.json"), str(tmp_path / "out")])
    hanging = tmp_path / "hanging"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (hanging.exists() and hanging.read_text()):
        time.sleep(0.05)
    worker = int(hanging.read_text())
    driver.kill()
    driver.wait()
    while time.monotonic() < deadline and _lives(worker):
        time.sleep(0.05)
    assert not _lives(worker)


def _lives(process):
    try:
        os.kill(process, 0)
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.parametrize("signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM, signal.SIGINT]])
def test_two_interruptions_stop_a_hanging_run_at_once_and_the_folder_resumes(plugin, tmp_path, signals):
    suite = {**SUITE, "strategies": ["hangs", "fine-tune"], "plugins": [str(plugin)]}
    (tmp_path / "suite.json").write_text(json.dumps(suite))
    script = "import json, sys, bench\nbench.run(json.load(open(sys.argv[1])), sys.argv[2], jobs=2)\n"
    out = tmp_path / "out"
    command = [sys.executable, "-c", script, str(tmp_path / "suite.json"), str(out)]
    driver = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (
        (tmp_path / "hanging").exists() and any(r["kind"] == "trial" for r in read_records(out))
    ):
        time.sleep(0.05)
    for number in signals:
        driver.send_signal(number)
        time.sleep(0.5)
    _, said = driver.communicate(timeout=60)
    assert driver.returncode != 0
    assert "KeyboardInterrupt" in said
    kept = {r["key"] for r in read_records(out) if r["kind"] == "trial"}
    assert kept
    before = (out / LEDGER).read_bytes()
    (tmp_path / "mended").touch()
    rows = bench.run(suite, out, jobs=0)
    assert (out / LEDGER).read_bytes().startswith(before)
    again = [r["key"] for r in read_records(out) if r["kind"] == "trial"]
    assert len(again) == len(set(again)) == len(rows)  # nothing lost, nothing twice
    assert (rows.status == "ok").all()


def test_processes_that_do_not_start_end_the_run_with_what_they_said(tmp_path):
    plugin = tmp_path / "here.py"
    plugin.write_text(f"import os\nif os.getpid() != {os.getpid()}:\n    raise OSError('not here')\n")
    with pytest.raises(BenchError, match=r"worker processes do not start: .*exit code 1[\s\S]*not here"):
        bench.run({**SUITE, "strategies": ["fine-tune"]}, tmp_path / "out", jobs=1, plugins=[plugin])
    assert not [r for r in read_records(tmp_path / "out") if r["kind"] == "trial"]


SIGNALLED = """
import atexit, os, signal, time
import bench.runner as runner

real = runner.Runner.run_trials


def run_trials(self, trials):
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
        child = os.fork()
        if not child:
            os.kill(os.getpid(), number)
            time.sleep(60)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -number
    own, driver = (int(open(f"/proc/{pid}/oom_score_adj").read()) for pid in (os.getpid(), os.getppid()))
    assert own == max(driver, 300)
    return real(self, trials)


if HERE:
    runner.Runner.run_trials = run_trials
    atexit.register(lambda: open(ENDED, "w").close())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what the kernel ends first is Linux's to say")
def test_signals_to_all_processes_of_a_job_are_the_drivers_and_memory_is_the_workers(tmp_path):
    """Slurm sends SIGTERM to every process of a step; what is in flight is to finish."""
    plugin = tmp_path / "signalled.py"
    ended = tmp_path / "ended"
    plugin.write_text(SIGNALLED.replace("HERE", f"os.getpid() != {os.getpid()}").replace("ENDED", repr(str(ended))))
    suite = {**SUITE, "strategies": ["fine-tune"], "seeds": 1}
    rows = bench.run(suite, tmp_path / "out", jobs=1, plugins=[plugin])
    assert rows.error.dropna().tolist() == []
    assert (rows.status == "ok").all()
    assert ended.exists()  # a worker ends quickly, but not without what plug-ins do at the end


def test_a_limit_that_runs_out_as_the_answer_comes_is_not_the_next_units(monkeypatch):
    process = object.__new__(_Process)
    process._asked, process._answering, process.expired = 1, threading.Lock(), False
    monkeypatch.setattr(_Process, "kill", lambda self: killed.append(self))
    killed = []
    process._expire(0)  # of the unit before
    assert (process.expired, killed) == (False, [])
    process._expire(1)
    assert (process.expired, killed) == (True, [process])


class _Plan:
    """Knows as much as the record of a failed check needs."""

    backbones = (SimpleNamespace(label="cnn"),)


def test_what_hangs_is_not_tried_again_and_what_dies_not_for_ever():
    deaths, unit = Deaths(_Plan), Check("digits", 0)
    again, records = deaths.after(Done(unit, [], death=Death("timed out", hung=True)))
    assert (again, len(records)) == ([], 1)
    deaths = Deaths(_Plan)
    outcomes = [deaths.after(Done(unit, [], death=Death("killed"))) for _ in range(DEATHS)]
    assert [again for again, _ in outcomes] == [[unit]] * (DEATHS - 1) + [[]]
    assert outcomes[-1][1][0]["error"] == f"killed, {DEATHS} times"


def test_a_lost_machine_is_no_fault_of_a_unit_until_it_happens_again_and_again():
    deaths, group = Deaths(_Plan), Group(("a", "b"))
    found = [deaths.after(Done(group, [], death=Death("gone", lost=True)))[0] for _ in range(LOSSES)]
    assert found[:-1] == [[group]] * (LOSSES - 1)
    assert [unit.members for unit in found[-1]] == [("a",), ("b",)]
    alone = Check("digits", 0)
    lost = [deaths.after(Done(alone, [], death=Death("gone", lost=True))) for _ in range(LOSSES * DEATHS)]
    assert [bool(records) for _, records in lost] == [False] * (LOSSES * DEATHS - 1) + [True]


def test_the_limit_of_time_is_that_of_each_trial_of_a_group():
    assert time_limit(Group(("a", "b", "c")), 2.5) == 7.5
    assert time_limit(Group(("a",)), None) is None
    assert time_limit(Check("digits", 0), 2.5) is None  # it may have to download
