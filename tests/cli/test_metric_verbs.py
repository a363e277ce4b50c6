"""A metric other than accuracy, from `check` to `report`: an imbalanced two-class table judged by AUROC."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from bench.ledger.file import read_records
from bench.ledger.results import load_per_class, load_results

SUITE = """\
metric       = "auroc"
backbones    = [{ backbone = "mlp", widths = [8] }]
strategies   = ["feature-extraction", "fine-tune"]
target_sizes = [60, 120]
seeds        = 3
recipe        = { steps = 20, learning_rates = [0.1], checkpoints = 2 }
source_recipe = { steps = 40 }
[tasks]
clinic   = { npz = "clinic.npz" }
hospital = { npz = "hospital.npz" }
other    = { npz = "other.npz" }
[[pairs]]
target  = "clinic"
sources = ["hospital", "other"]
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """(suite file, run folder) of the imbalanced suite."""
    from bench.cli import main

    folder, rng = tmp_path_factory.mktemp("ill"), np.random.default_rng(0)
    for name, shift in (("clinic", 0.0), ("hospital", 0.5), ("other", 3.0)):
        parts = {}
        for end, n in (("", 400), ("_test", 200)):
            y = (rng.random(n) < 0.1).astype(int)
            x = rng.standard_normal((n, 5))
            x[:, 0] += 1.5 * y
            x[:, 1] += shift
            parts |= {f"x{end}": x, f"y{end}": y}
        np.savez(folder / f"{name}.npz", **parts)
    (folder / "ill.toml").write_text(SUITE)
    with pytest.raises(SystemExit) as done:
        main(["run", str(folder / "ill.toml"), "--jobs", "0", "--device", "cpu", "--out", str(folder / "out")])
    assert done.value.code == 0
    return folder / "ill.toml", folder / "out"


def test_rows_say_their_metric_and_have_the_others_beside(ran):
    rows = load_results(ran[1])
    assert (rows["status"] == "ok").all()
    assert set(rows["metric"]) == {"auroc"}
    assert set(rows["metric_unit"]) == {"points"}
    assert rows["test_score"].tolist() == rows["test_auroc"].tolist()
    beside = ["test_accuracy", "val_accuracy", "test_balanced_accuracy", "test_macro_f1", "test_log_loss"]
    assert rows[[*beside, "test_expected_calibration_error"]].notna().all(axis=None)
    assert rows["test_log_loss"].to_numpy() == pytest.approx(-rows["test_loss"].to_numpy(), rel=1e-5)
    assert rows[["test_r2", "test_mae", "test_mean_average_precision"]].isna().all(axis=None)


def test_what_is_predicted_scores_what_the_row_says(ran, tmp_path, ntbench):
    from sklearn.metrics import roc_auc_score

    assert ntbench("export", ran[1], "--out", tmp_path, "--predictions", "--examples").code == 0
    told = pd.read_parquet(tmp_path / "predictions-clinic.parquet")
    rows = load_results(ran[1]).set_index("key")
    for key, part in told.groupby("key"):
        assert roc_auc_score(part["label"] == "1", part["p_1"]) == pytest.approx(rows.at[key, "test_score"], abs=2e-3)


def test_the_rate_is_chosen_by_the_metric(ran):
    """Of each trial's looks at validation data, the one with the best AUROC was kept, undefined ones by the loss."""
    for record in read_records(ran[1]):
        if record["kind"] == "trial":
            looks = [(point[4] or 0.0, -point[3]) for point in record["detail"]["curve"]]
            row = record["row"]
            assert (row["val_score"] or 0.0, -row["val_loss"]) == max(looks)


def test_tables_and_the_report_speak_of_it_and_not_of_accuracy(ran, ntbench):
    text = " ".join(ntbench("table", ran[1]).out.split())
    assert "Gap = AUROC from scratch minus AUROC after transfer, in points" in text
    assert re.search(r"Scratch AUROC \d+\.\d % \(3 seeds\)\.", text)
    report = (ran[1] / "report.md").read_text()
    for said in (text, report, (ran[1] / "table.md").read_text()):
        assert "accuracy" not in said.lower()
        assert "majority" not in said
        assert "predicts one class" not in said.lower()
    assert (ran[1] / "gap_map.png").is_file()
    for fmt in ("latex", "csv", "md"):
        assert ntbench("table", ran[1], "--format", fmt).code == 0


