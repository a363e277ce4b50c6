"""``ntbench run --shard``, ``merge`` and ``debug``, and the launchers' options."""

from __future__ import annotations

import io
import re
import sys

import pytest
from cli_suite import SUITE, TRIALS

import bench
from bench.ledger.results import load_results

BROKEN = '''
import bench


@bench.strategy("broken")
def broken(depth):
    """Diverge."""
    yield bench.Strategy("broken", depth, (bench.Phase(0, lr=1e50),))
'''


def test_shards_from_the_command_line_become_the_whole_run(finished, tmp_path, ntbench, monkeypatch):
    suite, whole, _ = finished
    monkeypatch.chdir(tmp_path)
    for index in (2, 1):
        done = ntbench("run", suite, "--shard", f"{index}/2", "--jobs", 0, "--device", "cpu")
        assert done.code == 0
        assert f"shard {index}/2 -> runs/small-shard-{index}-of-2" in done.err
        assert f"trials of shard {index}/2" in done.err
        assert "ntbench merge" in done.err
    done = ntbench("merge", "runs/small", "runs/small-shard-2-of-2")
    assert done.code == 0
    assert "not among them: shard 1/2" in done.err
    done = ntbench("merge", "runs/small", "runs/small-shard-1-of-2", "runs/small-shard-2-of-2")
    assert f"small, trials: {TRIALS} done, 0 missing" in done.out
    timings = ["seconds", "source_seconds"]
    rows, reference = load_results("runs/small"), load_results(whole)
    assert rows.drop(columns=timings).equals(reference.drop(columns=timings))
    assert ntbench("table", "runs/small").code == 0
    refused = ntbench("merge", "runs/other", "runs")
    assert (refused.code, "holds no ledger.jsonl" in refused.err) == (2, True)


def test_debug_opens_the_debugger_where_a_trial_goes_wrong(tmp_path, ntbench, monkeypatch):
    plugin = tmp_path / "broken.py"
    plugin.write_text(BROKEN)
    suite = tmp_path / "small.toml"
    suite.write_text(SUITE.replace('"zero-shot", "feature-extraction", "fine-tune"', '"broken", "feature-extraction"'))
    options = ("--plugin", plugin, "--where", "source=near", "size=40", "seed=0", "--jobs", 0, "--device", "cpu")
    monkeypatch.chdir(tmp_path)
    done = ntbench("run", suite, *options)
    assert done.code == 1
    before = (tmp_path / "runs/small/ledger.jsonl").read_bytes()
    failed = re.search(r"--traceback (\w+)", done.err)[1]
    monkeypatch.setattr("sys.stdin", io.StringIO("print('here', record['row']['strategy'])\nq\n"))
    found = ntbench("debug", failed, "--plugin", plugin)
    assert found.code == 1
    assert "training diverged" in found.err
    assert "here broken" in found.out
    rows = load_results("runs/small")
    good = rows[(rows.status == "ok") & rows.source.notna()].iloc[0]
    for file in (tmp_path / "runs/small/sources").iterdir():
        file.unlink()  # what a trial starts from is trained again, elsewhere
    found = ntbench("debug", good.key, "--out", "runs/small", "--plugin", plugin)
    assert found.code == 0, found.err
    assert f"test_accuracy: {good.test_accuracy}" in found.out
    assert (tmp_path / "runs/small/ledger.jsonl").read_bytes() == before
    assert not list((tmp_path / "runs/small/sources").iterdir())
    unrun = next(t for t in bench.plan(suite, "runs/small").trials() if t.model is None and t.seed == 1)
    assert unrun.key not in set(rows.key)  # as of a trial that hangs: it has no row
    found = ntbench("debug", unrun.key[:12], "--plugin", plugin)
    assert (found.code, found.out.splitlines()[0]) == (0, f"{unrun.key}: ok")
    assert (tmp_path / "runs/small/ledger.jsonl").read_bytes() == before
    for key, said in (("zzz", "no trial or source model"), ("", "no trial or source model")):
        unknown = ntbench("debug", key, "--out", "runs/small")
        assert (unknown.code, said in unknown.err) == (2, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--launcher", "rays"), 'unknown launcher "rays"; did you mean "ray"?'),
        (("--launcher", "inline", "--jobs", "2"), "runs in this process alone"),
        (("--launcher", "processes", "--jobs", "0"), "needs at least one"),
        (("--timeout", "0"), "--timeout 0: must be above 0"),
        (("--jobs", "0", "--timeout", "5"), 'the launcher "inline" has no such option; --launcher processes or ray'),
        (("--address", "here:1"), '--address: the launcher "processes" has no such option; --launcher ray has'),
        (("--launcher", "ray", "--gpus", "1.5"), "must be a whole number of GPUs"),
        (("--launcher", "ray", "--gpus", "-1"), "must be 0 or more"),
        (("--launcher", "ray", "--gpus", "1", "--device", "cpu"), "not with --device cpu"),
        (("--launcher", "ray", "--cpus", "nan"), "--cpus nan: must be above 0"),
        (("--shard", "3/2"), "write i/n, such as 2/8"),
    ],
)
def test_means_that_cannot_be_are_said(suite, tmp_path, ntbench, options, said):
    done = ntbench("run", suite, "--out", tmp_path / "out", *options)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "out").exists()


def test_ray_is_asked_for_where_it_is_not_installed(suite, tmp_path, ntbench, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not there
    monkeypatch.delitem(sys.modules, "bench.launch.cluster", raising=False)
    done = ntbench("run", suite, "--out", tmp_path / "out", "--launcher", "ray")
    assert done.code == 2
    assert "pip install 'ntbench[ray]'" in done.err
    assert "Traceback" not in done.err
