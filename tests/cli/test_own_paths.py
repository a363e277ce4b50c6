"""A user's own files, named in every form: no path decides which rows are whose."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.ledger.results import load_results

SUITE = """\
backbones = [{{ backbone = "mlp", widths = [4] }}]
strategies = ["fine-tune"]
target_sizes = [20]
seeds = 2
tasks.near = {{ {kind} = "{near}" }}
tasks.far = {{ {kind} = "{far}" }}
pairs = [{{ target = "near", source = "far" }}]
recipe = {{ steps = 20, learning_rates = [0.1], checkpoints = 1 }}
source_recipe = {{ steps = 3 }}
"""
KINDS = {"table": ".csv", "npz": ".npz", "folder": ""}
TRIALS = 2 + 2  # scratch, and fine-tuning the one block


def write(kind, path, shift, rng):
    """Write sixty examples of two classes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y = np.arange(60) % 2
    if kind == "folder":
        for number, label in enumerate(y):
            image = np.clip(rng.normal(80 + 90 * label + shift, 20, (6, 6)), 0, 255).astype(np.uint8)
            (path / f"class-{label}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path / f"class-{label}" / f"{number}.png")
        return
    x = rng.normal(size=(60, 3)) + 2 * y[:, None] + shift
    if kind == "npz":
        np.savez(path, x=x, y=y)
    else:
        pd.DataFrame(x, columns=["a", "b", "c"]).assign(label=y).to_csv(path, index=False)


def lay_out(kind, home):
    """Write a study: data in one folder, and beside it one for the suite."""
    rng = np.random.default_rng(0)
    for shift, name in enumerate(("near", "far")):
        write(kind, home / "data" / f"{name}{KINDS[kind]}", shift, rng)
    (home / "suites").mkdir()


def write_suite(home, kind, folder):
    near, far = (f"{folder}/{name}{KINDS[kind]}" for name in ("near", "far"))
    path = home / "suites" / "own.toml"
    path.write_text(SUITE.format(kind=kind, near=near, far=far))
    return path


def run(ntbench, suite):
    return ntbench("run", suite, "--jobs", 0, "--device", "cpu")


def assert_whole(ntbench, folder, tmp_path):
    """Every verb that reads a run folder finds the rows of its suite."""
    table = ntbench("table", folder, "--format", "csv")
    assert (table.code, table.err) == (0, "")
    assert len(table.out.splitlines()) == 1 + 1
    state = json.loads(ntbench("status", folder, "--json").out)
    assert state["suites"]["own"]["trials"] == {"done": TRIALS, "failed": 0, "missing": 0}
    assert state["suites"]["own"]["source_models"]["done"] == 2
    page = tmp_path / "page.html"
    assert ntbench("report", folder, "--out", page).code == 0
    assert f"{TRIALS} trials, 1 comparison" in page.read_text()
    assert ntbench("export", folder, "--out", tmp_path / "export").code == 0
    assert len(pd.read_parquet(tmp_path / "export" / "comparisons.parquet")) == 1
    assert ntbench("diff", folder, folder).code == 0


def keys_of(folder):
    return sorted(load_results(folder)["key"])


@pytest.mark.parametrize(
    ("kind", "form"),
    [(kind, form) for kind in KINDS for form in ("relative", "absolute", "parent", "home", "link")],
)
def test_rows_are_found_again_in_whatever_form_their_data_are_named(kind, form, tmp_path, ntbench, monkeypatch):
    home = tmp_path / "study"
    lay_out(kind, home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    if form == "relative":
        (home / "data").rename(home / "suites" / "data")
    if form == "link":
        os.symlink(home / "data", home / "suites" / "linked")
    folder = {
        "relative": "data", "absolute": (home / "data").as_posix(), "parent": "../suites/../data", "home": "~/data",
        "link": "linked",
    }[form]  # fmt: skip
    suite = write_suite(home, kind, folder)
    done = run(ntbench, "suites/own.toml")
    assert done.code == 0, done.err
    assert_whole(ntbench, "runs/own", tmp_path)
    again = run(ntbench, suite)
    assert f"{TRIALS} trials: {TRIALS} done, 0 missing" in again.err
    trial = ntbench("debug", keys_of("runs/own")[0])
    assert (trial.code, "ok" in trial.out) == (0, True)


def test_one_suite_has_one_set_of_keys_wherever_its_files_are(tmp_path, ntbench, monkeypatch):
    keys, folders = [], []
    for place, form in (("here", "../data"), ("there/deep", "absolute")):
        home = tmp_path / place
        lay_out("table", home)
        monkeypatch.chdir(home)
        suite = write_suite(home, "table", (home / "data").as_posix() if form == "absolute" else form)
        assert run(ntbench, suite).code == 0
        keys.append(keys_of("runs/own"))
        folders.append(home / "runs" / "own")
    assert keys[0] == keys[1]
    merged = ntbench("merge", tmp_path / "runs" / "merged", *folders)
    assert merged.code == 0, merged.err
    assert keys_of(tmp_path / "runs" / "merged") == keys[0]


def test_a_run_folder_and_its_suite_may_move_together_and_apart(tmp_path, ntbench, monkeypatch):
    home, moved, alone = tmp_path / "before", tmp_path / "after", tmp_path / "elsewhere"
    lay_out("table", home)
    monkeypatch.chdir(home)
    assert run(ntbench, write_suite(home, "table", "../data")).code == 0
    key = keys_of("runs/own")[0]

    home.rename(moved)
    monkeypatch.chdir(moved)
    assert_whole(ntbench, "runs/own", tmp_path)
    assert ntbench("debug", key).code == 0
    assert f"{TRIALS} trials: {TRIALS} done" in run(ntbench, "suites/own.toml").err

    shutil.copytree(moved / "runs" / "own", alone / "own")
    monkeypatch.chdir(alone)
    assert_whole(ntbench, "own", tmp_path)
    lost = ntbench("debug", key, "--out", "own")
    assert lost.code == 2
    assert "near.csv" in lost.err
    assert "--suite" in lost.err
    assert "Traceback" not in lost.err
    assert ntbench("debug", key, "--out", "own", "--suite", moved / "suites" / "own.toml").code == 0


def test_a_run_folder_behind_a_link_leads_to_the_same_suite(tmp_path, ntbench, monkeypatch):
    home, disk = tmp_path / "study", tmp_path / "large" / "disk"
    lay_out("table", home)
    disk.mkdir(parents=True)
    os.symlink(disk, home / "runs")
    os.symlink(home / "suites", tmp_path / "suites")
    suite = write_suite(home, "table", "../data")
    monkeypatch.chdir(home)
    assert run(ntbench, tmp_path / "suites" / suite.name).code == 0
    assert_whole(ntbench, "runs/own", tmp_path)
    assert ntbench("debug", keys_of("runs/own")[0]).code == 0


def test_rows_follow_what_a_file_holds_and_not_its_name(tmp_path, ntbench, monkeypatch):
    lay_out("table", tmp_path)
    monkeypatch.chdir(tmp_path)
    suite = write_suite(tmp_path, "table", "../data")
    assert run(ntbench, suite).code == 0
    before = keys_of("runs/own")
    (tmp_path / "data").rename(tmp_path / "renamed")
    assert run(ntbench, write_suite(tmp_path, "table", "../renamed")).code == 0
    assert keys_of("runs/own") == before
    write("table", tmp_path / "renamed" / "near.csv", 5, np.random.default_rng(1))
    refused = ntbench("debug", before[0])
    assert (refused.code, 'the data of "near" are not those of the stored rows' in refused.err) == (2, True)
    assert 'the data of "near" are not those of the stored rows' in run(ntbench, suite).err
    assert not set(keys_of("runs/own")) & set(before)


def test_a_second_table_may_be_named_from_the_suite(tmp_path, ntbench, monkeypatch):
    lay_out("table", tmp_path)
    monkeypatch.chdir(tmp_path)
    suite = write_suite(tmp_path, "table", "../data")
    text = suite.read_text()
    for test_path in ("../data/far.csv", "far.csv"):
        suite.write_text(text.replace('near.csv"', f'near.csv", test_path = "{test_path}"'))
        assert run(ntbench, suite).code == 0
        assert set(load_results("runs/own")["n_test"]) == {60}


def test_rows_of_a_handed_in_model_stand_without_its_file(tmp_path, ntbench, monkeypatch):
    import torch

    from bench.backbones.base import build

    lay_out("table", tmp_path)
    monkeypatch.chdir(tmp_path)
    network = build("mlp", (3,), 2, 7, 7, widths=[4])
    torch.save(network.state_dict(), tmp_path / "data" / "mine.pt")
    suite = write_suite(tmp_path, "table", "../data")
    text = suite.read_text().replace('source = "far"', 'source = "mine"').replace("tasks.far", "#")
    suite.write_text(text + '[models]\nmine = { state_dict = "../data/mine.pt" }\n')
    assert run(ntbench, suite).code == 0
    before = keys_of("runs/own")
    (tmp_path / "data" / "mine.pt").rename(tmp_path / "data" / "other.pt")
    state = json.loads(ntbench("status", "runs/own", "--json").out)
    assert state["suites"]["own"]["trials"] == {"done": TRIALS, "failed": 0, "missing": 0}
    assert ntbench("table", "runs/own").code == 0
    refused = run(ntbench, suite)
    assert refused.code == 2
    assert "mine.pt" in refused.err
    suite.write_text(suite.read_text().replace("mine.pt", "other.pt"))
    assert f"{TRIALS} trials: {TRIALS} done" in run(ntbench, suite).err
    assert keys_of("runs/own") == before
