"""Heads of trials whose blocks are all frozen: solved, chosen on validation, a start for what follows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.backbones.base import build
from bench.heads.base import head_of
from bench.suite.model import Recipe
from bench.suite.solved import Probe
from bench.training.cuts import Cuts, Frozen, activations
from bench.training.data import Data
from bench.training.fit import fit
from bench.training.inputs import Held
from bench.training.judge import Judge
from bench.training.lanes import Lane, Layout
from bench.training.loop import Start
from bench.training.protocol import Split
from bench.triangle import Phase

SHAPE, CLASSES, DEPTH = (1, 8, 8), 3, 3
RECIPE = Recipe(steps=6, batch_size=16, learning_rates=(0.01, 0.05, 0.1), checkpoints=2)
PATH = (Phase(DEPTH),)
STRENGTHS = (1.0, 0.01, 0.0001)
WHOLE, FIRST = Probe(1, STRENGTHS), Probe(1, (0.01,))


def network(outputs=CLASSES, head_seed=100, **options):
    return build("cnn", SHAPE, lambda width: torch.nn.Linear(width, outputs), 0, head_seed, channels=[4, 6, 6])


def data(kind="single-label", seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, 90)
    x = rng.normal(0, 1.0, (90, *SHAPE)) + y[:, None, None, None] * np.linspace(-1, 1, 64).reshape(SHAPE)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    if kind == "regression":
        y = 500 + 100 * torch.stack([y.double(), x.double().mean((1, 2, 3))], 1)
    return Data(Held(x[:60]), y[:60], Held(x[60:]), y[60:], "test", head=head_of(kind))


def lane_of(data, seed=0, outputs=CLASSES, place=0, known=True):
    """A lane as the runner makes them: what the frozen blocks make of the data is looked up."""
    source = network(outputs)
    order = np.random.default_rng(seed).permutation(60)
    frozen = Frozen(Cuts(2**30), "source", source.eval(), data, order, seed, 60) if known else None
    split = Split(order[:40], order[40:50])
    target = network(outputs, head_seed=200 + seed)
    return Lane(target, data, split, 50, seed, Start(DEPTH, False, 0.1), frozen, place)


def fit_heads(lanes, recipe=RECIPE, path=PATH, probe=WHOLE, layout=None):
    return fit(lanes, path, recipe, layout, probe=probe, judge=Judge.of(lanes[0].data.head.kind))


def reference(lane, strength, examples):
    """scikit-learn's head on what the frozen blocks compute."""
    from sklearn.linear_model import LogisticRegression

    x = activations(lane.frozen.network, lane.data.x.x, DEPTH).double().numpy()
    centre = x[examples].mean(0)
    scale = np.sqrt(((x[examples] - centre) ** 2).sum(1).mean())
    model = LogisticRegression(C=1 / strength, tol=1e-8, max_iter=10_000)
    return model.fit((x[examples] - centre) / scale, lane.data.y[examples].numpy()), (x - centre) / scale


def probabilities(lane):
    with torch.no_grad():
        return lane.network.eval()(lane.data.x.x).softmax(1)


@pytest.mark.parametrize("refit", [False, True])
def test_feature_extraction_solves_its_head_and_chooses_the_strength_on_validation(refit):
    lane = lane_of(data())
    before = [tensor.clone() for tensor in lane.network.blocks.state_dict().values()]
    (found,) = fit_heads([lane], RECIPE.model_copy(update={"refit": refit}))
    val = lane.data.y[lane.split.validation].numpy()
    ranks = {}
    for strength in STRENGTHS:
        model, x = reference(lane, strength, lane.split.train)
        seen = model.predict_proba(x[lane.split.validation])
        loss = -np.log(seen[np.arange(len(val)), val]).mean()
        ranks[strength] = ((seen.argmax(1) == val).mean(), -loss, strength)
    best = max(ranks, key=ranks.get)
    assert found.head_strength == best
    assert found.val_score == found.val_accuracy == pytest.approx(ranks[best][0])
    assert found.val_loss == pytest.approx(-ranks[best][1], abs=1e-3)
    assert [(point[0], point[3:]) for point in found.curve] == [
        (s, (pytest.approx(-ranks[s][1], abs=1e-3), pytest.approx(ranks[s][0]))) for s in sorted(STRENGTHS)
    ]
    everything = np.concatenate([lane.split.train, lane.split.validation]) if refit else lane.split.train
    model, x = reference(lane, best, everything)
    np.testing.assert_allclose(probabilities(lane), model.predict_proba(x), atol=2e-4)
    assert all(torch.equal(a, b) for a, b in zip(before, lane.network.blocks.state_dict().values(), strict=True))


