"""``ntbench show`` draws what a run's source examples weighed."""

from __future__ import annotations

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
