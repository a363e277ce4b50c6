"""``ntbench report``: made of what can be said, whatever the folder holds. The page itself: test_report_browser.py."""

from __future__ import annotations

import html
import io
import re
import shutil

import pandas as pd
import pytest

from bench.cli.after import header_of
from bench.cli.gather import gather
from bench.ledger.file import LEDGER, decode, encode
from bench.report import figures
from bench.report.html import render
from bench.report.material import read_provenance, write_provenance


def records_of(folder):
    return [decode(line) for line in (folder / LEDGER).read_bytes().splitlines(keepends=True)]


def is_trial(record, **wanted):
    return record["kind"] == "trial" and all(record["row"][name] == value for name, value in wanted.items())


@pytest.fixture
def changed(finished, tmp_path):
    """Write a run folder whose records a function has changed (None: left out)."""

    def write(change):
        records = [change(record) for record in records_of(finished[1])]
        folder = tmp_path / "changed"
        folder.mkdir(exist_ok=True)
        (folder / LEDGER).write_bytes(b"".join(encode(record) for record in records if record is not None))
        return folder

    return write


@pytest.fixture(autouse=True)
def _few_figures(request, monkeypatch):
    """Draw those of every run alone, where figures are not what a test is about."""
    if "run_folder" not in request.node.name:
        monkeypatch.setattr(figures, "FIGURES", {n: kind for n, kind in figures.FIGURES.items() if kind.brief})


def said(folder):
    """The words of a report, without data and scripts."""
    page = re.sub(r"<(script|style|svg)\b.*?</\1>", "", render(gather(folder)), flags=re.DOTALL)
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", page).split()))


def test_a_run_folder_gets_its_report(finished, tmp_path, ntbench):
    out = tmp_path / "mine.html"
    done = ntbench("report", finished[1], "--out", out)
    assert (done.code, done.out, done.err) == (0, f"{out}\n", "")
    page = out.read_text()
    assert page.startswith("<!doctype html>")
    assert not re.search(r"""(src|href|url|import)\s*[=(]\s*["']?(https?:)?//""", page)
    words = said(finished[1])
    for kind in figures.FIGURES.values():
        assert (f"{kind.title}." in words) or f'No figure "{kind.title}' in words
    for needed in ("Of 16 comparisons", "The gap for every source", "Fingerprint", "torch", "printed-digits", "digits"):
        assert needed.lower() in words.lower()
    assert "0 125 + 53, 1 127 + 55, 2 124 + 53, 3 128 + 55" in words  # the digits of each class, train + test
    assert "3 10.2 %" in words
    assert (
        "Scratch predicts one class for every test example of digits (cnn) in some seeds of size 20 (1 of 2)" in words
    )


def test_by_default_it_stands_in_the_folder_and_the_same_rows_give_the_same_file(finished, tmp_path, ntbench):
    for name in (LEDGER, "results.parquet"):
        shutil.copy(finished[1] / name, tmp_path)
    ntbench("report", tmp_path)
    first = (tmp_path / "report.html").read_bytes()
    ntbench("report", tmp_path)
    assert (tmp_path / "report.html").read_bytes() == first


def test_a_folder_without_rows_says_so(tmp_path, ntbench, changed):
    done = ntbench("report", tmp_path)
    assert done.code == 0
    assert "holds no results: no ledger.jsonl, no results.parquet" in done.err
    assert "There is nothing to compare." in said(tmp_path)
    bare = changed(lambda record: None if record["kind"] == "trial" else record)
    assert "holds no finished or failed trial" in said(bare)
    assert "Fingerprint" in said(bare).replace("fingerprint", "Fingerprint")


def test_a_folder_that_is_not_there_is_an_error(tmp_path, ntbench):
    done = ntbench("report", tmp_path / "none")
    assert (done.code, done.err) == (2, f"error: no folder at {tmp_path / 'none'}\n")


@pytest.mark.parametrize(
    ("out", "page"),
    [
        ("page", "page.html"),
        ("v1.2", "v1.2.html"),
        ("page.htm", "page.htm"),
        ("there", "there/report.html"),
        ("new/", "new/report.html"),
    ],
)
def test_out_names_a_page_or_a_folder_that_it_goes_into(tmp_path, ntbench, out, page):
    (tmp_path / "there").mkdir()
    done = ntbench("report", tmp_path, "--out", f"{tmp_path}/{out}")
    assert (done.code, done.out) == (0, f"{tmp_path / page}\n")
    assert (tmp_path / page).read_text().startswith("<!doctype html>")
    blocked = ntbench("report", tmp_path, "--out", f"{tmp_path / page}/")
    assert blocked.code == 2
    assert f"cannot make the folder {tmp_path / page}: " in blocked.err


def test_only_failures(changed):
    def fail(record):
        if record["kind"] == "trial":
            record["row"] = record["row"] | {"status": "failed", "error": "ValueError: no luck", "test_accuracy": None}
            record["detail"] = {"traceback": "Traceback ..."}
        return record

    words = said(changed(fail))
    assert "Every trial failed: there is nothing to compare." in words
    assert "32 of 32 trials failed." in words
    assert "32 of them: ValueError: no luck" in words
    assert "No comparison has a result yet." in words


