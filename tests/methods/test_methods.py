"""Methods: what a step minimises, against independent formulas, and what the seam promises."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

import bench
from bench.backbones.base import build
from bench.backbones.stack import values
from bench.errors import BenchError, SuiteError
from bench.registry import METHODS
from bench.suite.choices import read_method
from bench.suite.load import load_suite
from bench.suite.model import Recipe
from bench.suite.plan import Plan
from bench.suite.strategies import read_strategies
from bench.training.cuts import Cuts, Frozen
from bench.training.data import Data
from bench.training.fit import fit
from bench.training.inputs import Held
from bench.training.lanes import Lane, Layout, source_head, stream_of
from bench.training.loop import Start
from bench.training.method_contract import check_method
from bench.training.protocol import Split
from bench.training.step import own_modules
from bench.training.weighted import add_head
from bench.triangle import JOINT, PLAIN, Phase

CLASSES, POOL, SHAPE, DEPTH = ("a", "b", "c"), 48, (2, 7, 7), 3
ONE = Recipe(steps=1, batch_size=64, learning_rates=(0.1,), checkpoints=1, momentum=0.0)
FEW = Recipe(steps=6, batch_size=12, learning_rates=(0.02, 0.1), checkpoints=3)


def network(seed, norm="none"):
    return build("cnn", SHAPE, len(CLASSES), seed, seed + 100, channels=[4, 5, 6], norm=norm).double()


def data_of(seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, len(CLASSES), POOL)
    x = torch.tensor(rng.normal(0, 0.5, (POOL, *SHAPE)) + y.reshape(-1, 1, 1, 1))
    return Data(Held(x), torch.tensor(y), Held(x), torch.tensor(y), f"data {seed}", ("data", seed))


def lane_of(how, seed=0, norm="none", copied=DEPTH):
    """A lane whose first blocks were copied, with a source and unlabelled examples where the method asks for them."""
    made, source, data, order = network(seed, norm), network(seed + 50, norm), data_of(0), np.arange(POOL)
    for name in list(made.blocks)[:copied]:
        made.blocks[name].load_state_dict(source.blocks[name].state_dict())
    frozen = Frozen(Cuts(2**20), f"source {seed}", source.eval().requires_grad_(False), data, order, seed, POOL)
    lane = Lane(made, data, Split(order[:24], order[24:36]), 36, seed, Start(copied, lr=0.5), frozen, seed, how)
    if how.sources:
        other = data_of(1)
        lane.sources = (stream_of(other, order[:30], 30, ("source", seed)),)
        add_head(made, source_head(0), other.head, CLASSES, seed)
    if how.unlabelled:
        lane.unlabelled = stream_of(data, order[36:], 12, ("free", seed))
    own_modules(lane, CLASSES, seed)
    made.beside.double()
    return lane


def stepped(lane, freeze=0, recipe=ONE):
    """What one step of gradient descent at rate 0.1 moved, by the parameter's name."""
    before = copy.deepcopy(lane.network)
    fit([lane], (Phase(freeze),), recipe)
    after = dict(lane.network.named_parameters())
    return {name: before.get_parameter(name) - after[name] for name in after}, before


def slopes(loss, named):
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)
    return {name: grad for name, grad in zip(named, found, strict=True) if grad is not None}


def rates(name):
    return 0.1 * (0.5 if name.startswith("blocks") else 1.0)