def test_the_page_has_the_metric_s_name_and_figures(ran, tmp_path, ntbench):
    assert ntbench("report", ran[1], "--out", tmp_path / "page.html").code == 0
    page = (tmp_path / "page.html").read_text()
    assert '"scales":{"accuracy":' in page
    assert '"auroc":{"label":"AUROC","units":"points"' in page
    assert "AUROC against cost" in page
    assert "AUROC over target size, and what transfer is worth in data" in page
    assert "Accuracy" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_a_folder_differs_from_itself_in_nothing_and_from_worse_rows_by_the_metric(ran, tmp_path, ntbench):
    assert ntbench("diff", ran[1], ran[1]).code == 0
    rows = load_results(ran[1])
    moved = rows["source"].eq("hospital").fillna(False)
    rows.loc[moved, "test_score"] -= 0.4 + 0.01 * rows.loc[moved, "seed"].astype(float)
    rows.to_parquet(tmp_path / "results.parquet")
    done = ntbench("diff", ran[1], tmp_path)
    assert done.code == 1
    assert re.search(r"hospital -> clinic, .* seed \d: \d+\.\d % -> -?\d+\.\d % \(AUROC\)", done.out)


def test_plan_check_and_status_say_it(ran, ntbench):
    assert "; chosen and judged by AUROC" in ntbench("plan", ran[0], "--out", ran[1]).out
    assert "; chosen and judged by AUROC" in ntbench("check", ran[0]).out
    assert "suite ill, chosen and judged by AUROC" in ntbench("status", ran[1]).out


def test_values_by_class_are_exported(ran, tmp_path, ntbench):
    assert ntbench("export", ran[1], "--out", tmp_path, "--per-class", "--format", "csv").code == 0
    table = pd.read_csv(tmp_path / "per-class.csv")
    rows = load_results(ran[1]).set_index("key")
    assert set(table["metric"]) == {"balanced-accuracy", "macro-f1", "auroc"}
    assert len(table) == 6 * len(rows)
    recalls = table[table["metric"] == "balanced-accuracy"].groupby("key")["value"].mean()
    assert recalls.to_numpy() == pytest.approx(rows.loc[recalls.index, "test_balanced_accuracy"].to_numpy(), abs=1e-3)
    gaps = pd.read_csv(tmp_path / "per-class-gaps.csv")
    assert set(gaps["class_metric"]) == set(table["metric"])
    comparisons = pd.read_csv(tmp_path / "comparisons.csv")
    whole = ["target", "backbone", "target_size", "source", "weighting", "strategy", "transfer_depth", "frozen_depth"]
    means = gaps[gaps["class_metric"] == "auroc"].groupby(whole)["ntg"].mean()
    expected = comparisons.set_index(whole)["ntg"].loc[means.index]
    assert means.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-3)  # macro AUROC is the classes' mean
    rows.reset_index().to_parquet(tmp_path / "results.parquet")
    done = ntbench("export", tmp_path, "--out", tmp_path / "more", "--per-class")
    assert done.code == 2
    assert "keeps no values by class: a run folder's ledger does" in done.err
    assert len(load_per_class(ran[1])) == len(table)


def test_the_bootstrap_resamples_seeds_alone(ran):
    from bench.ledger.results import load_correctness
    from bench.stats.gap import negative_transfer

    table = negative_transfer(load_results(ran[1]), interval="bootstrap", correct=load_correctness(ran[1]))
    assert set(table["resampled"]) == {"seeds"}
    assert any("by auroc, no mean over test examples" in warning for warning in table.attrs["warnings"])


def test_check_says_it_too(tmp_path, ntbench):
    rng = np.random.default_rng(0)
    for name in ("healthy", "ill"):
        parts = {"x": rng.random((60, 4)), "y": np.arange(60) % 2}
        np.savez(tmp_path / f"{name}.npz", **parts, x_test=rng.random((10, 4)), y_test=np.ones(10, int))
    text = 'metric = "auroc"\nbackbones = ["mlp"]\ntarget_sizes = [20]\nseeds = 1\n'
    text += '[tasks]\nhealthy = { npz = "healthy.npz" }\nill = { npz = "ill.npz" }\n'
    (tmp_path / "mine.toml").write_text(text + '[[pairs]]\ntarget = "ill"\nsource = "healthy"\n')
    done = ntbench("check", tmp_path / "mine.toml", "--data")
    assert done.code == 2
    assert '"auroc" is undefined on the test set of "ill"' in done.out
