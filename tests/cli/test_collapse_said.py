"""A run whose trainings collapse says so wherever its numbers are read."""

from __future__ import annotations

import json

import bench

RECIPE = '[recipe]\nsteps = 30\noptimizer = "adam"\nlearning_rates = [1.0, 3.0]\ncheckpoints = 3\nhead = "stepped"\n'


def test_a_collapse_is_said_by_run_table_report_and_status(suite, tmp_path, ntbench):
    text = suite.read_text()
    suite.write_text(text[: text.index("[recipe]")] + RECIPE + "[source_recipe]\nsteps = 5\n")
    out = tmp_path / "out"
    ran = ntbench("run", suite, "--out", out, "--launcher", "inline")
    rows = bench.load_results(out)
    lost = rows[(rows.collapsed_rates == "1, 3") & (rows.strategy == "scratch")]
    assert len(lost) > 0
    assert (rows.learning_rates.dropna() == "1, 3").all()
    assert rows[rows.strategy == "zero-shot"][["learning_rates", "train_loss", "constant_loss"]].isna().all(axis=None)
    findings = ran.out[ran.out.index("Findings") :].splitlines()
    assert "Training collapsed at every learning rate tried" in findings[1]
    assert "scratch on digits" in ran.out
    for said in (ntbench("table", out).err, (out / "report.md").read_text()):
        assert "training collapsed at learning rates 1, 3, every rate that was tried" in said
        assert "use smaller learning_rates, warmup or clip_norm" in said
    status = ntbench("status", out).out
    kept = json.loads(ntbench("status", out, "--json").out)["collapsed"]
    assert set(lost["key"]) <= set(kept)
    assert f"training collapsed in {len(kept)} finished trials: ntbench table {out} says where" in status
    ntbench("report", out)
    assert "Training collapsed at every learning rate tried" in (out / "report.html").read_text()
