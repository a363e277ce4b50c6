"""Kinds of task from end to end: a detector's shape, numbers, several labels, and sources without labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import bench
from bench.cli import main
from bench.errors import SuiteError

PLUGIN = Path(__file__).parent / "kinds_plugin.py"
QUICK = {
    "seeds": 2, "measures": [],
    "recipe": {"steps": 30, "checkpoints": 3, "learning_rates": [0.03, 0.1]},
    "source_recipe": {"steps": 30, "learning_rates": [0.1]},
}  # fmt: skip


def test_a_detectors_shape_trains_is_scored_and_compared(plugin, tmp_path):
    """Targets are lists of mappings, the network returns its losses, the metric is the plug-in's."""
    suite = QUICK | {
        "plugins": [str(plugin)], "backbones": ["cnn"], "target_sizes": [40],
        "strategies": ["fine-tune", {"strategy": "fine-tune", "depths": [0], "method": "l2-sp"}],
        "tasks": {"small": {"task": "spots", "size": 3}, "large": {"task": "spots", "size": 5, "seed": 1}},
        "pairs": [{"source": "large", "target": "small"}],
        "recipe": {"steps": 120, "checkpoints": 3, "learning_rates": [0.1, 0.3]},
        "source_recipe": {"steps": 120, "learning_rates": [0.3]},
    }  # fmt: skip
    rows = bench.run(suite, tmp_path / "out")
    assert set(rows["status"]) == {"ok"}, rows["error"].dropna().unique()
    assert set(rows["metric"]) == {"mean-iou"}
    assert rows["test_accuracy"].isna().all()
    assert rows["val_score"].between(0, 1).all()
    assert rows["test_score"].max() > 0.15  # of boxes that are drawn at random it is below 0.05
    gaps = bench.negative_transfer(rows)
    assert len(gaps) == 5
    assert np.allclose(gaps["ntg"], gaps["scratch_score"] - gaps["transfer_score"])


def write_table(path, rng, shift=0.0, n=240):
    """A table with a column of numbers and three labels, all from the same four inputs."""
    x = rng.normal(size=(n, 4)) + shift
    value = 1000 + 50 * (x[:, 0] - x[:, 1]) + 5 * rng.normal(size=n)
    labels = (x[:, :3] + 0.3 * rng.normal(size=(n, 3)) > 0.5).astype(int)
    header = "a,b,c,d,price,l1,l2,l3"
    np.savetxt(path, np.column_stack([x, value, labels]), delimiter=",", header=header, comments="", fmt="%.5f")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(0)
    for name, shift in (("here", 0.0), ("there", 0.4)):
        write_table(folder / f"{name}.csv", rng, shift)
    return folder


def run_cli(*arguments):
    """Run the command in this process; return its exit code."""
    with pytest.raises(SystemExit) as done:
        main(list(map(str, arguments)))
    return done.value.code


@pytest.fixture
def plugin(tmp_path):
    """The plug-in as a file of its own, so that each test registers it anew."""
    return Path(shutil.copy(PLUGIN, tmp_path / "kinds.py"))


SUITES = {
    "regression": ('kind = "regression", label = "price", drop = ["l1", "l2", "l3"]', "r2", "margin = 0.05"),
    "multi-label": ('kind = "multi-label", label = ["l1", "l2", "l3"], drop = ["price"]', "mean-average-precision", ""),
}


@pytest.mark.parametrize("kind", SUITES)
def test_numbers_and_labels_go_through_table_report_and_diff(kind, tables, tmp_path):
    task, metric, statistics = SUITES[kind]
    suite = tmp_path / "suite.toml"
    lines = [
        'backbones = [{ backbone = "mlp", widths = [16, 8] }]', 'strategies = ["feature-extraction", "fine-tune"]',
        "target_sizes = [40]", "seeds = 3", "measures = []", "[tasks]",
        *(f'{name} = {{ table = "{tables / name}.csv", {task} }}' for name in ("here", "there")),
        "[[pairs]]", 'source = "there"', 'target = "here"',
        "[recipe]", "steps = 60", "learning_rates = [0.03, 0.1]",
        "[source_recipe]", "steps = 200", "learning_rates = [0.1]",
        *(["[statistics]", statistics] if statistics else []),
    ]  # fmt: skip
    suite.write_text("\n".join(lines))
    assert run_cli("run", suite, "--out", tmp_path / "out") == 0
    rows = bench.load_results(tmp_path / "out")
    assert set(rows["status"]) == {"ok"}
    assert set(rows["metric"]) == {metric}
    assert rows["test_score"].median() > 0.6
    assert rows["test_accuracy"].isna().all() or kind == "multi-label"
    assert run_cli("diff", tmp_path / "out", tmp_path / "out") == 0
    assert run_cli("report", tmp_path / "out") == 0
    text = (tmp_path / "out" / "report.md").read_text()
    label = {"r2": "R2", "mean-average-precision": "mean average precision"}[metric]
    assert label.lower() in text.lower().replace("²", "2")
    assert "accuracy" not in text.lower()


def test_predictions_of_a_regression_are_in_the_units_of_the_target(tables, tmp_path):
    """Whatever the scale of the targets is: the network is trained on its own, and gives theirs."""
    suite = QUICK | {
        "backbones": [{"backbone": "mlp", "widths": [16, 8]}], "target_sizes": [60], "strategies": ["fine-tune"],
        "tasks": {
            name: {"table": f"{tables / name}.csv", "kind": "regression", "label": "price", "drop": ["l1", "l2", "l3"]}
            for name in ("here", "there")
        },
        "pairs": [{"source": "there", "target": "here"}], "metric": "mae", "statistics": {"margin": 1.0},
    }  # fmt: skip
    rows = bench.run(suite, tmp_path / "out")
    assert set(rows["metric"]) == {"mae"}
    assert rows["test_score"].between(-60, -3).all()  # minus the mean error: a constant is some 55 off, the noise is 4
    assert rows["test_r2"].max() > 0.7


SELF_SUPERVISED = QUICK | {
    "backbones": [{"backbone": "mlp", "widths": [8]}], "target_sizes": [40], "strategies": ["fine-tune", "zero-shot"],
    "tasks": {"free": {"task": "moons-without-labels"}},
    "pairs": [{"source": "free", "target": "moons"}],
}  # fmt: skip


def test_a_source_without_labels_is_trained_by_a_method(plugin, tmp_path):
    rows = bench.run(
        SELF_SUPERVISED | {"plugins": [str(plugin)], "source_methods": {"free": "recover"}}, tmp_path / "out"
    )
    assert set(rows["status"]) == {"ok"}, rows["error"].dropna().unique()
    assert set(rows["strategy"]) == {"scratch", "fine-tune"}  # there is no head for zero-shot
    assert rows["source_accuracy"].isna().all()


def test_a_source_without_labels_needs_a_method(plugin, tmp_path):
    with pytest.raises(SuiteError, match="has no labels: say a method that needs none"):
        bench.run(SELF_SUPERVISED | {"plugins": [str(plugin)]}, tmp_path / "out")


def test_the_plug_in_of_the_detectors_shape_is_checked(plugin, capfd):
    assert run_cli("check", plugin) == 0
    said = capfd.readouterr().out
    assert all(f"ok       {what}" in said for what in ("task spots", "metric mean-iou")), said
