"""Two checkouts are the same where every stored value but time is, to the bit; what differs is named."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import pytest

import bench
from bench.ledger.file import LEDGER, encode, read_records
from tests.compare_checkouts import BAD, DIFFERENT, SAME, main


@pytest.fixture(scope="module")
def run_folder(small_suite, tmp_path_factory) -> Path:
    """A small run: 28 trials, 4 source models."""
    folder = tmp_path_factory.mktemp("run")
    bench.run({**small_suite, "measures": ["leep"], "predictions": False}, folder, jobs=0)
    (folder / "weights").mkdir(exist_ok=True)
    (folder / "weights" / "abc.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def other(run_folder, tmp_path) -> Path:
    """A copy of it."""
    for name in (LEDGER, "weights"):
        path = run_folder / name
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / name)
    return tmp_path


def rewrite(folder: Path, change) -> None:
    """Write the ledger anew with what `change` makes of its list of records."""
    (folder / LEDGER).write_bytes(b"".join(map(encode, change([*read_records(folder)]))))


def of_kind(records, kind):
    return [record for record in records if record["kind"] == kind]


def last_bit(holder, name):
    holder[name] = math.nextafter(holder[name], 9.0)


def plant(kind, edit, every=False):
    """Return what edits one record of a kind, or all of them."""

    def change(records):
        for record in of_kind(records, kind)[:: 1 if every else 10**6]:
            edit(record)
        return records

    return change


def take_out(record):
    del record["row"]["classes_predicted"]


def new_version(record):
    record["versions"] = {"leep": 2}
    record["key"] += "x"
    last_bit(record["values"], "leep")


def fail(record):
    record["row"].update(status="failed", error="no")


PLANTED = {
    "nothing": (lambda records: records, SAME, "trials: 28 the same to the bit\n"),
    "order": (lambda records: records[::-1], SAME, "trials: 28 the same to the bit\n"),
    "seconds": (plant("trial", lambda r: r["row"].update(seconds=1e3)), SAME, "trials: 28 the same to the bit\n"),
    "a column in one alone": (plant("trial", take_out, True), SAME, "columns in A only: classes_predicted\n"),
    "a new measure": (plant("similarity", new_version, True), SAME, "leep: version 1 in A, 2 in B; its values are not"),
    "last bit of a loss": (
        plant("trial", lambda r: last_bit(r["row"], "test_loss")),
        DIFFERENT,
        "trials: 27 the same to the bit, 1 differ\n    test_loss differs in 1:\n      target digits, backbone cnn, ",
    ),
    "last bit of a curve": (
        plant("trial", lambda r: last_bit(r["detail"]["curve"][0], 2)),
        DIFFERENT,
        "trials: 27 the same to the bit, 1 differ\n    curve differs in 1:\n",
    ),
    "whole numbers for floats": (
        plant("trial", lambda r: r["row"].update(steps=float(r["row"]["steps"]))),
        DIFFERENT,
        "steps differs in 1:\n",
    ),
    "a value of some rows": (plant("trial", take_out), DIFFERENT, "classes_predicted differs in 1:\n"),
    "a failure": (plant("trial", fail), DIFFERENT, "status differs in 1:\n"),
    "a key": (
        plant("trial", lambda r: r.update(key="other")),
        DIFFERENT,
        "trials: 27 the same to the bit, 1 with another key, equal otherwise\n    what changed of keys: key (1)\n",
    ),
    "a source model's key": (
        plant("trial", lambda r: r.update(source_model="other" if "source_model" in r else None), True),
        DIFFERENT,
        "trials: 4 the same to the bit, 24 with another key, equal otherwise\n"
        "    what changed of keys: source_model (24)\n",
    ),
    "a key and a value": (
        plant("trial", lambda r: (r.update(key="other"), last_bit(r["row"], "test_loss"))),
        DIFFERENT,
        "trials: 27 the same to the bit, 1 with another key, and differ\n",
    ),
    "a source model": (
        plant("source", lambda r: r.update(file="other")),
        DIFFERENT,
        "source models: 3 the same to the bit, 1 differ\n    file differs in 1:\n",
    ),
    "a measure": (plant("similarity", lambda r: last_bit(r["values"], "leep")), DIFFERENT, "leep differs in 1:\n"),
    "a task": (plant("task", lambda r: r["card"].update(fingerprint="other")), DIFFERENT, "fingerprint differs in 1:"),
    "a missing row": (
        lambda records: [r for r in records if r is not of_kind(records, "trial")[0]],
        DIFFERENT,
        "trials: 27 the same to the bit, 1 in A only\n    in A only: target digits, backbone cnn, strategy scratch",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_change_is_found_and_named(name, run_folder, other, capsys):
    change, code, said = PLANTED[name]
    rewrite(other, change)
    assert main([str(run_folder), str(other)]) == code
    out = capsys.readouterr().out
    assert said in out
    assert out.splitlines()[-1] == {SAME: "The same to the bit, but for what is named above.", 1: "Different."}[code]


def test_what_examples_weighed_is_compared(run_folder, other, capsys):
    (other / "weights" / "abc.safetensors").write_bytes(b"Weights")
    assert main([str(run_folder), str(other)]) == DIFFERENT
    assert "weights of source examples: 0 the same to the bit, 1 differ\n" in capsys.readouterr().out


def test_what_cannot_be_compared_is_bad_input(run_folder, other, tmp_path, capsys):
    def refused(*arguments):
        assert main([str(argument) for argument in arguments]) == BAD
        return capsys.readouterr().err

    assert "neither a checkout (with bench/ and experiments/) nor a run folder" in refused(run_folder, tmp_path / "no")
    assert "--suite is for checkouts" in refused(run_folder, other, "--suite", "default")
    whole = (other / LEDGER).read_bytes()
    (other / LEDGER).write_bytes(whole[:-40])
    assert "cut short" in refused(run_folder, other)
    rewrite(other, lambda records: [r for r in records if r["kind"] != "trial"])
    assert "holds no trials to compare" in refused(run_folder, other)


# What stands for a checkout's bench: it leaves a stored ledger and says how it was run.
FAKE = """
import os, shutil, sys, time
from pathlib import Path
here = Path(__file__).parent
_, run, suite, _, out, *rest = sys.argv
if "MNIST" in Path(suite).read_text() and "NTBENCH_DATA" not in os.environ:
    time.sleep(600 if here.parent.name == "before" else 0)  # is told to stop, since the other one says it first
    print('error: suite "shop"\\n  no data root; point the data root (or NTBENCH_DATA) to where the files are')
    sys.exit(2)
