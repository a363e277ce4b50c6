"""A Ray cluster of three nodes on this machine, one of which dies in the middle of a run."""

from __future__ import annotations

import importlib.util
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

from .study import PATIENCE, ROOT, Outcome, Study


def has_ray() -> bool:
    """Whether Ray is installed."""
    return importlib.util.find_spec("ray") is not None


def node_killed(study: Study, tries: int) -> Outcome:
    """All processes of a node are killed when some rows are stored: what it had in work runs elsewhere."""
    outcome = Outcome()
    for _ in range(tries):
        out = study.fresh()
        after = study.rng.randrange(1, len(study.truth) // 2)
        command = [sys.executable, "-m", "tests.reliability.nodes", str(out), json.dumps(study.suite), str(after)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        outcome += study.judge(out)
        outcome.tried += 1
        shutil.rmtree(out)
    return outcome


def run(out: Path, suite: dict, after: int) -> None:
    """Run a suite on a cluster, and kill a node once so many rows are stored."""
    import ray
    from ray.cluster_utils import Cluster

    import bench
    from bench.launch.driver import Silent

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)

    class Killer(Silent):
        rows = 0

        def advance(self, record: dict) -> None:
            self.rows += record["kind"] == "trial"
            if self.rows == after:
                node = random.Random(after).choice(sorted(cluster.worker_nodes, key=lambda node: node.node_id))
                cluster.remove_node(node, allow_graceful=False)

    killer = Killer()
    try:
        bench.run(suite, out, launcher="ray", address=cluster.address, device="cpu", progress=killer)
        assert killer.rows >= after
        assert len(cluster.worker_nodes) == 1
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    run(Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]))
