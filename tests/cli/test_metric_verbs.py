"""A metric other than accuracy, from `check` to `report`."""

from __future__ import annotations

import numpy as np


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
