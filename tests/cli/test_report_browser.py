"""The report in a real browser: it loads, sorts, filters, shows every trial and fetches nothing."""

from __future__ import annotations

import re
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest
from chromium import browser

from bench.cli.gather import gather
from bench.ledger.file import LEDGER, decode, encode
from bench.ledger.results import load_results
from bench.report.html import write_html
from bench.report.material import Material, Part
from bench.schema import conform
from bench.stats.gap import negative_transfer

BODY = "#comparison-table tbody tr"
EVIL = "<script>window.evil=1</script><img src=x onerror=window.evil=1>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def report(finished, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    return write_html(gather(finished[1]), path)


def cells(page, column):
    """The texts of one column of the comparison table."""
    names = page.run("return [...document.querySelectorAll('#comparison-table th')].map(th => th.dataset.column)")
    return page.texts(f"{BODY} td:nth-child({names.index(column) + 1})")


def number(text):
    return float(text.replace("\N{MINUS SIGN}", "-"))


def test_the_majority_class_stands_beside_every_gap_and_one_class_arms_are_called_out(page, report, finished):
    page.open(report)
    assert set(cells(page, "majority_accuracy")) == {"10.2 %"}
    assert {"", "1 of 2 seeds"} == set(cells(page, "n_one_class"))
    rows = load_results(finished[1])
    one = rows.loc[rows["classes_predicted"] == 1, "key"].iloc[0]
    page.open(report, f"t/{one[:12]}")
    (text,) = page.texts("#detail")
    assert "always the majority class 10.2 %. It predicts one class for every test example." in text


def test_it_loads_without_a_complaint_and_fetches_nothing(page, report):
    page.open(report)
    assert page.texts("h1") == ["Negative transfer in small"]
    assert page.run("return document.querySelectorAll('figure svg path').length") > 100
    assert len(page.texts(BODY)) == 16
    for place in ("figures", "provenance", "trials", "c/0"):
        page.open(report, place)
    assert page.complaints() == []


def test_a_heading_sorts_up_and_down(page, report):
    page.open(report)
    assert [number(x) for x in cells(page, "ntg")] == sorted((number(x) for x in cells(page, "ntg")), reverse=True)
    page.click("th[data-column=ntg] button")
    assert [number(x) for x in cells(page, "ntg")] == sorted(number(x) for x in cells(page, "ntg"))
    page.click("th[data-column=pair] button")
    assert cells(page, "pair") == sorted(cells(page, "pair"))
    assert page.run("return document.querySelector('th[data-column=pair]').ariaSort") == "ascending"


def test_a_comparison_whose_trials_failed_is_not_called_inconclusive_and_long_names_are_whole(page, tmp_path):
    source, target = "laboratory-values-of-the-first-hospital-2019", "laboratory-values-of-the-second-hospital-2024"
    common = {"suite": "s", "target": target, "backbone": "mlp", "target_size": 20, "validation": "cut 0.2"}
    rows = [
        common | {"source": source if depth else None, "strategy": name, "transfer_depth": depth, "frozen_depth": 0,
                  "weighting": "uniform" if depth else None, "seed": seed, "source_seed": seed if depth else None,
                  "status": "failed" if name == "breaks" else "ok", "key": f"{name}{seed}",
                  "test_accuracy": None if name == "breaks" else 0.5 + 0.1 * seed}
        for name, depth in (("scratch", 0), ("fine-tune", 2), ("breaks", 2)) for seed in (0, 1)
    ]  # fmt: skip
    rows = conform(rows)
    part = Part("s", rows, negative_transfer(rows))
    page.open(write_html(Material("s", [part]), tmp_path / "report.html"))
    assert dict(zip(cells(page, "strategy"), cells(page, "verdict"), strict=True))["breaks"] == "failed"
    assert set(cells(page, "pair")) == {f"{source} → {target}"}
    assert page.run("return [...document.querySelectorAll('td.name')].every(td => td.scrollWidth <= td.clientWidth)")
    page.open(tmp_path / "report.html", "c/1")
    assert "failed" in page.run("return document.body.innerText")
    assert page.complaints() == []


