"""``ntbench show`` and the report draw what a run's source examples weighed."""

from __future__ import annotations

import html

import pandas as pd
import pytest

from bench.report.figures import weight_panels

SUITE = """
backbones = [{ backbone = "cnn", channels = [4, 4] }]
strategies = ["zero-shot"]
weighting = ["l2rw"]
target_sizes = [30]
seeds = 1
image_size = 8
measures = []

[tasks]
noisy = { task = "printed-digits", n = 120, label_noise = 0.4 }

[[pairs]]
target = "digits"
source = "noisy"

[recipe]
steps = 5

[source_recipe]
steps = 5
"""
PICTURES = ("weights", "weights-over-training", "weights-by-class", "weighted-images")


def test_pictures_of_weights_stand_beside_the_samples(tmp_path, ntbench):
    suite, out, png = tmp_path / "small.toml", tmp_path / "out", tmp_path / "pair.png"
    suite.write_text(SUITE)
    arguments = ("show", "noisy->digits", "--suite", suite, "--out", out, "--png", png)
    before = ntbench(*arguments)
    assert before.code == 0
    assert not list(tmp_path.glob("pair-*.png"))  # nothing was run yet
    assert ntbench("run", suite, "--out", out, "--jobs", 0, "--device", "cpu").code == 0
    done = ntbench(*arguments)
    assert done.code == 0, done.err
    for name in PICTURES:
        path = tmp_path / f"pair-{name}.png"
        assert path.read_bytes().startswith(b"\x89PNG")
        assert f"picture: {path}" in done.out
    report = ntbench("report", out)
    assert report.code == 0, report.err
    page = html.unescape((out / "report.html").read_text())
    assert "How much harmful and helpful source examples weighed: noisy -> digits, 30 labels" in page
    kept = next((out / "weights").iterdir())
    kept.write_bytes(kept.read_bytes()[:50])
    assert ntbench("report", out).code == 0
    page = html.unescape((out / "report.html").read_text())
    assert f"No figure of the source examples' weights: weights out/weights/{kept.name} are damaged" in page


@pytest.mark.parametrize("planted", [True, False])
def test_the_report_draws_the_largest_size_of_sources_with_planted_harm(planted):
    common = {"backbone": "cnn", "seed": 0, "source_seed": 0, "joint": False}
    rows = [
        {**common, "source": source, "target": target, "weighting": way, "target_size": size, "example": i,
         "harmful": planted and source == "noisy" and i % 3 == 0, "weight": i + 1.0}
        for source in ("clean", "noisy")
        for target, way, size in [(None, "loss", None), ("one", "l2rw", 20), ("one", "l2rw", 50), ("two", "l2rw", 9)]
        for i in range(9)
    ]  # fmt: skip
    found = list(weight_panels(pd.DataFrame(rows)))
    names = ["example_weights-noisy-one-50-labels", "example_weights-noisy-two-9-labels"]
    assert [panel.name for panel in found] == (names if planted else [])
    for panel, size in zip(found, (50, 9), strict=False):
        assert set(panel.table.target_size.dropna()) == {size}
        assert set(panel.table.weighting) == {"loss", "l2rw"}
        assert panel.title.endswith(f"{size} labels")
        panel.draw()