def test_what_a_solved_head_says_of_itself():
    lane = lane_of(data())
    (found,) = fit_heads([lane])
    assert (found.learning_rate, found.rates, found.steps, found.best_step) == (None, (), 0, 0)
    assert found.strengths == STRENGTHS
    assert found.head_gradient <= 1e-6
    assert found.cut == "cached"
    assert found.collapsed == ()
    assert 0 < found.train_loss < found.constant_loss == pytest.approx(np.log(3), abs=0.1)


def test_ties_on_validation_go_to_the_stronger_penalty():
    lane = lane_of(data())
    lane.split = Split(lane.split.train, lane.split.train[:0])  # nothing to choose by
    (found,) = fit_heads([lane], probe=Probe(1, (0.5, 2.0)))
    assert found.error is not None  # with no validation example there is no loss
    lane = lane_of(data())
    (found,) = fit_heads([lane], probe=Probe(1, (0.5, 0.5)))
    assert found.head_strength == 0.5


def test_lanes_get_the_heads_they_get_alone():
    target = data()
    alone = [lane_of(target, seed, place=seed) for seed in range(5)]
    together = [lane_of(target, seed, place=seed) for seed in range(5)]
    single = [fit_heads([lane])[0] for lane in alone]
    stacked = fit_heads(together, layout=Layout(4))
    for a, b in zip(single, stacked, strict=True):
        assert a.head_strength == b.head_strength
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(probabilities(a), probabilities(b), atol=1e-4)
    again = [lane_of(target, seed, place=seed) for seed in (1, 3)]  # in other company
    fit_heads(again, layout=Layout(4))
    for seed, lane in zip((1, 3), again, strict=True):
        assert torch.equal(lane.network.head.weight, together[seed].network.head.weight)


def test_without_a_cache_the_frozen_blocks_are_run():
    known, not_known = lane_of(data()), lane_of(data(), known=False)
    (a,), (b,) = fit_heads([known]), fit_heads([not_known])
    assert (a.cut, b.cut) == ("cached", "recomputed")
    np.testing.assert_allclose(probabilities(known), probabilities(not_known), atol=1e-4)


@pytest.mark.parametrize("refit", [False, True])
def test_a_probe_is_the_start_of_what_follows(refit):
    lane, solved = lane_of(data()), lane_of(data())
    slow = RECIPE.model_copy(update={"learning_rates": (1e-7, 1e-9, 1e-8), "refit": refit})
    (found,) = fit_heads([lane], slow, (Phase(DEPTH), Phase(0)), FIRST)
    assert found.head_strength == 0.01
    assert found.strengths == ()
    assert found.learning_rate in slow.learning_rates
    assert found.steps == RECIPE.steps  # all of them: the probe takes none
    fit_heads([solved], slow, probe=FIRST)
    np.testing.assert_allclose(probabilities(lane), probabilities(solved), atol=1e-4)


def test_the_steps_after_a_probe_train_what_they_are_to_train():
    lane = lane_of(data())
    before = [tensor.clone() for tensor in lane.network.blocks.parameters()]
    fit_heads([lane], path=(Phase(DEPTH), Phase(DEPTH - 1), Phase(0)), probe=FIRST)
    assert not any(torch.equal(a, b) for a, b in zip(before, lane.network.blocks.parameters(), strict=True))


