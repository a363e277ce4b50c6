"""A worker of a cluster needs no disk of the driver's: what it reads is sent, what it makes comes back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import bench
from bench.launch.node import PREFIX, Folder, Node
from bench.launch.shipping import needs, portable
from bench.launch.units import setup_to_json
from bench.suite import load_suite
from bench.suite.packing import pack_models, pack_trials
from bench.suite.plan import Plan
from bench.tasks.build import build_task, card_of, save_task
from bench.trial import Check, Measurement

PLUGIN = """
import bench

@bench.strategy("half")
def half(depth):
    yield bench.point("half", depth, depth - 1)
"""


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """A suite with a plug-in and a model of the user's, its rows, and a driver's folder that can go."""
    import tempfile

    import torch

    from bench.backbones.base import build
    from bench.registry import STRATEGIES

    here = tmp_path / "driver"
    (here / "own").mkdir(parents=True)
    (here / "half.py").write_text(PLUGIN)
    network = build("cnn", (1, 8, 8), 10, 0, 0, channels=[4, 4])
    torch.save(network.state_dict(), here / "own" / "mine.pt")
    (here / "suite.toml").write_text(
        'backbones = [{ backbone = "cnn", channels = [4, 4], name = "cnn" }]\n'
        'strategies = ["half", "joint"]\ntarget_sizes = [20]\nseeds = 2\nimage_size = 8\nmeasures = ["leep"]\n'
        'plugins = ["half.py"]\n[tasks]\nsource = { task = "printed-digits", n = 100, n_test = 50 }\n'
        '[models]\nmine = { state_dict = "own/mine.pt" }\n'
        '[[pairs]]\ntarget = "digits"\nsources = ["source", "mine"]\n'
        "[recipe]\nsteps = 4\nlearning_rates = [0.1]\ncheckpoints = 1\n[source_recipe]\nsteps = 4\n"
    )
    (tmp_path / "nodes").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nodes"))
    suite = load_suite(here / "suite.toml")
    yield suite, here, bench.run(suite, tmp_path / "reference", jobs=0)
    STRATEGIES._entries.pop("half", None)


def test_a_node_runs_everything_when_the_drivers_folder_is_gone(scene, tmp_path):
    suite, here, rows = scene
    work, sources = here / "work", here / "sources"
    work.mkdir()
    sources.mkdir()
    cards, plan = {}, Plan(suite)
    for spec in plan.tasks.values():
        task = build_task(spec, suite.root())
        cards[spec.digest] = card_of(task)
        save_task(task, work / f"{cards[spec.digest].fingerprint}.safetensors")
    plan = Plan(suite, cards, "cpu")
    setup, common = portable(setup_to_json(plan, work, sources, "cpu"), plan)
    trials = list(plan.trials())
    models = [t.model for t in trials if t.model and t.model.trained and t.model.source in plan.tasks]
    first = list(pack_models(plan, dict.fromkeys(models)))
    rest = [Check("digits", 0, next(t.model for t in trials if t.model and t.model.source == "mine"))]
    rest += [Measurement("m", models[0], "digits"), *pack_trials(plan, trials)]
    sent = {place: path.read_bytes() for place, path in common.items()}
    of = {unit: needs(plan, unit, work, sources) for unit in [*first, *rest]}
    sent |= {place: path.read_bytes() for files in of.values() for place, path in files.items() if path.exists()}
    shutil.rmtree(here)  # from now on there is what was sent, and nothing else

    node = Node("run-node", sent.__getitem__, {})
    try:
        node.configure(setup, {place: place for place in common})
        found = {}
        for unit in [*first, *rest]:
            answer = node.run(unit, {place: place for place in of[unit]}, None)
            assert "error" not in answer, answer
            sent |= answer["files"]
            found |= {record["key"]: record for record in answer["records"] if "key" in record}
    finally:
        node.close()
    assert found["m"]["values"]["leep"] is not None
    for row in rows.itertuples():
        assert found[row.key]["row"]["status"] == "ok", found[row.key]
        assert found[row.key]["row"]["test_loss"] == row.test_loss
    assert not list((tmp_path / "nodes").glob(f"{PREFIX}*"))


def test_a_folder_goes_with_its_last_worker_and_those_of_killed_workers_with_the_next(tmp_path):
    one, other = Folder("a", tmp_path), Folder("a", tmp_path)
    one.receive({"tasks/x": "x"}, lambda reference: b"1")
    other.receive({"tasks/x": "x"}, lambda reference: b"2")  # it is there: not fetched again
    one.close()
    assert (other.path / "tasks" / "x").read_bytes() == b"1"
    killed = Folder("killed", tmp_path)
    os.close(killed._lock)  # as the system does
    assert killed.path.is_dir()
    again = Folder("b", tmp_path)
    assert not killed.path.exists()
    assert other.path.is_dir()
    late = Folder("late", tmp_path)
    os.close(late._lock)
    other.close()
    assert not late.path.exists()
    assert again.path.is_dir()
    again.close()
    assert not list(Path(tmp_path).glob(f"{PREFIX}*"))


def test_a_machine_that_cannot_take_files_says_so(tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("bench.launch.node.Worker", lambda folder: None)
    node = Node("full", lambda reference: b"1", {})
    (node._folder.path / "tasks").write_text("in the way")
    assert "error" in node.run(Check("digits", 0), {"tasks/x": "x"}, None)
