"""Runs on a Ray cluster of several nodes on this machine: one table, whatever dies."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import bench
from bench.errors import BenchError
from bench.launch.driver import Silent
from bench.launch.node import PREFIX
from bench.ledger.file import read_records

ray = pytest.importorskip("ray", reason="Ray is not installed: NOTHING OF THE RAY LAUNCHER IS TESTED (ntbench[ray])")

PLUGIN = """
import os, signal, time
import bench
import bench.runner as runner


@bench.strategy("deadly")
def deadly(depth):
    yield bench.point("deadly", depth, depth, copied_lr=None, steps=1.5)


real = runner.Runner.run_trials


def run_trials(self, trials):
    assert "ntbench-" in str(self.task_folder)  # where it was sent, not where the driver has it
    if any(self.plan.strategy(trial).name == "deadly" and trial.seed == 1 for trial in trials):
        print("the end is near", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, trials)


if os.environ.get("NTBENCH_TEST_DEADLY"):
    runner.Runner.run_trials = run_trials
"""
SUITE = {
    "name": "small",
    "backbones": [{"backbone": "cnn", "channels": [4, 4], "norm": "batch", "name": "cnn"}],
    "strategies": ["zero-shot", "feature-extraction", "fine-tune"],
    "target_sizes": [20],
    "seeds": 2,
    "image_size": 8,
    "lanes": 2,
    "measures": ["leep"],
    "weighting": ["uniform", "loss"],
    "tasks": {"source": {"task": "printed-digits", "n": 200, "n_test": 50, "label_noise": 0.3}},
    "pairs": [{"target": "digits", "sources": ["source", "noise"]}],
    "recipe": {"steps": 20, "learning_rates": [0.1], "checkpoints": 2},
    "source_recipe": {"steps": 10},
}


def same(a, b):
    timings = ["seconds", "source_seconds"]
    return a.drop(columns=timings).equals(b.drop(columns=timings))


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    rows = bench.run(SUITE, folder, jobs=0)
    assert (rows.status == "ok").all()
    return folder, rows


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    nodes.add_node(num_cpus=1)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def files(folder):
    found = {}
    for kind in ("sources", "weights", "predictions"):
        found |= {f"{kind}/{path.name}": path.read_bytes() for path in (folder / kind).iterdir()}
    return found


def test_one_node_that_the_run_starts_itself_gives_the_same_table(reference, tmp_path):
    found = bench.run(SUITE, tmp_path, launcher="ray", address="local", jobs=2, timeout=300)
    assert same(found, reference[1])
    assert not ray.is_initialized()


def test_three_nodes_give_the_same_table_models_and_weights(reference, cluster, tmp_path, monkeypatch):
    from bench.launch.cluster import RayCluster

    folder, rows = reference
    nodes, end = set(), RayCluster.__exit__

    def look(self, *exception):
        nodes.update(load.node for load in self.loads())
        end(self, *exception)

    monkeypatch.setattr(RayCluster, "__exit__", look)
    monkeypatch.setattr("bench.launch.cluster.secrets.token_hex", lambda n: "three-nodes")
    found = bench.run(SUITE, tmp_path, launcher="ray", address=cluster.address)
    assert len(nodes) == 3  # told apart in `ntbench status`, though all are on this machine
    assert same(found, rows)
    assert files(tmp_path) == files(folder)
    (run,) = (record for record in read_records(tmp_path) if record["kind"] == "run")
    assert (run["launcher"], run["jobs"]) == ("ray", 3)
    assert not list(Path(tempfile.gettempdir()).glob(f"{PREFIX}three-nodes*"))  # what nodes were sent is gone


def test_a_node_that_is_killed_costs_nothing(reference, cluster, tmp_path):
    class Killer(Silent):
        killed = False

        def advance(self, record):
            if record["kind"] == "trial" and not self.killed:
                Killer.killed = True
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    found = bench.run(SUITE, tmp_path, launcher="ray", address=cluster.address, progress=Killer())
    assert Killer.killed
    assert same(found, reference[1])
    keys = [record["key"] for record in read_records(tmp_path) if record["kind"] == "trial"]
    assert len(keys) == len(set(keys))


def test_what_kills_its_process_fails_alone_and_says_what_it_said(cluster, tmp_path, monkeypatch):
    plugin = tmp_path / "deadly.py"
    plugin.write_text(PLUGIN)
    monkeypatch.setenv("NTBENCH_TEST_DEADLY", "1")
    from bench import runner
    from bench.registry import STRATEGIES

    monkeypatch.setattr(runner.Runner, "run_trials", runner.Runner.run_trials)
    suite = {
        **SUITE,
        "strategies": ["deadly"],
        "target_sizes": [20],
        "weighting": ["uniform"],
        "measures": [],
        "lanes": 1,
    }
    suite["pairs"] = [{"target": "digits", "source": "noise"}]
    try:
        rows = bench.run(suite, tmp_path / "out", launcher="ray", address=cluster.address, jobs=1, plugins=[plugin])
    finally:
        STRATEGIES._entries.pop("deadly", None)
    failed = rows[rows.status == "failed"]
    assert set(zip(failed.strategy, failed.seed, strict=True)) == {("deadly", 1)}
    assert failed.error.str.contains("killed by SIGKILL").all()
    traces = [
        r["detail"]["traceback"]
        for r in read_records(tmp_path / "out")
        if r["kind"] == "trial" and r["row"]["status"] == "failed"
    ]
    assert "the end is near" in traces[0]


def test_an_address_where_nothing_is(tmp_path):
    with pytest.raises(BenchError, match=r"--address 127\.0\.0\.1:1: no Ray cluster there"):
        bench.run(SUITE, tmp_path, launcher="ray", address="127.0.0.1:1")


def test_what_is_gone_is_not_sent_and_no_fault_of_the_run(tmp_path, monkeypatch):
    """A source model that somebody deletes while the run lasts fails the trials that need it, as on one machine."""
    from bench.launch import cluster

    (tmp_path / "sources").mkdir()
    there, gone = tmp_path / "x.npy", tmp_path / "sources" / "gone.safetensors"
    there.write_bytes(b"1")
    monkeypatch.setattr(cluster, "needs", lambda *_: {"tasks/x.npy": there, "sources/gone.safetensors": gone})
    monkeypatch.setattr(cluster.ray, "put", bytes)
    workers = cluster.RayCluster(SimpleNamespace())
    workers._tasks, workers._sources, workers._data = tmp_path, tmp_path / "sources", {}
    slot = cluster._Slot(0, None)
    assert workers._files(slot, None) == {"tasks/x.npy": b"1"}
    gone.write_bytes(b"2")
    assert workers._files(slot, None) == {"sources/gone.safetensors": b"2"}  # it was not taken to be there


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers"),
    [(1, 0, 14), (4, 0, 3), (1, 0.25, 8), (1, 0.4, 4), (4, 0.25, 2), (1, 1, 2), (1, 2, 1), (0.1, 0.1, 20), (16, 0, 0)],
)
def test_a_worker_takes_its_share_of_a_node(cpus, gpus, workers, monkeypatch):
    """Whole workers, whole nodes, and shares of one GPU each: what is left of a GPU is nobody's."""
    from bench.launch import cluster

    nodes = [
        {"Alive": True, "Resources": {"CPU": 10.0, "GPU": 2.0}},
        {"Alive": True, "Resources": {"CPU": 4.0, "memory": 1e9}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
    ]
    monkeypatch.setattr(cluster.ray, "nodes", lambda: nodes)
    assert cluster.RayCluster(SimpleNamespace(cpus=cpus, gpus=gpus))._room() == workers