if "broken" in suite and here.parent.name == "after":
    time.sleep(600)  # is told to stop, since the other one cannot be run
if "broken" in suite:
    print("error: what is this?")
    sys.exit(2)
Path(out).mkdir()
shutil.copy(here / "kept.jsonl", Path(out) / "ledger.jsonl")
(Path(out) / "how").write_text(" ".join([run, *rest, os.environ["OMP_NUM_THREADS"], str(Path.cwd() == here.parent)]))
"""


@pytest.fixture
def checkouts(run_folder, tmp_path, monkeypatch):
    """Two checkouts of which one computes another loss."""
    monkeypatch.delenv("NTBENCH_DATA", raising=False)
    found = []
    for name in ("before", "after"):
        root = tmp_path / name
        (root / "bench").mkdir(parents=True)
        (root / "experiments").mkdir()
        (root / "bench" / "__init__.py").touch()
        (root / "bench" / "__main__.py").write_text(FAKE)
        for suite, text in {"tiny": "seeds = 2", "mnist": 'tasks = ["MNIST"]', "broken": ""}.items():
            (root / "experiments" / f"{suite}.toml").write_text(text)
        shutil.copy(run_folder / LEDGER, root / "bench" / "kept.jsonl")
        found.append(root)
    return found


def compare(checkouts, out, *suites):
    return main([*map(str, checkouts), "--out", str(out), *(f"--suite={suite}" for suite in suites)])


def test_each_checkout_runs_its_own_code(checkouts, tmp_path, capsys):
    out = tmp_path / "out"
    assert compare(checkouts, out, "tiny:0-1") == SAME
    for side in "ab":
        assert (out / side / "tiny" / "how").read_text() == "run --jobs 1 --seeds 0-1 1 True"
    records = [*read_records(out / "a" / "tiny")]
    last_bit(of_kind(records, "trial")[0]["row"], "test_loss")
    (checkouts[1] / "bench" / "kept.jsonl").write_bytes(b"".join(map(encode, records)))
    assert compare(checkouts, tmp_path / "again", "tiny") == DIFFERENT
    assert "test_loss differs in 1:" in capsys.readouterr().out
    # Runs that are there may be of other code.
    assert compare(checkouts, out, "tiny") == BAD
    assert "is in use" in capsys.readouterr().err


def test_a_suite_whose_data_are_missing_is_skipped_aloud(checkouts, tmp_path, monkeypatch, capsys):
    assert compare(checkouts, tmp_path / "one", "mnist", "tiny") == BAD
    said = capsys.readouterr().out
    assert "suite mnist\n  SKIPPED, nothing was compared: no data root; point the data root" in said
    assert "SKIPPED for want of data: mnist" in said.splitlines()[-1]
    assert "trials: 28 the same to the bit" in said
    assert compare(checkouts, tmp_path / "alone", "mnist") == BAD
    assert "Nothing was compared." in capsys.readouterr().out
    monkeypatch.setenv("NTBENCH_DATA", os.devnull)
    assert compare(checkouts, tmp_path / "two", "mnist") == SAME


def test_what_is_no_checkout_or_suite_is_said_before_anything_runs(checkouts, run_folder, tmp_path, capsys):
    def refused(checkouts, *suites):
        assert compare(checkouts, tmp_path / "out", *suites) == BAD
        return capsys.readouterr().err

    assert "what is this?" in refused(checkouts, "broken")
    shutil.rmtree(tmp_path / "out")
    assert 'there is no suite "tinny"' in refused(checkouts, "tiny", "tinny")
    assert "are one checkout" in refused([checkouts[0], checkouts[0] / "bench" / ".."], "tiny")
    assert "must both be checkouts or both run folders" in refused([checkouts[0], run_folder], "tiny")
    (checkouts[1] / "bench" / "__init__.py").unlink()
    assert "bench is imported from" in refused(checkouts, "tiny")
    assert not (tmp_path / "out").exists()


def test_suites_that_ask_for_different_things_are_noted(checkouts, tmp_path, capsys):
    (checkouts[1] / "experiments" / "tiny.toml").write_text("# a comment\nseeds = 2")
    compare(checkouts, tmp_path / "one", "tiny")
    assert "the two files of this suite differ" not in capsys.readouterr().out
    (checkouts[1] / "experiments" / "tiny.toml").write_text("seeds = 3")
    compare(checkouts, tmp_path / "two", "tiny")
    assert "the two files of this suite differ" in capsys.readouterr().out
