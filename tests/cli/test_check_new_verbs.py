"""``ntbench check`` and ``ntbench new``: every mistake at once, and files that run as they are."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from cli_suite import SUITE
from PIL import Image

from bench.ledger.file import read_records
from bench.ledger.results import load_results
from bench.registry import BACKBONES

REPOSITORY = Path(__file__).resolve().parents[2]

MISTAKES = """\
strategies = ["fine-tun"]
target_sizes = [20, -5]
seeds = "0-x"
image_sise = 16

[[pairs]]
target = "digits"
[[pairs]]
target = "digits"
source = "noisee"
[recipe]
step = 100
"""
NAMES = """\
backbones = ["cnm"]
strategies = [{ strategy = "fine-tune", depth = [1] }]
measures = ["leap"]
target_sizes = [20]

[tasks]
noisy = { task = "printed-digit" }
other = { task = "digits", label_nois = 0.4 }

[[pairs]]
sources = ["noisy", "other"]
target = "didgits"
"""
GOOD = """
import numpy as np
import bench


@bench.task("{name}-task")
def task(root):
    y = np.arange(60) % 2
    return bench.Task(np.random.default_rng(0).random((60, 3)) + y[:, None], y, ["a", "b"])


@bench.strategy("{name}-strategy")
def strategy(depth):
    yield bench.point("{name}", depth, depth)


@bench.change("{name}_change")
def change(task, rng):
    return task.changed(x=task.x.copy())


@bench.change("{name}_asking")
def asking(task, rng, amount):
    return task


@bench.measure("{name}-measure")
def measure(view):
    return float(view.target_features.mean())


@bench.backbone("{name}-backbone", depth=1)
def backbone(shape):
    from torch import nn
    if len(shape) != 3 or shape[1] < 32:
        raise bench.BenchError("needs images of at least 32 pixels")
    from bench.backbones.base import Backbone
    return Backbone({{"b1": nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 4))}}, 4)
"""
BAD = """
import numpy as np
import bench


@bench.task("{name}-task")
def task(root):
    return bench.Task(np.random.random((60, 3)), np.arange(60) % 2, ["a", "b"])


@bench.strategy("{name}-strategy")
def strategy(depth):
    yield bench.point("{name}", depth + 1, 0)
    yield bench.point("{name}", depth + 1, 0)


@bench.change("{name}_change")
def change(task, rng):
    task.x[:] = 0
    return task


@bench.measure("{name}-measure")
def measure(view):
    return float("nan")


@bench.backbone("{name}-backbone", depth=2)
def backbone(shape):
    from bench.backbones.base import BACKBONES
    return BACKBONES.get("mlp").function(shape, widths=[4])