def test_heads_of_a_regression_give_the_targets_own_units():
    from sklearn.linear_model import Ridge

    lane = lane_of(data("regression"), outputs=2)
    (found,) = fit_heads([lane], probe=Probe(1, (0.01,)))
    x = activations(lane.frozen.network, lane.data.x.x, DEPTH).double().numpy()
    train = lane.split.train
    scale = np.sqrt(((x[train] - x[train].mean(0)) ** 2).sum(1).mean())
    model = Ridge(alpha=2 * 0.01).fit((x[train] - x[train].mean(0)) / scale, lane.data.y[train])
    with torch.no_grad():
        outputs = lane.network.eval()(lane.data.x.x)
    np.testing.assert_allclose(outputs, model.predict((x - x[train].mean(0)) / scale), rtol=1e-3)
    assert found.val_accuracy is None


def test_features_that_are_not_finite_are_an_error_of_that_lane_alone():
    good, bad = lane_of(data(), 0, place=0), lane_of(data(), 1, place=1)
    for parameter in bad.frozen.network.blocks.parameters():
        parameter.data.fill_(torch.nan)
    found = fit_heads([good, bad], layout=Layout(2))
    assert found[0].error is None
    assert "not finite" in str(found[1].error)


def test_rows_say_how_their_heads_were_found(tmp_path, small_suite):
    import bench

    suite = small_suite | {
        "strategies": ["feature-extraction", "linear-probe-fine-tune", "fine-tune"], "target_sizes": [20], "seeds": 1,
        "pairs": [{"target": "digits", "sources": ["source"]}],
    }  # fmt: skip
    rows = bench.run(suite, tmp_path / "run", jobs=0).set_index("strategy")
    assert (rows["status"] == "ok").all()
    heads = rows.loc["feature-extraction"]
    assert heads["head_strength"] in (0.316228, 0.000316228)
    assert heads["head_strengths"] == "0.316228, 0.000316228"
    assert heads["head_gradient"] <= 1e-6
    assert heads[["learning_rate", "learning_rates"]].isna().all()
    assert heads["steps"] == heads["best_step"] == 0
    assert rows.loc["linear-probe-fine-tune", "head_strength"] == pytest.approx(0.01)
    assert rows.loc["linear-probe-fine-tune", "learning_rate"] in (0.05, 0.2)
    assert rows.loc[["scratch", "fine-tune"], ["head_strength", "head_strengths"]].isna().all(axis=None)
    stepped = suite | {"recipe": suite["recipe"] | {"head": "stepped"}}
    before = bench.run(stepped, tmp_path / "stepped", jobs=0).set_index("strategy")
    assert before["head_strength"].isna().all()
    assert before.loc["feature-extraction", "learning_rate"] in (0.05, 0.2)
    same = ["scratch", "fine-tune"]
    assert (rows.loc[same, "test_loss"] == before.loc[same, "test_loss"]).all()


@pytest.mark.parametrize(("kind", "better"), [("regression", "r2"), ("multi-label", "mean-average-precision")])
def test_other_kinds_than_single_labels_are_solved_too(tmp_path, kind, better):
    import bench

    def made(seed):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(150, 5))
        value = x @ np.array([[2.0, 1.0], [1.0, -1.0], [0.5, 0.0], [0.0, 0.5], [0.0, 0.0]])
        y = value > 0 if kind == "multi-label" else 40 + 5 * value
        return bench.Task(x, y, ["a", "b"], kind=kind)

    bench.task(f"{kind}-near", kind=kind, classes=("a", "b"))(lambda root: made(1))
    bench.task(f"{kind}-mine", kind=kind, classes=("a", "b"))(lambda root: made(2))
    suite = {
        "name": "kinds", "backbones": [{"backbone": "mlp", "widths": [16, 16]}], "strategies": ["feature-extraction"],
        "target_sizes": [60], "seeds": 1, "statistics": {"margin": 0.1},
        "pairs": [{"target": f"{kind}-mine", "source": f"{kind}-near"}],
        "recipe": {"steps": 5, "checkpoints": 1}, "source_recipe": {"steps": 300, "learning_rates": [0.05]},
    }  # fmt: skip
    row = bench.run(suite, tmp_path / "run", jobs=0).set_index("strategy").loc["feature-extraction"]
    assert row["status"] == "ok", row["error"]
    assert row["metric"] == better
    assert row["head_strength"] in (1, 0.01, 0.0001)
    assert row["test_score"] > 0.9