def test_l2_sp_adds_both_penalties():
    """By the paper's formula: one step from the start has no pull yet, so a lane that has moved is looked at."""
    how = read_method({"name": "l2-sp", "alpha": 0.3, "beta": 0.2})
    lane = lane_of(how)
    start = {name: value.clone() for name, value in lane.network.named_parameters()}
    two = ONE.model_copy(update={"steps": 2, "schedule": "constant"})
    mine = copy.deepcopy(lane.network)
    fit([lane], (Phase(0),), two)
    x, y = lane.data.x.x[:24], lane.data.y[:24]
    for _ in range(2):
        named = dict(mine.named_parameters())
        far = sum((v - start[n]).square().sum() for n, v in named.items() if n.startswith("blocks"))
        large = sum(v.square().sum() for n, v in named.items() if n.startswith("head"))
        loss = cross_entropy(mine(x), y) + 0.15 * far + 0.1 * large
        for name, slope in slopes(loss, named).items():
            named[name].data -= rates(name) * slope
    for a, b in zip(values(mine), values(lane.network), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_bss_adds_the_squares_of_the_smallest_singular_values():
    lane = lane_of(read_method({"name": "bss", "eta": 0.5, "k": 2}))
    moved, before = stepped(lane)
    features = before.run_blocks(lane.data.x.x[:24])
    # In single precision, as the method takes them.
    small = torch.linalg.svdvals(features.float())[-2:].square().sum()
    loss = cross_entropy(before.head(features), lane.data.y[:24]) + 0.5 * small
    for name, slope in slopes(loss, dict(before.named_parameters())).items():
        torch.testing.assert_close(moved[name], rates(name) * slope, rtol=1e-4, atol=1e-7)


def test_dann_turns_the_gradient_of_the_domains_round():
    """In a step with a strength above zero: blocks climb the domain loss that the discriminator descends."""
    lane = lane_of(read_method("dann"))
    two = ONE.model_copy(update={"steps": 2, "schedule": "constant"})
    mine = copy.deepcopy(lane.network)
    fit([lane], (Phase(0),), two)
    source, free = lane.sources[0], lane.unlabelled
    x = {"t": lane.data.x.x[:24], "s": source.data.x.x[source.examples], "u": free.data.x.x[free.examples]}
    for step in range(2):
        named = dict(mine.named_parameters())
        features = {part: mine.run_blocks(value) for part, value in x.items()}
        both = torch.cat([features["s"], features["u"]])
        truth = torch.cat([torch.zeros(30), torch.ones(12)]).double()
        weight = torch.cat([torch.full((30,), 0.5 * 42 / 30), torch.full((12,), 0.5 * 42 / 12)]).double()
        domain = binary_cross_entropy_with_logits(mine.beside["discriminator"](both).squeeze(1), truth, weight)
        labels = cross_entropy(mine.head(features["t"]), lane.data.y[:24])
        labels = labels + cross_entropy(mine.beside[source_head(0)](features["s"]), source.y)
        strength = 2 / (1 + math.exp(-10 * step / 2)) - 1
        known, adverse = slopes(labels, named), slopes(domain, named)
        for name, value in named.items():
            sign = -strength if name.startswith("blocks") else 1.0
            slope = known.get(name, 0) + sign * adverse.get(name, torch.zeros(()))
            value.data -= rates(name) * slope
    for a, b in zip(values(mine), values(lane.network), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["plain", "joint", "l2-sp", "bss"])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_lanes_give_what_each_gives_alone(name, norm):
    how = read_method(name)
    alone, together = ([lane_of(how, seed, norm) for seed in range(3)] for _ in range(2))
    for lane in alone:
        fit([lane], (Phase(0),), FEW)
    fit(together, (Phase(0),), FEW, Layout(4))
    for a, b in zip(alone, together, strict=True):
        for x, y in zip(values(a.network), values(b.network), strict=True):
            torch.testing.assert_close(x, y, rtol=1e-7, atol=1e-9)


def test_plain_is_the_default_and_equal_to_the_bit():
    explicit, bare = lane_of(PLAIN), lane_of(PLAIN)
    bare.how = lane_of(PLAIN).how
    fit([explicit], (Phase(0),), FEW)
    fit([bare], (Phase(0),), FEW)
    assert all(torch.equal(a, b) for a, b in zip(values(explicit.network), values(bare.network), strict=True))


def test_what_is_seen_beside_moves_no_running_statistics():
    joint, plain = lane_of(JOINT, norm="batch"), lane_of(PLAIN, norm="batch")
    fit([joint], (Phase(0),), ONE)
    fit([plain], (Phase(0),), ONE)
    for (name, a), (_, b) in zip(joint.network.named_buffers(), plain.network.named_buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0, msg=name)


# The seam: what a plug-in's method may do.


def made(cls, name="mine", **options):
    bench.method(name, **options)(cls)
    return read_method(name)


def test_finish_changes_what_is_kept_and_not_how_training_goes_on():
    """Interpolation of weights: the kept model lies halfway, whatever the number of looks on the way."""

    class Halfway(bench.Method):
        def loss(self, step):
            return step.batch.loss()

        @torch.no_grad()
        def finish(self, training):
            for parameter in training.copied():
                parameter.now.lerp_(parameter.start, 0.5)

    how, last = made(Halfway), FEW.model_copy(update={"early_stopping": False, "learning_rates": (0.1,)})
    halfway, plain = lane_of(how), lane_of(PLAIN)
    start = copy.deepcopy(plain.network)
    fit([halfway], (Phase(0),), last)
    fit([plain], (Phase(0),), last)
    for name, value in halfway.network.named_parameters():
        end = plain.network.get_parameter(name)
        expected = (end + start.get_parameter(name)) / 2 if name.startswith("blocks") else end
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)