def test_filters_choose_by_pair_strategy_size_and_verdict_together(page, report):
    page.open(report)
    page.choose("pair", "near → digits")
    assert set(cells(page, "pair")) == {"near → digits"}
    page.choose("strategy", "fine-tune")
    page.choose("target_size", "40")
    assert [cells(page, name) for name in ("strategy", "target_size")] == [["fine-tune"] * 2, ["40"] * 2]
    assert page.texts("#comparison-table [role=status]") == ["2 comparisons of 16"]
    page.click("#comparison-table .controls button")
    assert len(page.texts(BODY)) == 16
    shown = cells(page, "verdict")
    if len(set(shown)) > 1:
        page.choose("verdict", shown[0].split()[-1])
        assert set(cells(page, "verdict")) == {shown[0]}


def test_text_narrows_a_table(page, report):
    page.open(report)
    page.run(
        "const box = document.querySelector('#comparison-table input'); box.value = 'NOISY';"
        "box.dispatchEvent(new Event('input'))"
    )
    assert set(cells(page, "pair")) == {"noisy → digits"}


def test_from_a_comparison_to_its_trials_and_their_curves(page, report):
    page.open(report)
    page.choose("strategy", "fine-tune")
    page.click(BODY)
    page.wait("return document.documentElement.dataset.ready.startsWith('c/')")
    assert "fine-tune" in page.texts("#detail h2")[0]
    assert len(page.texts("#detail tbody tr")) == 2  # seeds
    page.click("#detail tbody tr td:nth-child(3) a")
    page.wait("return document.documentElement.dataset.ready.startsWith('t/')")
    assert page.run("return document.querySelectorAll('#detail polyline').length") == 3
    said = " ".join(page.texts("#detail dl"))
    for needed in ("learning rate chosen", "target's data", "commit", "machine", "versions", "torch"):
        assert needed in said
    assert page.run("return [...document.querySelectorAll('#overview, #trials')].every(e => e.hidden)")
    assert page.complaints() == []


@pytest.mark.parametrize(("strategy", "most"), [("fine-tune", 2), ("scratch", 1), ("zero-shot", 3)])
def test_the_command_of_a_trial_runs_that_trial(page, report, tmp_path, ntbench, strategy, most):
    page.open(report, "trials")
    page.choose("strategy", strategy)
    page.click("#trial-table tbody tr")
    page.wait("return document.documentElement.dataset.ready.startsWith('t/')")
    command = shlex.split(page.texts("#again")[0])
    key = page.run("return document.documentElement.dataset.ready").removeprefix("t/")
    out = tmp_path / "again"
    command[command.index("--out") + 1] = str(out)
    done = ntbench(*command[1:], "--jobs", 0, "--device", "cpu")
    assert (command[0], done.code) == ("ntbench", 0), done.err
    rows = pd.read_parquet(out / "results.parquet")
    assert rows["key"].str.startswith(key).sum() == 1
    # With it its scratch trials (zero-shot: of both sizes) and nothing else.
    assert len(rows) <= most


def test_names_and_errors_are_shown_and_never_run(page, finished, tmp_path):
    """What a task, a strategy or an error is called is text, wherever it appears."""
    records = [decode(line) for line in (finished[1] / LEDGER).read_bytes().splitlines(keepends=True)]
    trials = [record for record in records if record["kind"] == "trial"]
    for record in trials:
        record["row"]["suite"] = EVIL
        for column in ("source", "strategy"):
            if record["row"][column] not in (None, "scratch"):
                record["row"][column] += EVIL
    bad = trials[-1]
    bad["row"] |= {"status": "failed", "error": f"</script>{EVIL}"}
    bad["detail"] = {"traceback": f"Traceback {EVIL}"}
    (tmp_path / LEDGER).write_bytes(b"".join(encode(record) for record in records if record["kind"] != "run"))
    path = write_html(gather(tmp_path), tmp_path / "report.html")
    page.open(path)
    assert any(EVIL in text for text in cells(page, "pair"))
    assert any(EVIL in text for text in page.texts("#overview li"))
    for place in ("trials", "c/0", f"t/{bad['key'][:12]}"):
        page.open(path, place)
        assert page.run("return window.evil") is None
        assert page.run("return document.querySelectorAll('main img, main script').length") == 0
    assert f"Traceback {EVIL}" in page.texts("#detail pre")
    assert page.complaints() == []


def test_only_the_pages_own_script_may_run(page, report, tmp_path):
    """Even if something slipped through, the page's policy would not let it run or fetch."""
    path = tmp_path / "tampered.html"
    path.write_text(report.read_text().replace("<main>", f"<main>{EVIL}", 1))
    page.open(path)
    assert page.run("return window.evil") is None
    assert any("Content Security Policy" in text for text in page.complaints())