"""


@pytest.mark.parametrize("verb", ["check", "plan", "run"])
def test_seven_mistakes_in_a_suite_are_seven_messages_each_with_its_place(verb, tmp_path, ntbench):
    suite = tmp_path / "mistakes.toml"
    suite.write_text(MISTAKES)
    done = ntbench(verb, suite)
    assert done.code == 2
    assert "7 problems" in done.err
    for said in (
        "target_sizes[1] (line 2): -5: a size must be at least 1",
        'seeds (line 3): "0-x" is neither a seed nor a range',
        'image_sise (line 4): unknown key "image_sise"; did you mean "image_size"?',
        'pairs[0] (line 6): give either source = "..." or sources',
        'recipe.step (line 12): unknown key "step"; did you mean "steps"?',
        'strategies[0] (line 1): unknown strategy "fine-tun"; did you mean "fine-tune"?',
        'pairs[1].source (line 10): unknown task "noisee"; did you mean "noise"?',
    ):
        assert said in done.err
    assert "Traceback" not in done.err


def test_five_unknown_names_each_with_the_nearest(tmp_path, ntbench):
    suite = tmp_path / "names.toml"
    suite.write_text(NAMES)
    done = ntbench("check", suite)
    assert done.code == 2
    for place, meant in (
        ("backbones[0] (line 1)", "cnn"), ("measures[0] (line 3)", "leep"), ("tasks.noisy.task", "printed-digits"),
        ("tasks.other", "label_noise"), ("pairs[0].target (line 12)", "digits"),
    ):  # fmt: skip
        line = next(line for line in done.err.splitlines() if place in line)
        assert f'did you mean "{meant}"' in line


def test_a_good_suite(suite, ntbench):
    done = ntbench("check", suite)
    assert done.code == 0
    said, recipe = done.out.splitlines()
    assert said == "ok       suite small: 4 source models, 32 trials; its data were not read (--data)"
    assert recipe.strip().startswith("recipe: sgd")
    read = ntbench("check", suite, "--data")
    assert read.code == 0
    assert "ok       task noisy" in read.out


def test_what_only_data_can_show(tmp_path, ntbench):
    x = np.random.default_rng(0).integers(0, 255, (40, 1, 8, 8), dtype=np.uint8)
    y = np.arange(40) % 2
    np.savez(tmp_path / "leaking.npz", x=x, y=y, x_test=x[:10], y_test=y[:10])
    suite = tmp_path / "data.toml"
    text = SUITE.replace("[20, 40]", "[5]").replace(
        '{ task = "printed-digits", n = 200, n_test = 50, image_size = 8 }', '{ npz = "leaking.npz" }'
    )
    suite.write_text(text)
    done = ntbench("check", suite, "--data")
    assert done.code == 2
    assert "10 of 10 test images are also in the train pool" in done.out
    assert 'target "digits", size 5: leaves 4 examples to train on' in done.out


def test_a_good_plug_in(tmp_path, ntbench):
    plugin = tmp_path / "good.py"
    plugin.write_text(GOOD.format(name="good"))
    done = ntbench("check", plugin)
    assert done.code == 0, done.out + done.err
    kinds = ("task good-task", "strategy good-strategy", "change good_change", "measure good-measure")
    for subject in (*kinds, "backbone good-backbone"):
        assert f"ok       {subject}\n" in done.out
    assert 'skipped  change good_asking: change "good_asking" needs the argument "amount"' in done.out
    assert ntbench("check", "good-task", "--plugin", plugin).code == 0


def test_every_broken_contract_of_a_plug_in(tmp_path, ntbench):
    plugin = tmp_path / "bad.py"
    plugin.write_text(BAD.format(name="bad"))
    done = ntbench("check", plugin)
    assert done.code == 2
    for subject, said in (
        ("task bad-task", "two builds differ in x"),
        ("strategy bad-strategy", "more than the backbone has"),
        ("change bad_change", "in place"),
        ("measure bad-measure", "returned nan"),
        ("backbone bad-backbone", "declares 2 blocks but has 1"),
    ):
        assert f"WRONG    {subject}\n" in done.out
        assert said in done.out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "registers nothing"),
        ("import nowhere_at_all\n", "line 1: ModuleNotFoundError"),
        ("def (", "SyntaxError"),
    ],
)
def test_plug_ins_that_cannot_be_used(tmp_path, ntbench, text, said):
    plugin = tmp_path / "wrong.py"
    plugin.write_text(text)
    done = ntbench("check", plugin)
    assert done.code == 2
    assert said in done.err


def test_names_and_several_things_at_once(suite, ntbench):
    done = ntbench("check", "fine-tune", "label_noise", "uniform", "digits", "digts", "nowhere.toml", suite)
    assert done.code == 2
    for line in ("ok       strategy fine-tune", "ok       change label_noise", "ok       task digits"):
        assert line in done.out
    assert "ok       weighting uniform" in done.out
    assert 'unknown file or name "digts"; did you mean "digits"?' in done.err
    assert "no suite at nowhere.toml" in done.err
    assert "ok       suite small" in done.out


def test_a_new_pair_checks_and_runs_as_it_is(tmp_path, ntbench, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = ntbench("new", "pair", "mine")
    assert done.code == 0
    assert "next: ntbench check mine.toml --data" in done.out
    assert ntbench("check", "mine.toml", "--data").code == 0
    # As it stands, but for the time that a test may take: one seed, and fewer steps.
    text = (tmp_path / "mine.toml").read_text() + "\n[recipe]\nsteps = 5\n[source_recipe]\nsteps = 5\n"
    (tmp_path / "mine.toml").write_text(text)
    ran = ntbench("run", "mine.toml", "--jobs", 0, "--device", "cpu", "--seeds", "0", "--out", "out")
    assert ran.code == 0, ran.err
    assert set(load_results(tmp_path / "out").source.dropna()) == {"mine-source", "mine-hostile"}


def test_a_new_pair_with_a_task_of_its_own(tmp_path, ntbench):
    done = ntbench("new", "pair", "own", "--task", "--folder", tmp_path / "sub")
    assert done.code == 0
    assert ntbench("check", tmp_path / "sub" / "own.toml", "--data").code == 0
    body = (tmp_path / "sub" / "own_task.py").read_text().split("@bench.task")[1]
    assert len(("@bench.task" + body).strip().splitlines()) <= 10


KINDS = ("task", "change", "backbone", "strategy", "adaptation", "measure", "weighting", "metric")
SCAFFOLDS = """\
plugins      = [{plugins}]
backbones    = ["my-backbone"]
strategies   = ["my-strategy", {{ strategy = "my-strategy", adapt = "my-adaptation" }}]
weighting    = ["my-weighting"]
measures     = ["my-measure"]
target_sizes = [20]
seeds        = 1
recipe        = {{ steps = 3, checkpoints = 1, learning_rates = [0.1] }}
source_recipe = {{ steps = 3 }}

[tasks]
changed = {{ task = "my-task", my_change = 0.5 }}

