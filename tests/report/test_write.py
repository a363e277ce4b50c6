import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from synthetic_suite import synthetic_rows

from bench.errors import StoreError
from bench.report.findings import findings
from bench.report.write import write_report
from bench.schema import COMPARISON, conform, empty
from bench.scores import with_scores
from bench.stats.gap import negative_transfer

SMALL = {"points": (("fine-tune", 4, 0), ("fine-tune", 4, 1)), "sizes": (20,), "seeds": 3}


def test_everything_is_written_and_reads_back(tmp_path):
    rows = with_scores(synthetic_rows(**SMALL))
    paths = write_report(rows, tmp_path / "new" / "folder", {"commit": "abc", "versions": {"torch": "2"}})
    assert [path.name for path in paths] == [
        "report.md", "results.csv", "results.parquet", "comparisons.csv", "comparisons.parquet", "table.md",
        "gap_map.png", "gap_against_similarity.png",
    ]  # fmt: skip
    assert sorted(path.name for path in paths) == sorted(os.listdir(tmp_path / "new" / "folder"))
    comparisons = negative_transfer(rows)
    by_name = {path.name: path for path in paths}
    pd.testing.assert_frame_equal(conform(pd.read_csv(by_name["results.csv"])), rows)
    pd.testing.assert_frame_equal(conform(pd.read_parquet(by_name["results.parquet"])), rows)
    pd.testing.assert_frame_equal(conform(pd.read_csv(by_name["comparisons.csv"]), COMPARISON), comparisons)
    pd.testing.assert_frame_equal(conform(pd.read_parquet(by_name["comparisons.parquet"]), COMPARISON), comparisons)


def test_the_page_has_findings_table_figures_and_provenance(tmp_path):
    rows = synthetic_rows(**SMALL)
    page = write_report(rows, tmp_path, {"commit": "abc", "versions": {"torch": "2", "numpy": "3"}})[0].read_text()
    for sentence in findings(negative_transfer(rows)):
        assert f"- {sentence}" in page
    assert (tmp_path / "table.md").read_text().rstrip() in page
    for linked in re.findall(r"\]\((.*?)\)", page):
        assert (tmp_path / linked).is_file()
    assert "- versions: torch 2, numpy 3" in page
    assert "What to keep in mind" not in page


def test_failures_and_warnings_are_on_the_page(tmp_path):
    rows = synthetic_rows(**SMALL)
    rows.loc[[3, 5], "status"] = "failed"
    rows.loc[[3, 5], "test_accuracy"] = None
    rows.loc[[3, 5], "error"] = "the test loss is nan\nthe model diverged"
    rows.attrs["warnings"] = ["1 line of the ledger was cut short"]
    page = write_report(rows, tmp_path)[0].read_text()
    assert f"- 2 of {len(rows)} trials failed." in page
    assert "- 2 of them: the test loss is nan the model diverged" in page
    assert "- 2 pairs of trials are left out because one of them failed." in page
    assert "- 1 line of the ledger was cut short" in page


def test_several_targets_get_a_figure_each(tmp_path):
    rows = pd.concat([synthetic_rows(**SMALL), synthetic_rows(**SMALL, target="Letters, A-Z")])
    names = {path.name for path in write_report(rows, tmp_path)}
    assert {"gap_map-digits.png", "gap_map-letters-a-z.png"} <= names
    assert "gap_map.png" not in names


def test_no_rows_make_a_page_that_says_so(tmp_path):
    paths = write_report(empty(), tmp_path)
    assert "No comparison has a result yet." in paths[0].read_text()
    assert not list(tmp_path.glob("*.png"))


def test_the_same_rows_give_the_same_files_and_replace_the_old(tmp_path):
    rows = synthetic_rows(**SMALL)
    first = {path.name: path.read_bytes() for path in write_report(rows, tmp_path)}
    again = {path.name: path.read_bytes() for path in write_report(rows.sample(frac=1, random_state=0), tmp_path)}
    for name in first:
        if not name.startswith("results"):  # these keep the order of the rows
            assert first[name] == again[name], name


def test_a_full_disk_leaves_the_old_files_whole(tmp_path, monkeypatch):
    rows = synthetic_rows(**SMALL)
    write_report(rows, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot write .*results\.csv: No space left on device"):
        write_report(rows.assign(suite="other"), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_in_the_folders_place_is_said(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(StoreError, match="cannot make the folder"):
        write_report(synthetic_rows(**SMALL), tmp_path / "taken")


def test_reports_are_written_without_torch(tmp_path):
    synthetic_rows(**SMALL).to_parquet(tmp_path / "rows.parquet")
    code = (
        "import sys, io, pandas as pd\n"
        "import bench.schema, bench.stats.gap, bench.stats.select, bench.report.table, bench.report.write\n"
        "heavy = {'torch', 'matplotlib', 'scipy', 'statsmodels', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "rows = pd.read_parquet(sys.argv[1] + '/rows.parquet')\n"
        "bench.stats.select.select_depth(rows.assign(val_accuracy=0.5))\n"
        "from bench.report.write import write_report\n"
        "write_report(rows, sys.argv[1] + '/out')\n"
        "assert 'torch' not in sys.modules\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