def test_one_seed(changed):
    words = said(changed(lambda record: record if not is_trial(record, seed=1) else None))
    assert "One seed: gaps are single runs, without intervals and verdicts." in words
    assert "16 comparisons have fewer than two seeds" in words
    assert "1 seed: 0" in words


def test_missing_scratch_rows(changed):
    words = said(changed(lambda record: record if not is_trial(record, source=None, target_size=40) else None))
    assert "No scratch trial for digits, cnn, 40 target examples: 6 comparisons are left out." in words
    assert "Of 8 comparisons" in words
    words = said(changed(lambda record: record if not is_trial(record, source=None) else None))
    assert "No scratch trial for digits" in words
    words = said(changed(lambda record: None if record["kind"] == "trial" and record["row"]["source"] else record))
    assert "There are scratch trials alone" in words


def test_two_schema_versions(changed, finished, tmp_path):
    def older(record):
        return record | {"schema": 1} if is_trial(record, strategy="fine-tune") else record

    words = said(changed(older))
    assert "16 rows of schema version 1" in words
    assert "are left out" in words
    rows = pd.read_parquet(finished[1] / "results.parquet")
    old = rows[rows["strategy"] != "zero-shot"].assign(context="older", key="k" + rows["key"], test_accuracy=0.5)
    folder = tmp_path / "mixed"
    folder.mkdir()
    pd.concat([rows, old]).to_parquet(folder / "results.parquet")
    words = said(folder)
    assert "Rows of several recipes, data or schema versions are mixed here" in words
    assert f"{len(old)} rows are left out" in words
    assert "Of 16 comparisons" in words


def test_two_suites_are_judged_apart(finished, tmp_path):
    rows = pd.read_parquet(finished[1] / "results.parquet")
    pd.concat([rows, rows.assign(suite="other", target="letters")]).to_parquet(tmp_path / "results.parquet")
    words = said(tmp_path)
    assert "2 suites are here (other, small): each is judged by itself" in words
    assert words.count("Of 16 comparisons") == 2


def test_results_that_contradict_each_other_are_shown_and_not_compared(finished, tmp_path):
    rows = pd.read_parquet(finished[1] / "results.parquet")
    pd.concat([rows, rows.assign(test_accuracy=0.5, key="k" + rows["key"])]).to_parquet(tmp_path / "results.parquet")
    words = said(tmp_path)
    assert "The rows cannot be compared: two different results for" in words
    assert "64 trials, 0 comparisons." in words


def test_rows_of_several_commits_are_said_to_be(changed, tmp_path, ntbench):
    def earlier(record):
        if record["kind"] == "run":
            return record | {"commit": "0123456789ab", "versions": record["versions"] | {"torch": "2.0"}}
        return record

    folder = changed(earlier)
    record = next(record for record in records_of(folder) if record["kind"] == "run")
    with (folder / LEDGER).open("ab") as file:
        for commit, started in (("ba9876543210", "2026-01-01"), ("ba9876543210", "2026-01-02")):
            file.write(encode(record | {"commit": commit, "started": started}))
    made = read_provenance(write_provenance(gather(folder).made, tmp_path).parent)
    assert [(run["commit"], run["started"]) for run in made.runs][1:] == [("ba9876543210", "2026-01-02")]
    assert made.runs[0]["commit"] == "0123456789ab"
    assert made.last_runs()[record["suite"]]["commit"] == "ba9876543210"
    header = header_of(folder)
    assert (header["commit"], header["commit, earlier"]) == ("ba9876543210", ["0123456789ab"])
    assert "versions, earlier" not in header


def test_bootstrap_intervals_go_over_test_examples_too(finished, changed, tmp_path, ntbench):
    def ask(record):
        if record["kind"] == "run":
            record["config"] = record["config"] | {"statistics": {"interval": "bootstrap"}}
        return record

    folder, kept, suite = changed(ask), tmp_path / "kept", tmp_path / "small.toml"
    suite.write_text(finished[0].read_text() + '\n[statistics]\ninterval = "bootstrap"\n')
    assert ntbench("export", folder, "--examples", "--out", kept).code == 0
    write_provenance(gather(folder).made, kept)
    done = ntbench("run", suite, "--out", folder, "--jobs", 0, "--device", "cpu")  # nothing is left to train
    assert done.code == 0, done.err
    table = ntbench("table", folder, "--format", "csv").out
    for comparisons in (
        gather(folder).parts[0].comparisons, gather(kept).parts[0].comparisons, pd.read_csv(io.StringIO(table)),
        pd.read_csv(folder / "comparisons.csv"),
    ):  # fmt: skip
        assert comparisons["resampled"].tolist() == ["seeds and examples"] * 16
    (kept / "examples.parquet").unlink()
    part = gather(kept).parts[0]
    assert part.comparisons["resampled"].tolist() == ["seeds"] * 16
    assert any("the bootstrap resamples their seeds only" in note for note in part.notes)


def test_a_measure_that_is_not_there(finished, ntbench):
    done = ntbench("report", finished[1], "--near", "leap")
    assert done.code == 2
    assert 'did you mean "leep"' in done.err
