"""``ntbench diff`` and ``ntbench export``."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

import bench
from bench.errors import StoreError
from bench.ledger.file import LEDGER


@pytest.fixture
def committed(finished, tmp_path):
    """Write a folder with the finished run's rows, changed by a function."""

    def write(name, change=lambda rows: rows):
        folder = tmp_path / name
        folder.mkdir()
        change(pd.read_parquet(finished[1] / "results.parquet")).to_parquet(folder / "results.parquet")
        return folder

    return write


def shift(by, **where):
    def change(rows):
        hit = pd.Series(True, index=rows.index)
        for name, value in where.items():
            hit &= rows[name].eq(value).fillna(False)
        return rows.assign(test_accuracy=rows["test_accuracy"] + by * hit.astype(float))

    return change


def test_a_run_and_its_committed_rows_are_the_same(finished, committed, ntbench):
    done = ntbench("diff", finished[1], committed("same"))
    assert done.code == 0
    assert "trials: 32 the same to the bit\n" in done.out
    assert "comparisons: 16 the same\n" in done.out
    assert done.out.endswith("No change beyond noise.\n")


def test_noise_ends_with_0_a_change_with_1_and_missing_rows_with_3(finished, committed, ntbench):
    noise = ntbench("diff", finished[1], committed("noise", shift(0.002, seed=1)))
    assert noise.code == 0
    assert "16 changed within noise" in noise.out.replace("16 within noise", "16 changed within noise")
    change = ntbench("diff", finished[1], committed("change", shift(0.4, strategy="fine-tune", source="near")))
    assert change.code == 1
    assert "8 beyond noise" in change.out
    assert "near -> digits, cnn, fine-tune (2, 0), size 20, seed 0:" in change.out
    fewer = ntbench("diff", finished[1], committed("fewer", lambda rows: rows[rows["seed"] == 0]))
    assert fewer.code == 3
    assert "16 only in A" in fewer.out
    assert fewer.out.endswith("Rows are missing.\n")


def test_the_difference_for_programs(finished, committed, ntbench):
    done = ntbench("diff", finished[1], committed("b", shift(0.4, strategy="scratch", target_size=20)), "--json")
    found = json.loads(done.out)
    assert found["exit_code"] == done.code == 1
    trials = found["suites"]["small"]["trials"]
    assert (trials["same"], trials["beyond noise"]) == (30, 2)
    changed = found["suites"]["small"]["changed_trials"]
    assert {(row["strategy"], row["target_size"]) for row in changed} == {("scratch", 20)}
    assert found["suites"]["small"]["comparisons"]["beyond noise"] == 8


def test_a_suite_under_another_name_is_compared_and_several_are_matched(finished, committed, ntbench):
    done = ntbench("diff", finished[1], committed("renamed", lambda rows: rows.assign(suite="other")))
    assert done.code == 0
    assert 'suite "other"' in done.err
    two = committed("two", lambda rows: pd.concat([rows, rows.assign(suite="other")]))
    done = ntbench("diff", finished[1], two)
    assert done.code == 3
    assert f"suite other is in {two} only" in done.out


def test_what_cannot_be_compared(finished, committed, tmp_path, ntbench):
    (tmp_path / "empty").mkdir()
    for folder, said in (
        (tmp_path / "none", "no folder at"),
        (tmp_path / "empty", "holds no rows to compare"),
        (committed("else", lambda rows: rows.assign(target="letters")), "have no trial in common"),
    ):
        done = ntbench("diff", finished[1], folder)
        assert (done.code, done.out) == (2, "")
        assert said in done.err
    assert ntbench("diff", finished[1], finished[1], "--alpha", "2").code == 2


@pytest.mark.parametrize("fmt", ["csv", "parquet"])
def test_export_writes_what_the_library_gives(finished, tmp_path, ntbench, fmt):
    out = tmp_path / "out"
    done = ntbench("export", finished[1], "--format", fmt, "--out", out)
    assert done.code == 0
    assert done.out.splitlines() == [str(out / f"results.{fmt}"), str(out / f"comparisons.{fmt}")]
    rows = bench.load_results(finished[1])
    read = pd.read_csv if fmt == "csv" else pd.read_parquet
    for name, table in (("results", rows), ("comparisons", bench.negative_transfer(rows))):
        found = read(out / f"{name}.{fmt}")
        assert list(found.columns) == list(table.columns)
        assert len(found) == len(table)
        number = "test_accuracy" if name == "results" else "ntg"
        assert found[number].tolist() == pytest.approx(table[number].tolist())


def test_export_stands_beside_the_ledger_and_never_over_what_it_reads(finished, tmp_path, ntbench):
    shutil.copy(finished[1] / LEDGER, tmp_path)
    done = ntbench("export", tmp_path)
    assert done.out.splitlines() == [str(tmp_path / "results.parquet"), str(tmp_path / "comparisons.parquet")]
    (tmp_path / LEDGER).unlink()
    done = ntbench("export", tmp_path)
    assert done.code == 2
    assert "say where to write: --out" in done.err
    assert ntbench("export", tmp_path, "--format", "json").code == 2


def test_exported_examples_give_the_intervals_of_the_ledger(finished, tmp_path, ntbench):
    out = tmp_path / "out"
    done = ntbench("export", finished[1], "--examples", "--out", out)
    assert done.code == 0
    assert done.out.splitlines()[-1] == str(out / "examples.parquet")
    kept, stored = bench.load_correctness(out), bench.load_correctness(finished[1])
    rows = bench.load_results(out)
    assert set(kept) == set(stored) == set(rows["key"])
    assert all((kept[key] == stored[key]).all() for key in stored)
    table = bench.negative_transfer(rows, correct=kept)
    assert (table["resampled"] == "seeds and examples").all()
    pd.testing.assert_frame_equal(table, bench.negative_transfer(rows, correct=stored))


def test_examples_that_are_not_there_or_damaged_are_said(finished, committed, ntbench):
    folder = committed("rows-alone")
    with pytest.raises(StoreError, match="does not say which test examples were right"):
        bench.load_correctness(folder)
    assert ntbench("export", folder, "--examples", "--out", folder / "out").code == 2
    (folder / "examples.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(StoreError, match=r"cannot read .*examples\.parquet"):
        bench.load_correctness(folder)
