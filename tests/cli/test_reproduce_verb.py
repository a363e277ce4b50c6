"""``ntbench reproduce``: from stored rows, and by running suites again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from bench.report import reproducible
from bench.report.reproducible import EVERYTHING, choose, products

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = ("comparisons.csv", "table.md", "results.parquet", "gap_map.png", "provenance.json")


@pytest.fixture
def stored(finished, tmp_path):
    """A folder of committed results, and one of suites."""
    suite, out, _ = finished
    folder = tmp_path / "results" / "small"
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copy(out / name, folder)
    (tmp_path / "experiments").mkdir()
    shutil.copy(suite, tmp_path / "experiments")
    return tmp_path


@pytest.fixture
def reproduce(stored, ntbench):
    def run(*arguments):
        places = ("--results", stored / "results", "--experiments", stored / "experiments", "--out", stored / "out")
        return ntbench("reproduce", *arguments, *places)

    return run


def test_without_a_name_it_lists_what_there_is(reproduce):
    done = reproduce()
    assert done.code == 0
    assert "table   small/table" in done.out
    assert "figure  small/gap_map" in done.out


def test_one_table_and_one_figure_come_out_as_committed(reproduce, stored):
    done = reproduce("table", "small/gap_map")
    assert done.code == 0
    said = dict(line.split("  ") for line in done.out.splitlines())
    assert said == {str(stored / "out" / "small" / name): "(as committed)" for name in ("table.md", "gap_map.png")}


def test_everything(reproduce, stored):
    done = reproduce("all")
    assert done.code == 0, done.out
    made = {path.name for path in (stored / "out" / "small").iterdir()}
    assert {"comparisons.csv", "table.md", "gap_map.png"} <= made
    assert "DIFFERS" not in done.out


def test_a_committed_table_that_the_rows_do_not_give_is_found(reproduce, stored):
    table = stored / "results" / "small" / "table.md"
    table.write_text(table.read_text().replace("1", "2"))
    done = reproduce("small/table")
    assert done.code == 1
    assert f"DIFFERS from {table}" in done.out
    path = stored / "results" / "small" / "comparisons.csv"
    rows = pd.read_csv(path)
    rows.assign(ntg=rows["ntg"] * (1 + 1e-12)).to_csv(path, index=False)  # the last bit of another machine
    assert reproduce("comparisons").code == 0
    rows.assign(ntg=rows["ntg"] + 1e-4).to_csv(path, index=False)
    assert reproduce("comparisons").code == 1


def test_a_figure_that_cannot_be_drawn_says_why(reproduce, stored):
    path = stored / "results" / "small" / "results.parquet"
    rows = pd.read_parquet(path)
    rows[rows["source"].isna()].to_parquet(path)
    done = reproduce("gap_map")
    assert "not made: small/gap_map: there is no" in done.err


def test_from_scratch_runs_the_suite_and_finds_the_same_rows(reproduce, stored):
    again = ("table", "--from-scratch", "--jobs", 0, "--device", "cpu")
    done = reproduce(*again)
    assert done.code == 0, done.out + done.err
    assert "trials: 32 the same to the bit" in done.out
    assert (stored / "out" / "small" / "table.md").read_text() == (
        stored / "results" / "small" / "table.md"
    ).read_text()
    path = stored / "results" / "small" / "results.parquet"
    rows = pd.read_parquet(path)
    rows.assign(test_accuracy=rows["test_accuracy"].where(rows["strategy"] != "fine-tune", 0.999)).to_parquet(path)
    assert reproduce(*again).code == 1


def test_fewer_seeds_are_compared_on_those_and_missed(reproduce):
    done = reproduce("table", "--from-scratch", "--jobs", 0, "--device", "cpu", "--seeds", "0")
    assert done.code == 3
    assert "trials: 16 the same to the bit, 16 only in A" in done.out
    assert "verdicts: 0 changed" in done.out


def test_names_that_mean_nothing(reproduce, stored, ntbench, tmp_path):
    done = reproduce("tabel")
    assert done.code == 2
    assert 'did you mean "table"?' in done.err
    done = ntbench("reproduce", "all", "--results", tmp_path / "nowhere")
    assert done.code == 2
    assert "holds no stored rows" in done.err


def test_without_a_checkout_it_is_said_where_the_paper_is_built(reproduce, monkeypatch, tmp_path):
    monkeypatch.setattr(reproducible, "PAPER", tmp_path / "paper" / "ntbench_paper")
    done = reproduce("paper")
    assert done.code == 2
    assert "what builds the paper is not installed; it stands in a checkout" in done.err
    assert reproduce("small/table").code == 0


def test_every_committed_suite_has_its_products():
    known = products(REPOSITORY / "results")
    suites = {path.parent.name for path in (REPOSITORY / "results").glob("*/results.parquet")}
    assert {name.partition("/")[0] for name in known} >= suites
    assert len(choose(known, [EVERYTHING])) == len(known)
    for product in known.values():
        assert set(product.suites) <= suites
        assert product.what