[[pairs]]
target = "my-task"
source = "changed"
"""


def test_what_is_new_keeps_its_contract_and_runs_in_a_suite(tmp_path, ntbench):
    for kind in KINDS:
        made = ntbench("new", kind, f"my-{kind}", "--folder", tmp_path)
        assert made.code == 0
        assert f"next: ntbench check {tmp_path / f'my_{kind}.py'}" in made.out
        done = ntbench("check", tmp_path / f"my_{kind}.py")
        assert done.code == 0, done.out
        assert f"ok       {kind} {'my_change' if kind == 'change' else f'my-{kind}'}\n" in done.out
    suite = tmp_path / "all.toml"
    suite.write_text(SCAFFOLDS.format(plugins=", ".join(f'"my_{kind}.py"' for kind in KINDS)))
    ran = ntbench("run", suite, "--jobs", 0, "--device", "cpu", "--out", tmp_path / "out")
    assert ran.code == 0, ran.err
    rows = load_results(tmp_path / "out")
    mine = rows[rows.strategy == "my-strategy"]
    assert set(mine.backbone) == {"my-backbone"}
    assert set(mine.weighting) == {"uniform", "my-weighting"}
    assert sorted(set(zip(mine.transfer_depth, mine.frozen_depth, strict=True))) == [(1, 0), (2, 1), (3, 1)]
    assert (mine.my_measure > 0).all()
    assert set(rows[rows.strategy == "my-strategy+my-adaptation"]["adapt"]) == {"my-adaptation"}


def test_the_readme_s_own_backbone_keeps_its_contract(tmp_path, ntbench):
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```python\n(# net\.py\n.*?)```", readme, re.DOTALL)
    (tmp_path / "net.py").write_text(text)
    done = ntbench("check", tmp_path / "net.py")
    assert done.out == "ok       backbone small-net\n"
    assert BACKBONES.get("small-net").meta["depth"]() == 2  # as it says there


def test_scaffolds_overwrite_nothing_and_want_a_name(tmp_path, ntbench):
    assert ntbench("new", "pair", "mine", "--folder", tmp_path).code == 0
    before = (tmp_path / "mine.toml").read_text()
    again = ntbench("new", "pair", "mine", "--folder", tmp_path)
    assert again.code == 2
    assert "is there already" in again.err
    assert (tmp_path / "mine.toml").read_text() == before
    for name in ("../up", "a b", "1st"):
        assert ntbench("new", "pair", name, "--folder", tmp_path).code == 2
    assert ntbench("new", "task", "x", "--folder", tmp_path / "mine.toml").code == 2


def test_what_is_done_to_the_data_is_said_before_and_in_the_run(tmp_path, ntbench, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for part, n in (("train", 30), ("val", 8)):
        for name in ("ant", "bee"):
            for k in range(n):
                path = tmp_path / "data" / part / name / f"{k}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 255, (12, 10 + k % 5), np.uint8)).save(path)
    np.savez(tmp_path / "wide.npz", x=rng.integers(0, 255, (20, 12, 20), np.uint8), y=np.arange(20) % 2)
    (tmp_path / "mine.toml").write_text(
        'target_sizes = [20]\nseeds = 1\nimage_size = 8\nmeasures = []\nstrategies = ["feature-extraction"]\n'
        'recipe = { steps = 5 }\nsource_recipe = { steps = 5 }\n[tasks]\nbees = { folder = "data" }\n'
        'wide = { npz = "wide.npz" }\n'
        '[[pairs]]\ntarget = "bees"\nsource = "digits"\n'
    )
    cropped = "bees: images: 60 of 76 cropped to their centre square"
    given = "bees: test set: the 16 examples of the given validation split, as there is no other"
    cut = "digits: test set: 539 of 1,797 examples (30%) cut off by the protocol, stratified by class"
    held = "bees: validation: 4 of 20 labelled examples cut off"
    checked = ntbench("check", "mine.toml", "--data")
    ran = ntbench("run", "mine.toml", "--jobs", 0)
    assert (checked.code, ran.code) == (0, 0)
    for said in (cropped, given, cut, held):
        assert f"note     {said}" in checked.out
        assert f"note: {said}" in ran.err
    assert ntbench("report", "runs/mine").code == 0
    (page,) = (tmp_path / "runs" / "mine").glob("*.html")
    assert f"<p>{given}" in page.read_text()
    shown = ntbench("show", "digits->bees", "--suite", "mine.toml")
    assert given.removeprefix("bees: ") in shown.out
    assert "brought to" not in shown.out  # both are of that shape already
    assert (tmp_path / "digits-to-bees.png").is_file()
    shown = ntbench("show", "wide", "--suite", "mine.toml")
    assert "networks see their centre of 12 x 12, brought to 1 x 8 x 8" in shown.out
    records = [record for record in read_records(tmp_path / "runs" / "mine") if record["kind"] == "task"]
    cards = {record["card"]["name"]: record["card"] for record in records}
    assert [note.partition(":")[0] for note in cards["bees"]["notes"]] == ["images", "test set"]
