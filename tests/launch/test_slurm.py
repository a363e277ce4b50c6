"""The job scripts for Slurm, with stand-ins for its commands: who starts what, where, with how many cores."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.cli import main
from bench.launch.shards import Shard

SCRIPTS = Path(__file__).resolve().parents[2] / "experiments" / "slurm"
STAND_INS = {
    "srun": 'echo "${SRUN_CPUS_PER_TASK:+--cpus-per-task=$SRUN_CPUS_PER_TASK }$*"',
    "scontrol": "printf 'n1\\nn2\\nn3\\n'",
    "sleep": "",
}
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash to run job scripts")


@pytest.fixture
def started(tmp_path):
    """From a script to the commands that it starts."""
    for name, does in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)

    def run(script, **environment):
        known = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", **environment}
        command = ["bash", str(SCRIPTS / script), "mine.toml"]
        # What a script starts in the background holds its output, and so is waited for.
        done = subprocess.run(command, env=known, capture_output=True, text=True, check=True, timeout=60)
        return sorted(done.stdout.splitlines())

    return run


def ntbench(line, capfd):
    """Give the command what follows its name in a line; what it says of a suite that is not there."""
    with pytest.raises(SystemExit):
        main(line.partition("ntbench ")[2].split())
    return capfd.readouterr().err


def test_a_job_of_the_array_runs_its_share_whoever_is_submitted_with_it(started, capfd):
    last = int(re.search(r"--array=1-(\d+)$", (SCRIPTS / "array.sh").read_text(), re.MULTILINE)[1])
    # Two jobs that are submitted again, by --array=3,5: Slurm counts two.
    (line,) = started("array.sh", SLURM_ARRAY_TASK_ID="5", SLURM_ARRAY_TASK_COUNT="2", SLURM_CPUS_PER_TASK="4")
    share = Shard.parse(re.search(r"--shard (\S+)", line)[1])
    assert (share.index, share.of) == (5, last)
    assert "--cpus-per-task=4" in line  # which srun does not take over from sbatch
    assert "--jobs 4" in line
    assert "no suite at mine.toml" in ntbench(line, capfd)


def test_ray_starts_on_every_node_and_the_run_on_the_first(started, capfd):
    lines = started("ray.sh", SLURM_JOB_NODELIST="n[1-3]", SLURM_JOB_NUM_NODES="3", SLURM_CPUS_PER_TASK="16")
    assert all(line.startswith("--cpus-per-task=16 --overlap ") for line in lines)
    (first,) = (line for line in lines if "ray start --head" in line)
    (others,) = (line for line in lines if "ray start --address=n1:6379" in line)
    (driver,) = (line for line in lines if "ntbench run" in line)
    assert "--nodelist=n1 " in first
    assert "--nodes=2 --ntasks=2 --exclude=n1 " in others
    assert "--num-cpus=16" in first
    assert "--num-cpus=16" in others
    assert "--nodelist=n1 " in driver
    assert "--launcher ray --address n1:6379" in driver
    assert "no suite at mine.toml" in ntbench(driver, capfd)
    alone = started("ray.sh", SLURM_JOB_NODELIST="n1", SLURM_JOB_NUM_NODES="1", SLURM_CPUS_PER_TASK="16")
    assert len(alone) == 2