def test_committed_rows_say_what_they_do_not_hold(page, finished, tmp_path):
    shutil.copy(finished[1] / "results.parquet", tmp_path)
    path = write_html(gather(tmp_path), tmp_path / "report.html")
    page.open(path)
    assert len(page.texts(BODY)) == 16
    assert "curves and tracebacks are in a run folder's ledger" in " ".join(page.texts(".notes li"))
    page.open(path, "trials")
    page.click("#trial-table tbody tr")
    page.wait("return document.documentElement.dataset.ready.startsWith('t/')")
    assert "These are committed rows, which hold no curves" in page.texts("#detail")[0]
    page.open(path, "t/0123456789abcdef")
    assert "There is no such trial." in page.texts("#detail")[0]
    assert page.complaints() == []


def test_scores_by_an_error_are_named_and_in_its_unit(page, finished, tmp_path):
    rows = load_results(finished[1])
    price = {"metric": "mae", "metric_unit": "", "majority_accuracy": None}
    rows = rows.assign(**price, test_score=-5000 * (1 - rows["test_accuracy"]), val_score=-100.0)
    part = Part("small", rows, negative_transfer(rows, margin=50))
    page.open(write_html(Material("s", [part]), tmp_path / "report.html"))
    scratch, transfer, gap = (
        [number(text) for text in cells(page, name)] for name in ("scratch_score", "transfer_score", "ntg")
    )
    assert max(scratch) < -100
    assert gap == pytest.approx([a - b for a, b in zip(scratch, transfer, strict=True)], abs=2)
    page.open(tmp_path / "report.html", "c/0")
    (text,) = page.texts("#detail")
    assert "units of the target [" in text
    assert "minus MAE from scratch" in text
    assert "points" not in text
    page.open(tmp_path / "report.html", f"t/{rows['key'].iloc[0][:12]}")
    (text,) = page.texts("#detail")
    assert "Test minus MAE \N{MINUS SIGN}" in text
    assert page.complaints() == []


def test_a_trial_says_what_it_scores_on_every_class(page, report, finished):
    key = load_results(finished[1])["key"].iloc[0]
    page.open(report, f"t/{key[:12]}")
    told = page.run("return document.querySelector('table[aria-label=\"Class by class\"]').innerText")
    head, *lines = told.strip().split("\n")
    assert head.split("\t") == ["class", "balanced accuracy", "macro f1", "auroc"]
    assert [line.split("\t")[0] for line in lines] == [str(n) for n in range(10)]
    assert page.complaints() == []


def many_rows(n_sources=100, seeds=50, points=20):
    """100,050 rows: a formula, not a run."""
    scratch = pd.DataFrame({"seed": range(seeds), "source": None, "strategy": "scratch", "transfer_depth": 0})
    index = pd.MultiIndex.from_product([range(n_sources), range(points), range(seeds)], names=["s", "p", "seed"])
    rows = index.to_frame(index=False)
    rows["source"], rows["strategy"] = "source " + rows["s"].astype(str), "way " + rows["p"].astype(str)
    rows = pd.concat([scratch, rows.drop(columns=["s", "p"]).assign(transfer_depth=4)], ignore_index=True)
    chance = np.random.default_rng(0)
    common = {
        "suite": "many", "target": "digits", "backbone": "cnn", "frozen_depth": 0, "status": "ok", "target_size": 20,
        "validation": "cut 0.2", "test_accuracy": chance.random(len(rows)), "weighting": "uniform",
    }  # fmt: skip
    return conform(rows.assign(**common, key=[f"{i:020x}" for i in chance.permutation(len(rows))]))


def test_a_hundred_thousand_rows_open_sort_and_page(page, tmp_path):
    many_rows().to_parquet(tmp_path / "results.parquet")
    path = write_html(gather(tmp_path), tmp_path / "report.html")
    page.open(path)
    assert len(page.texts(BODY)) == 50  # one page of them, whatever there is
    assert page.texts("#comparison-table [role=status]") == ["2,000 comparisons"]
    page.open(path, "trials")
    page.click("#trial-table th[data-column=test_accuracy] button")
    assert page.texts("#trial-table [role=status]") == ["100,050 trials"]
    page.choose("pair", "source 7 → digits")
    assert page.texts("#trial-table [role=status]") == ["1,000 trials of 100,050"]
    page.click("#trial-table .pager button:last-child")
    assert re.fullmatch(r"page 2 of 20", page.texts("#trial-table .pager span")[1])
    assert page.complaints() == []