def test_a_method_sees_features_source_and_labelled_examples():
    seen = {}

    class Looks(bench.Method):
        def prepare(self, training):
            seen["labelled"] = sum(len(batch.targets) for batch in training.labelled())
            seen["copied"] = [parameter.name for parameter in training.copied()]

        def loss(self, step):
            batch = step.batch
            seen["shapes"] = [tuple(batch.features(block).shape) for block in (1, 2, None)]
            seen["source"] = tuple(batch.source_features(2).shape), tuple(batch.source_outputs().shape)
            with pytest.raises(BenchError, match="features of block 0 cannot be had"):
                batch.features(0)
            return batch.loss()

    lane = lane_of(made(Looks))
    fit([lane], (Phase(1),), ONE)
    assert seen["labelled"] == 24
    assert seen["copied"]
    assert not any(name.startswith("blocks.conv1") for name in seen["copied"])
    width = network(0).width
    assert seen["shapes"][-1] == (24, width)
    assert seen["source"] == (seen["shapes"][1], (24, 3))


@pytest.mark.parametrize("lanes", [False, True])
def test_a_method_may_run_the_network_on_other_inputs(lanes):
    """Given the batch's own inputs and targets, that is the plain loss."""

    class Again(bench.Method):
        def loss(self, step):
            return step.loss_of(step.outputs_of(step.batch.inputs), step.batch.targets)

    again, plain = ([lane_of(how, seed) for seed in range(2)] for how in (made(Again, lanes=lanes), PLAIN))
    for lanes_ in (again, plain):
        fit(lanes_, (Phase(1),), FEW, Layout(2 if lanes else 1))
    for a, b in zip(again, plain, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(values(a.network), values(b.network), strict=True))


def test_rates_by_name():
    class Slow(bench.Method):
        def rate(self, name):
            return 0.0 if name.startswith("blocks.conv2") else 2.0 if name.startswith("head") else 1.0

        def loss(self, step):
            return step.batch.loss()

    moved, _ = stepped(lane_of(made(Slow)))
    usual, _ = stepped(lane_of(PLAIN))
    for name, change in moved.items():
        factor = 0.0 if name.startswith("blocks.conv2") else 2.0 if name.startswith("head") else 1.0
        torch.testing.assert_close(change, factor * usual[name], rtol=1e-9, atol=1e-14, msg=name)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda step: step.batch.losses(), "its loss is of shape"),
        (lambda step: 3.0, "its loss is a float"),
        (lambda step: step.unlabelled.features().sum(), "not declared with unlabelled=True"),
        (lambda step: step.batch.returned()["box"], "returns no losses: its head is Linear"),
        (lambda step: [][1], 'method "mine": IndexError'),
    ],
)
def test_mistakes_of_a_method_are_said(loss, said):
    class Wrong(bench.Method):
        def loss(self, step):
            return loss(step)

    with pytest.raises(BenchError, match=said):
        fit([lane_of(made(Wrong))], (Phase(0),), ONE)


def test_what_cannot_be_a_method_is_refused():
    with pytest.raises(BenchError, match="decorate a subclass of bench"):
        bench.method("no")(int)
    with pytest.raises(BenchError, match="needs a method loss"):
        bench.method("no")(type("No", (bench.Method,), {}))
    both = {"loss": lambda self, step: None, "modules": lambda self, width, classes: {}}
    with pytest.raises(BenchError, match="modules of its own: leave lanes=True out"):
        bench.method("no", lanes=True)(type("No", (bench.Method,), both))


