"""What is committed under results/ is whole, says what made it, and is what the README quotes."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

import bench
from bench.report.findings import findings
from bench.report.weightings import share_tables
from bench.schema import COMPARISON, conform
from bench.stats.won_back import won_back
from bench.suite import Plan, load_suite

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "results"
SUITES = sorted(path.stem for path in (REPOSITORY / "experiments").glob("*.toml"))
KEPT = sorted(path.parent.name for path in RESULTS.glob("*/results.parquet"))


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_reads_and_opens_with_its_command_and_what_to_expect(name):
    path = REPOSITORY / "experiments" / f"{name}.toml"
    opening = path.read_text().split("\n\n[")[0]
    for needed in ("make bench" if name == "default" else f"ntbench run experiments/{name}.toml", "Takes:", "Expect:"):
        assert needed in opening
    assert sum(1 for _ in Plan(load_suite(path)).source_models()) > 0


def test_the_default_suite_has_reference_results_and_none_are_of_an_unknown_suite():
    assert "default" in KEPT
    assert set(KEPT) <= set(SUITES)


@pytest.mark.parametrize("name", KEPT)
def test_reference_rows_are_whole_and_compare_as_committed(name):
    rows = bench.load_results(RESULTS / name)
    suite = load_suite(REPOSITORY / "experiments" / f"{name}.toml")
    assert (rows.status == "ok").all()
    assert set(rows.seed) == set(suite.seeds)
    expected = {(t.target, t.model.source if t.model else None, t.seed) for t in Plan(suite).trials()}
    assert {(r.target, None if pd.isna(r.source) else r.source, r.seed) for r in rows.itertuples()} == expected
    again = bench.negative_transfer(rows, **suite.statistics.model_dump())
    committed = pd.read_csv(RESULTS / name / "comparisons.csv")  # of an older version, which lacks later columns
    stored = conform(committed, COMPARISON)[committed.columns]
    pd.testing.assert_frame_equal(again[stored.columns], stored, check_exact=False, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", KEPT)
def test_reference_results_say_what_made_them(name):
    report = (RESULTS / name / "report.md").read_text()
    for needed in ("## Made with", "versions: ntbench", "commit: ", "processor: "):
        assert needed in report
    assert f"`{name}`" in (RESULTS / "README.md").read_text()
    for picture in re.findall(r"\]\((\S+\.png)\)", report):
        assert (RESULTS / name / picture).is_file()


def test_the_readme_quotes_the_reference_rows():
    said = findings(bench.negative_transfer(bench.load_results(RESULTS / "default")))
    expected = "\n".join(f"- {sentence}" for sentence in said)
    readme = (REPOSITORY / "README.md").read_text()
    quoted = re.search(r"<!-- results:begin -->\n(.*?)\n<!-- results:end -->", readme, re.DOTALL)
    assert quoted is not None
    assert quoted[1] == expected


def test_the_readmes_tables_of_weightings_are_those_of_the_reference_rows():
    table = won_back(bench.load_results(RESULTS / "weighting"))
    shown = table[table["source"].isin(["wrong-40", "flipped"]) & (table["target_size"] == 400)]
    readme = (REPOSITORY / "README.md").read_text()
    assert f"<!-- weighting:begin -->\n{share_tables(shown)}\n<!-- weighting:end -->" in readme


def test_planted_harm_is_found_and_what_it_costs_won_back():
    rows = bench.load_results(RESULTS / "weighting")
    table = won_back(rows).set_index(["source", "target_size", "strategy", "weighting"])
    learned = table.loc["flipped", 400, "zero-shot", "per-example"]
    assert learned["weight_auroc"] >= 0.95
    assert learned["share"] >= 0.8
    assert table.loc["wrong-40", 400, "zero-shot", "l2rw"]["share"] >= 0.8
    assert table.loc["wrong-40", 400, "zero-shot", "mw-net"]["weight_auroc"] >= 0.95
    for source in ("wrong-20", "wrong-40", "wrong-60", "flipped"):
        control = table.loc[source, 400, "zero-shot", "random"]
        assert control["weight_auroc"] == pytest.approx(0.5, abs=0.05)
        assert abs(control["share"]) < 0.1
    assert set(rows["seed"]) == set(range(10))


def test_every_suite_is_listed_with_its_question():
    listed = (REPOSITORY / "experiments" / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\[`[\w-]+`\]\(([\w-]+)\.toml\)", listed)) == SUITES


def test_the_readmes_ten_line_task_is_ten_lines_and_runs(tmp_path):
    readme = (REPOSITORY / "README.md").read_text()
    code = re.search(r"```python\n(# mine\.py\n.*?)```", readme, re.DOTALL)[1]
    lines = [line for line in code.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 10
    plugin = tmp_path / "readme_mine.py"
    plugin.write_text(code)
    suite = {
        "name": "readme",
        "backbones": [{"backbone": "mlp", "widths": [8]}],
        "target_sizes": [20],
        "seeds": 1,
        "tasks": {"far": {"task": "two-blobs", "distance": 0.5}},
        "pairs": [{"target": "two-blobs", "source": "far"}],
        "recipe": {"steps": 5, "learning_rates": [0.1], "checkpoints": 1},
        "source_recipe": {"steps": 5},
    }
    rows = bench.run(suite, tmp_path / "out", jobs=0, plugins=[plugin])
    assert (rows.status == "ok").all()


def test_the_readmes_suite_is_well_formed(tmp_path):
    readme = (REPOSITORY / "README.md").read_text()
    text = re.search(r"```toml\n(target_sizes.*?)```", readme, re.DOTALL)[1]
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert load_suite(path).pairs[0].target == "xrays"


def test_the_benchmarks_page_shows_the_stored_tables():
    from benchmarks import growth
    from benchmarks.__main__ import PAGE
    from benchmarks.ratios import markdown, read

    rows = read(RESULTS / "benchmarks" / "ratios.csv")
    page = PAGE.read_text(encoding="utf-8")
    assert rows
    for mark, table in {"ratios": markdown(rows), **growth.tables(RESULTS / "benchmarks")}.items():
        assert f"<!-- {mark}:begin -->\n{table}\n<!-- {mark}:end -->" in page
