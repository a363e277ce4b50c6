"""What is kept of a weighted training: weights and losses of every example, and how they go together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr

import bench
from bench.errors import StoreError
from bench.ledger.example_weights import load_weights
from bench.weighting.kept import Trace, Weights

SUITE = {
    "name": "kept",
    "backbones": [{"backbone": "mlp", "widths": [8], "name": "mlp"}],
    "strategies": ["zero-shot"],
    "weighting": ["l2rw", "oracle"],
    "target_sizes": [30],
    "seeds": 1,
    "measures": [],
    "image_size": 8,
    "tasks": {"noisy": {"task": "printed-digits", "n": 150, "n_test": 30, "label_noise": 0.4}},
    "pairs": [{"target": "digits", "source": "noisy"}],
    "recipe": {"steps": 2, "learning_rates": [0.03], "checkpoints": 1},
    "source_recipe": {"steps": 60, "batch_size": 40, "learning_rates": [0.05]},
}


def weights(history, losses, harmful=None):
    history, losses = np.atleast_2d(np.float32(history)), np.atleast_2d(np.float32(losses))
    n = history.shape[1]
    flags = np.zeros(n, bool) if harmful is None else np.asarray(harmful)
    return Weights(np.arange(n), history.mean(0), history, losses.mean(0), losses, flags, np.zeros(n, int), 0)


def test_means_are_over_the_steps_that_saw_an_example():
    trace = Trace(2, 4, 20, torch.device("cpu"))
    for step in range(20):
        positions = torch.tensor([[0, 1], [1, 2]])
        loss = torch.full((2, 2), float(step))
        trace.add(step, positions, torch.tensor([[0.25, 0.75], [1.0, 0.0]]), loss)
    first, second = trace.of(0), trace.of(1)
    np.testing.assert_allclose(first["mean"], [0.5, 1.5, np.nan, np.nan])
    np.testing.assert_allclose(second["mean"], [np.nan, 2, 0, np.nan])
    np.testing.assert_allclose(first["loss"], [9.5, 9.5, np.nan, np.nan])
    assert first["history"].shape == first["losses"].shape == (10, 4)
    np.testing.assert_allclose(second["losses"][:, 1], np.arange(10) * 2 + 0.5)


@pytest.mark.parametrize(
    ("history", "losses", "expected"),
    [
        ([[1, 2, 3], [3, 2, 1]], [[0, 0, 0], [1, 2, 3]], -1.0),  # the last stretch alone counts
        ([0, 0, 1, 5], [0.1, 0.2, 0.3, 9], np.sqrt(0.9)),  # ties share a rank
        ([1, np.nan, 2, 3], [5, 1, 6, 7], 1.0),
        ([1, 1, 1], [1, 2, 3], None),
        ([1, np.nan], [1, np.nan], None),
    ],
)
def test_correlation_of_weight_and_loss_is_spearmans_at_the_end(history, losses, expected):
    found = weights(history, losses).summary()["weight_loss_correlation"]
    assert found == (None if expected is None else pytest.approx(expected))


def test_rows_and_files_agree_and_files_without_losses_are_read(tmp_path):
    rows = bench.run(SUITE, tmp_path, jobs=0)
    learned = rows[rows.weighting == "l2rw"].iloc[0]
    kept = load_weights(tmp_path, history=True)
    last = kept[(kept.weighting == "l2rw") & (kept.interval == kept.interval.max())].dropna(subset=["weight", "loss"])
    assert learned.weight_loss_correlation == pytest.approx(spearmanr(last.weight, last.loss).statistic)
    assert np.isnan(rows[rows.weighting == "uniform"].weight_loss_correlation).all()
    means = load_weights(tmp_path)
    # Wrong labels that nothing is learned from cost more: what was noted is the loss of the example that was weighed.
    oracle = means[means.weighting == "oracle"]
    assert oracle[oracle.harmful].loss.mean() > oracle[~oracle.harmful].loss.mean() + 0.5
    for path in (tmp_path / "weights").iterdir():
        save_file({name: value for name, value in load_file(path).items() if name not in ("loss", "losses")}, path)
    for history in (False, True):
        before, after = kept if history else means, load_weights(tmp_path, history)
        assert after.loss.isna().all()
        assert after.drop(columns="loss").equals(before.drop(columns="loss"))


def test_files_whose_losses_are_cut_off_are_damaged(tmp_path):
    bench.run({**SUITE, "weighting": ["oracle"]}, tmp_path, jobs=0)
    (path,) = (tmp_path / "weights").iterdir()
    parts = load_file(path)
    save_file({**parts, "losses": parts["losses"][:, 1:].contiguous()}, path)
    with pytest.raises(StoreError, match="different lengths"):
        load_weights(tmp_path)