@pytest.mark.parametrize("name", METHODS.names())
def test_built_in_methods_keep_the_contract(name):
    assert check_method(METHODS.get(name)) == []


def test_the_contract_finds_what_is_wrong():
    class Still(bench.Method):
        def loss(self, step):
            return 0.0 * step.batch.loss()

    class Noisy(bench.Method):
        def loss(self, step):
            return step.batch.loss() * (1 + np.random.default_rng().random())

    class Mixes(bench.Method):
        def loss(self, step):
            return step.batch.loss() + 0.1 * step.batch.loss().mean() * step.batch.loss()

    class Spoils(bench.Method):
        def loss(self, step):
            step.source.head.bias.data += 1
            return step.batch.loss()

    for cls, options, said in (
        (Still, {}, "changes nothing"),
        (Noisy, {}, "step.generator"),
        (Mixes, {"lanes": True}, "a lane gives other values"),
        (Spoils, {}, "changes the source model"),
    ):
        made(cls, cls.__name__, **options)
        assert any(said in problem for problem in check_method(METHODS.get(cls.__name__))), cls.__name__


# In a suite.


def points(*entries):
    problems = []
    found = read_strategies(entries, 4, problems)
    return found[1:], [str(problem) for problem in problems]


def test_methods_cross_with_strategies_and_adaptations():
    found, problems = points(
        {"strategy": "fine-tune", "depths": [0, 3], "method": {"name": "l2-sp", "alpha": 0.5}, "adapt": "bias"},
        {"strategy": "scratch", "method": "dann"},
        {"name": "mine", "transfer": 2, "freeze": 1, "method": "bss"},
        "joint",
    )
    assert not problems
    assert [(s.name, s.how.label, s.adapt.label) for s in found] == [
        ("fine-tune+l2-sp:alpha=0.5+bias", "l2-sp:alpha=0.5", "bias"),
        ("fine-tune+l2-sp:alpha=0.5+bias", "l2-sp:alpha=0.5", "bias"),
        ("scratch+dann", "dann", "full"),
        ("mine", "bss", "full"),
        ("joint", "joint", "full"),
    ]
    assert found[0].identity()["method"] == ["l2-sp", 1, {"alpha": 0.5}]
    assert "method" not in found[-1].identity()  # keys of joint training are older than methods
    assert found[2].only_examples
    assert found[2].uses_source


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"strategy": "fine-tune", "method": "l2sp"}, 'unknown method "l2sp"; did you mean "l2-sp"'),
        ({"strategy": "fine-tune", "method": {"name": "l2-sp", "alfa": 1}}, 'has no argument "alfa"'),
        ({"strategy": "fine-tune", "method": {"name": "l2-sp", "alpha": -1}}, "alpha = -1 is not a finite number"),
        ({"strategy": "fine-tune", "method": 3}, "method = 3 does not name a method"),
        ({"strategy": "scratch", "method": "l2-sp"}, 'has no effect in "scratch"; it needs copied blocks that train'),
        ({"strategy": "feature-extraction", "method": "bss"}, "has no effect"),
        ({"strategy": "zero-shot", "method": "dann"}, "has no effect"),
        ({"strategy": "joint", "method": "dann"}, 'strategy "joint" has a method of its own'),
    ],
)
def test_bad_methods_are_said_with_their_place(entry, said):
    _, problems = points("fine-tune", entry)
    assert any(said in problem and problem.startswith("strategies[1]") for problem in problems), problems


SUITE = {
    "backbones": [{"backbone": "mlp", "widths": [8]}],
    "target_sizes": [100],
    "seeds": 2,
    "tasks": {"a": {"task": "moons"}, "b": {"task": "moons", "rotation": 30}},
    "pairs": [{"source": "b", "target": "a"}],
    "measures": [],
    "recipe": {"steps": 8, "checkpoints": 2, "learning_rates": [0.1]},
    "source_recipe": {"steps": 8, "learning_rates": [0.1]},
}


