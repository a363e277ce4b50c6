"""Adaptations: what trains above the frozen depth moves, everything else is equal to the bit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import bench
from bench.adaptations.apply import adapt, trains_nothing
from bench.backbones.base import build
from bench.backbones.stack import Stack
from bench.errors import BenchError, SuiteError
from bench.suite.choices import read_adaptation
from bench.suite.load import load_suite
from bench.suite.model import Recipe
from bench.suite.packing import pack_trials
from bench.suite.plan import Plan
from bench.suite.strategies import read_strategies
from bench.training.data import Data
from bench.training.fit import fit
from bench.training.inputs import Held
from bench.training.lanes import Lane, Layout
from bench.training.loop import Optimizer, Start
from bench.training.protocol import Split
from bench.transfer.start import trainable_parameters
from bench.triangle import FULL, Phase, Strategy

CLASSES, POOL, SHAPE = 3, 60, (2, 7, 7)
RECIPE = Recipe(steps=5, batch_size=16, learning_rates=(0.02, 0.1), weight_decay=0.01, checkpoints=5, clip_norm=0.7)


def network(seed, norm="batch"):
    return build("cnn", SHAPE, CLASSES, seed, seed + 100, channels=[4, 5, 6], norm=norm).double()


def strategy(name, freeze=1, path=None, **arguments):
    return Strategy("x", 3, path or (Phase(freeze),), adapt=read_adaptation({"name": name, **arguments}))


def lanes_of(how, number, norm="batch"):
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, POOL)
    x, y = torch.tensor(rng.normal(0, 0.5, (POOL, *SHAPE)) + y.reshape(-1, 1, 1, 1)), torch.tensor(y)
    data, found = Data(Held(x), y, Held(x), y, "data", ("data",)), []
    for seed in range(number):
        made, order = network(seed, norm), np.random.default_rng(seed).permutation(POOL)
        adapt(made, how, "data", seed)
        found.append(Lane(made, data, Split(order[:40], order[40:]), 60, seed, Start(3, lr=0.1), place=seed))
    return found


def moved(how, width=1, norm="batch"):
    """Name the parameters that training changed."""
    lanes = lanes_of(how, 3, norm)
    before = [copy.deepcopy(lane.network) for lane in lanes]
    fit(lanes, how.path, RECIPE.model_copy(update={"early_stopping": False}), Layout(width))
    changed = [
        {name for name, p in lane.network.named_parameters() if not torch.equal(p, old.get_parameter(name))}
        for lane, old in zip(lanes, before, strict=True)
    ]
    assert changed[0] == changed[1] == changed[2]
    return changed[0]


HEAD = {"head.weight", "head.bias"}


def of_blocks(*ends, blocks=("conv2", "conv3")):
    names = [name for name, _ in network(0).named_parameters()]
    return HEAD | {n for n in names if n.split(".")[1] in blocks and n.endswith(ends) and n.startswith("blocks")}


@pytest.mark.parametrize("width", [1, 3])
def test_what_is_chosen_moves_and_nothing_else(width):
    everything = {name for name, _ in network(0).named_parameters() if not name.startswith("blocks.conv1")}
    norms = {n for n, layer in network(0).named_modules() if isinstance(layer, torch.nn.BatchNorm2d)}
    assert moved(strategy("full"), width) == everything
    assert moved(strategy("bias"), width) == of_blocks("bias")
    affine = {f"{n}.{part}" for n in norms for part in ("weight", "bias") if not n.startswith("blocks.conv1")}
    assert moved(strategy("norm"), width) == HEAD | affine
    assert moved(strategy("bias", 0), width) == of_blocks("bias", blocks=("conv1", "conv2", "conv3"))
    gradual = (Phase(3), Phase(2))
    assert moved(strategy("bias", path=gradual), width) == of_blocks("bias", blocks=("conv3",))


def test_running_statistics_move_above_the_frozen_depth_as_when_everything_trains():
    (lane,) = lanes_of(strategy("bias"), 1)
    before = copy.deepcopy(lane.network)
    fit([lane], (Phase(1),), RECIPE)
    moves = {
        name.split(".")[1]: not torch.equal(buffer, before.get_buffer(name))
        for name, buffer in lane.network.named_buffers()
        if name.endswith("running_mean")
    }
    assert moves == {"conv1": False, "conv2": True, "conv3": True}


@pytest.mark.parametrize("name", ["bias", "norm"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_lanes_equal_one_training_after_the_other(name, optimizer):
    how, recipe = strategy(name), RECIPE.model_copy(update={"optimizer": optimizer})
    alone, together = lanes_of(how, 5), lanes_of(how, 5)
    chosen = fit(alone, how.path, recipe, Layout(1))
    for width in (2, 5, 8):
        together = lanes_of(how, 5)
        found = fit(together, how.path, recipe, Layout(width))
        for a, b in zip(together, alone, strict=True):
            for one, other in zip(a.network.state_dict().values(), b.network.state_dict().values(), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)
        assert [(f.learning_rate, f.best_step) for f in found] == [(f.learning_rate, f.best_step) for f in chosen]


def test_the_row_counts_what_trains():
    counts = {}
    for name in ("full", "bias", "norm"):
        how, made = strategy(name), network(0)
        adapt(made, how, 0)
        counts[name] = trainable_parameters(made, how)
    head = 6 * CLASSES + CLASSES
    sizes = dict(network(0).named_parameters())
    assert counts["bias"] == sum(sizes[name].numel() for name in of_blocks("bias"))
    assert counts["norm"] == head + 2 * (5 + 6)
    assert counts["full"] == head + sum(
        p.numel() for n, p in sizes.items() if n.startswith(("blocks.conv2", "blocks.conv3"))
    )


@pytest.mark.parametrize("name", ["efficientnet_b0", "vit_b_16", "convnext_tiny"])
def test_published_networks_have_biases_and_normalisation_in_every_block(name):
    with torch.device("meta"):
        made = build(name, (3, 224, 224), 2, 0, 0)
    for adaptation in ("bias", "norm"):
        for freeze in range(made.depth):
            how = Strategy("x", made.depth, (Phase(freeze),), adapt=read_adaptation(adaptation))
            assert trains_nothing(made, name, [how]) is None, (adaptation, freeze)


# Suites


def read(*entries, depth=3):
    problems = []
    found = read_strategies(entries, depth, problems)
    return found, problems


def test_every_strategy_takes_one_and_says_so_in_its_name():
    found, problems = read(
        {"strategy": "fine-tune", "depths": [0, 2], "adapt": "norm"},
        {"strategy": "fine-tune", "depths": [1], "adapt": {"name": "bias"}, "name": "bitfit"},
        {"name": "half", "transfer": 3, "freeze": 2, "adapt": "bias"},
        {"strategy": "linear-probe-fine-tune", "adapt": "norm"},
        {"strategy": "scratch", "adapt": "norm"},
    )
    assert not problems
    assert [(s.name, s.frozen, s.adapt.label) for s in found] == [
        ("scratch", 0, "full"), ("fine-tune+norm", 0, "norm"), ("fine-tune+norm", 2, "norm"), ("bitfit", 1, "bias"),
        ("half", 2, "bias"), ("linear-probe-fine-tune+norm", 0, "norm"), ("scratch+norm", 0, "norm"),
    ]  # fmt: skip


def test_the_default_is_no_part_of_an_identity():
    (_, plain), _ = read({"strategy": "fine-tune", "depths": [1]})
    (_, full), _ = read({"strategy": "fine-tune", "depths": [1], "adapt": "full"})
    assert plain == full
    assert "adapt" not in plain.identity()
    (_, norm), _ = read({"strategy": "fine-tune", "depths": [1], "adapt": "norm"})
    assert norm.identity() == plain.identity() | {"adapt": ["norm", 1, {}]}


def test_where_every_block_is_frozen_a_point_is_what_it_is_without():
    found, problems = read({"strategy": "layer-transfer", "adapt": "norm"}, depth=2)
    assert not problems
    assert [(s.name, s.frozen, s.adapt.name) for s in found[1:]] == [
        ("layer-transfer+norm", 1, "norm"), ("layer-transfer+norm", 2, "full"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"strategy": "fine-tune", "adapt": "nrom"}, 'unknown adaptation "nrom"; did you mean "norm"'),
        ({"strategy": "fine-tune", "adapt": {"name": "norm", "rank": 4}}, 'adaptation "norm" has no argument "rank"'),
        ({"strategy": "fine-tune", "adapt": 3}, "adapt = 3 does not name an adaptation"),
        ({"strategy": "fine-tune", "adapt": {"rank": 3}}, "does not name an adaptation"),
        ({"strategy": "fine-tune", "adopt": "norm"}, '"adopt"'),
        ({"name": "x", "transfer": 1, "adopt": "norm"}, 'did you mean "adapt"'),
        ({"strategy": "feature-extraction", "adapt": "norm"}, "where the head alone is trained"),
        ({"strategy": "zero-shot", "adapt": "norm"}, "where nothing is trained"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(entry, said):
    _, problems = read("feature-extraction", entry)
    assert [problem.place for problem in problems] == ["strategies[1]"]
    assert said in problems[0].message


def with_strategies(suite, *entries, **changes):
    return {**suite, "measures": [], "strategies": ["feature-extraction", *entries], **changes}


def test_an_adaptation_that_finds_nothing_is_refused_before_anything_trains(small_suite, tmp_path):
    plain = {"backbone": "cnn", "channels": [4, 4], "norm": "none", "name": "plain"}
    suite = with_strategies(small_suite, {"strategy": "fine-tune", "adapt": "norm"}, backbones=[plain])
    with pytest.raises(SuiteError, match=r'"fine-tune\+norm": adaptation "norm" finds nothing .* backbone "plain"'):
        bench.run(suite, tmp_path / "out", jobs=0)
    assert not list((tmp_path / "out" / "sources").glob("*"))


NORMED = [{"backbone": "cnn", "channels": [4, 4], "norm": "batch", "name": "cnn"}]


def test_a_strategy_in_a_plug_in_does_not_choose_what_trains():
    @bench.strategy("own")
    def own(depth):
        yield bench.point("own", depth, 0, adapt=read_adaptation("norm"))

    _, problems = read("own")
    assert 'strategy "own" sets what trains' in problems[0].message


def test_different_adaptations_are_never_trained_together(small_suite):
    entries = ("fine-tune", *({"strategy": "fine-tune", "adapt": name} for name in ("bias", "norm")))
    plan = Plan(load_suite(with_strategies(small_suite, *entries, backbones=NORMED, lanes=8, seeds=8)))
    groups = list(pack_trials(plan, plan.trials()))
    kinds = [{plan.strategy(trial).adapt for trial in group.members} for group in groups]
    assert {len(kind) for kind in kinds} == {1}
    assert max(len(group.members) for group, kind in zip(groups, kinds, strict=True) if kind != {FULL}) == 8


def test_a_suite_runs_into_the_table_and_goes_on_where_it_stopped(small_suite, tmp_path):
    adapted = [{"strategy": "fine-tune", "adapt": name} for name in ("bias", "norm")]
    joint = [{"strategy": "joint", "adapt": name} for name in ("bias", "lora")]
    changes = {"backbones": NORMED, "target_sizes": [20], "weighting": ["l2rw"], "lanes": 2}
    changes["pairs"] = [{"target": "digits", "source": "source"}]
    suite = with_strategies(small_suite, "fine-tune", *adapted, *joint, **changes)
    bench.run(with_strategies(small_suite, "fine-tune", **changes), tmp_path / "out", jobs=0)
    plain = bench.load_results(tmp_path / "out").set_index("key")
    assert plain["adapt"].isna().all()
    bench.run(suite, tmp_path / "out", jobs=0)
    rows = bench.load_results(tmp_path / "out")
    assert set(rows["status"]) == {"ok"}
    known = rows.set_index("key")
    # What was there stays, and is what a run of everything gives.
    assert (known.loc[plain.index, "seconds"] == plain["seconds"]).all()
    bench.run(suite, tmp_path / "whole", jobs=0)
    whole = bench.load_results(tmp_path / "whole").set_index("key")
    assert set(whole.index) == set(known.index)
    assert (whole.loc[known.index, "test_loss"] == known["test_loss"]).all()
    names = {"fine-tune": 2, "fine-tune+bias": 2, "fine-tune+norm": 2, "joint+bias": 1, "joint+lora": 1}
    gaps = bench.negative_transfer(rows)
    counted = gaps[gaps["weighting"] == "uniform"]["strategy"].value_counts()
    assert {name: counted[name] for name in names} == names
    arms = rows[(rows["frozen_depth"] == 0) & (rows["weighting"] == "uniform").fillna(False)].groupby("strategy")
    assert dict(arms["adapt"].first().dropna()) == {
        "fine-tune+bias": "bias", "fine-tune+norm": "norm", "joint+bias": "bias", "joint+lora": "lora",
    }  # fmt: skip
    trained = arms["trainable_parameters"].first()
    assert trained["fine-tune+bias"] < trained["fine-tune+norm"] < trained["fine-tune"]
    assert arms["test_loss"].first().nunique() == len(arms)  # no two of them are the same training


def test_only_a_subclass_can_be_registered():
    with pytest.raises(BenchError, match=r"decorate a subclass of bench.Adaptation"):
        bench.adaptation("mine")(lambda layer, name: True)

    class Adds(bench.Adaptation):
        def extend(self, block):
            return block

    with pytest.raises(BenchError, match="declare it with lanes=False"):
        bench.adaptation("adds")(Adds)


# LoRA


def lora(freeze=1, **arguments):
    made, how = network(0), strategy("lora", freeze, **arguments)
    adapt(made, how, "data", 0)
    return made, how


def test_lora_begins_as_the_network_it_is_given():
    made, _ = lora(0)
    x = torch.randn(4, *SHAPE, dtype=torch.float64)
    assert torch.equal(made.eval()(x), network(0).eval()(x))
    assert made.added == {
        f"blocks.conv{k}.0.parametrizations.weight.0.{part}" for k in (1, 2, 3) for part in ("a", "b")
    }


def test_lora_is_an_explicit_sum_of_w_and_b_a():
    made, _ = lora(0, rank=2, alpha=3.0)
    generator = torch.Generator().manual_seed(0)
    values = {name: torch.randn(p.shape, generator=generator).double() for name, p in made.named_parameters()}
    made.load_state_dict({**made.state_dict(), **values})
    plain = network(0)
    for name, p in plain.named_parameters():
        stem, _, last = name.rpartition(".")
        found = made.get_parameter(
            name if last != "weight" or p.ndim != 4 else f"{stem}.parametrizations.weight.original"
        )
        p.data.copy_(found)
        if p.ndim == 4:
            a, b = (made.get_parameter(f"{stem}.parametrizations.weight.0.{part}") for part in "ab")
            assert a.shape == (2, p[0].numel())
            p.data += 3.0 / 2 * torch.einsum("or,rihw->oihw", b, a.view(2, *p.shape[1:]))
    x = torch.randn(4, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(made.eval()(x), plain.eval()(x))


def test_lora_trains_its_updates_and_the_head_and_counts_them():
    made, how = lora(rank=2)
    # Inputs x 3 x 3 + outputs, for each of the two convolutions above the frozen depth.
    assert trainable_parameters(made, how) == 2 * (4 * 9 + 5) + 2 * (5 * 9 + 6) + 6 * CLASSES + CLASSES
    assert moved(how) == HEAD | made.added
    assert made.added == {f"blocks.conv{k}.0.parametrizations.weight.0.{part}" for k in (2, 3) for part in ("a", "b")}


def test_what_is_added_follows_from_the_identity_and_not_from_the_depth():
    def updates(seed, freeze):
        made = network(0)
        adapt(made, strategy("lora", freeze), "data", seed)
        return made.get_parameter("blocks.conv3.0.parametrizations.weight.0.a")

    assert torch.equal(updates(0, 0), updates(0, 2))
    assert not torch.equal(updates(0, 0), updates(1, 0))


def test_what_is_added_learns_at_the_rate_of_a_new_head():
    made, _ = lora()
    stack = Stack(made, 1).freeze(1)
    optimizer = Optimizer(stack, [Start(3, lr=0.1)], torch.tensor([0.5]), 1, RECIPE)
    assert [(group["rate"], len(group["params"])) for group in optimizer._optimizer.param_groups] == [(0.5, 6)]


@pytest.mark.parametrize("name", ["mlp", "vit_b_16"])
def test_lora_reaches_linear_layers_and_attention(name):
    shape, options = {"mlp": ((5,), {}), "vit_b_16": ((3, 32, 32), {})}[name]
    made = build(name, shape, 2, 0, 0, **options)
    made.blocks = torch.nn.ModuleDict(list(made.blocks.items())[:2])
    weights = {n for n, p in made.blocks.named_parameters() if p.ndim > 1 and n.endswith("weight")}
    adapt(made, Strategy("x", 2, (Phase(0),), adapt=read_adaptation("lora")), 0)
    ends = [n.removeprefix("blocks.").replace(".parametrizations.", ".").removesuffix(".0.a") for n in made.added]
    assert {n for n in ends if not n.endswith(".0.b")} == weights
    made.freeze(0)
    made.run_blocks(torch.randn(2, *shape)).sum().backward()
    assert all((made.get_parameter(n).grad is not None) for n in made.added)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"rank": 0}, "rank = 0 is not a whole number of at least 1"),
        ({"rank": 2.5}, "rank = 2.5 is not a whole number"),
        ({"alpha": -1}, "alpha = -1 is not a number above 0"),
        ({"alpha": "x"}, "alpha = 'x' is not a number above 0"),
        ({"ranks": 2}, 'did you mean "rank"'),
    ],
)
def test_arguments_that_cannot_be_are_said_with_the_suite(arguments, said):
    _, problems = read("fine-tune", {"strategy": "fine-tune", "adapt": {"name": "lora", **arguments}})
    assert [problem.place for problem in problems] == ["strategies[1]"]
    assert said in problems[0].message


def test_a_default_that_is_written_out_changes_nothing():
    assert read_adaptation({"name": "lora", "rank": 4, "alpha": 4}) == read_adaptation("lora")
    assert read_adaptation({"name": "lora", "rank": 16}).label == "lora:rank=16"


def test_what_adds_parameters_runs_one_lane_in_a_suite_of_several(small_suite, tmp_path):
    """And gives what a suite of one lane gives, to the bit, where the start has no part in it."""
    adapted = [{"strategy": name, "adapt": "lora"} for name in ("scratch", "joint")]
    adapted.append({"strategy": "joint", "adapt": "bias"})
    changes = {"target_sizes": [20], "pairs": [{"target": "digits", "source": "source"}]}
    found = {}
    for lanes in (1, 2):
        suite = with_strategies(small_suite, *adapted, **changes, lanes=lanes)
        bench.run(suite, tmp_path / str(lanes), jobs=0)
        rows = bench.load_results(tmp_path / str(lanes))
        assert set(rows["status"]) == {"ok"}
        found[lanes] = rows.dropna(subset="adapt").set_index(["adapt", "strategy", "seed"])["test_loss"]
    assert (found[1]["lora"] == found[2]["lora"]).all()
    np.testing.assert_allclose(found[1], found[2], rtol=1e-5)
    assert len(found[1]) == 3 * 2