def test_unlabelled_examples_are_those_behind_the_labelled_ones_and_counted(tmp_path):
    suite = SUITE | {"strategies": [{"strategy": "fine-tune", "method": "dann"}], "unlabelled_size": 30}
    rows = bench.run(suite, tmp_path / "out")
    done = rows[rows["strategy"] == "fine-tune+dann"]
    assert set(done["status"]) == {"ok"}
    assert set(done["n_unlabelled"]) == {30}
    assert set(done["method"]) == {"dann"}
    assert rows.loc[rows["strategy"] == "scratch", "n_unlabelled"].isna().all()


def test_the_number_of_unlabelled_examples_is_part_of_the_identity():
    def keys(**more):
        plan = Plan(
            load_suite(SUITE | {"strategies": ["fine-tune", {"strategy": "fine-tune", "method": "dann"}]} | more)
        )
        return [plan._identity(strategy) for strategy in plan.strategies[0]]

    few, many = keys(unlabelled_size=10), keys()
    assert [a == b for a, b in zip(few, many, strict=True)] == [True] * (len(few) - 1) + [False]


def test_no_unlabelled_examples_left_is_said_before_anything_trains(tmp_path):
    suite = SUITE | {"strategies": [{"strategy": "fine-tune", "method": "dann"}], "target_sizes": ["all"]}
    with pytest.raises(SuiteError, match="size all leaves none of"):
        bench.run(suite, tmp_path / "out")
    assert not list((tmp_path / "out").glob("sources/*"))


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        ({"c": "plain"}, '"c" is no source of the suite'),
        ({"b": "dann"}, '"dann" asks for sources'),
        ({"b": "l2-sp"}, '"l2-sp" asks for copied weights'),
        ({"b": "plane"}, 'did you mean "plain"'),
    ],
)
def test_bad_source_methods(methods, said):
    with pytest.raises(SuiteError, match=said):
        load_suite(SUITE | {"source_methods": methods})


# Sets of sources.

MORE = {"a": {"task": "moons"}, "b": {"task": "moons", "rotation": 30}, "c": {"task": "moons", "rotation": 60}}
SETS = SUITE | {
    "tasks": MORE, "strategies": ["joint", "fine-tune", {"strategy": "scratch", "method": "dann"}],
    "pairs": [{"sources": ["b", ["b", "c"]], "target": "a"}],
}  # fmt: skip


def test_a_method_sees_every_source_of_a_set(tmp_path):
    rows = bench.run(SETS, tmp_path / "out")
    assert set(rows["status"]) == {"ok"}, rows["error"].dropna().unique()
    both = rows[rows["source"] == "b+c"]
    assert set(both["strategy"]) == {"joint", "scratch+dann"}  # there is no one model to copy from
    one = rows[(rows["source"] == "b") & (rows["strategy"] == "joint")]
    assert not set(one["test_loss"]) & set(both.loc[both["strategy"] == "joint", "test_loss"])
    again = bench.run(SETS, tmp_path / "out")
    assert (again["seconds"] == rows["seconds"]).all()  # resumed: nothing ran twice


def test_a_set_is_ordered_and_known_by_its_members():
    def keys(names):
        plan = Plan(load_suite(SETS | {"pairs": [{"sources": [names], "target": "a"}]}), CARDS)
        return [
            model.key for model in {t.model for t in plan.trials() if t.model and t.model.source == "+".join(names)}
        ]

    plan = Plan(load_suite(SETS))
    from bench.tasks.build import build_task, card_of

    CARDS = {spec.digest: card_of(build_task(spec, None)) for spec in plan.tasks.values()}
    first, second = keys(["b", "c"]), keys(["c", "b"])
    assert all(first)
    assert not set(first) & set(second)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strategies": ["fine-tune"]}, "a set of sources needs a strategy that takes examples"),
        ({"pairs": [{"sources": [["b"]], "target": "a"}]}, r"pairs\[0\].sources\[0\]"),
        ({"pairs": [{"sources": [["b", "d"]], "target": "a"}]}, 'unknown task "d"'),
    ],
)
def test_bad_sets_are_said_with_their_place(change, said):
    with pytest.raises(SuiteError, match=said):
        load_suite(SETS | change)
