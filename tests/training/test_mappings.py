"""Inputs that are mappings of tensors (ids and mask): from a plug-in's task through caches and blocks to rows."""

from textwrap import dedent

import numpy as np
import pytest
import torch
from torch import nn

import bench
from bench.backbones.base import Backbone, build
from bench.backbones.batch import Batch, cat, each, size
from bench.backbones.contract import check_backbone
from bench.backbones.declare import backbone
from bench.backbones.stack import Stack
from bench.backbones.trial_shapes import first_built
from bench.errors import BenchError, DataError, SuiteError
from bench.suite.specs import BackboneSpec
from bench.tasks.base import Task
from bench.training.cuts import Cuts, activations
from bench.training.data import prepare, to_tensor
from bench.training.inputs import Held, Joined, Mapped, join

CPU = torch.device("cpu")
SHAPES = (("ids", (6,)), ("mask", (6,)))


class Embed(nn.Module):
    """Embed ids and hand the mask on."""

    def __init__(self, vocabulary, width):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)

    def forward(self, x):
        return {"h": self.embedding(x["ids"]), "mask": x["mask"]}


class Pool(nn.Module):
    """Average what the mask shows."""

    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        shown = x["mask"].unsqueeze(2).to(x["h"].dtype)
        return self.linear((x["h"] * shown).sum(1) / shown.sum(1)).relu()


def text(shape, *, vocabulary=50, width=8):
    assert isinstance(shape, dict)
    assert len(shape["ids"]) == 1
    return [Embed(vocabulary, width), Pool(width)]


@pytest.fixture
def registered():
    return backbone("text", integers=True, inputs=("ids", "mask"))(text)


def words(n=300, shift=0, **more):
    rng = np.random.default_rng(shift)
    y = np.arange(n) % 2
    ids = rng.integers(0, 4, (n, 6)) + 4 * y[:, None] + shift
    mask = np.arange(6) < rng.integers(3, 7, (n, 1))
    return Task({"mask": mask, "ids": np.where(mask, ids, 0).astype(np.int32)}, y, ["low", "high"], **more)


# Batches ----------------------------------------------------------------------------------------------


def test_a_batch_says_what_it_has_where_a_key_is_missing():
    batch = Batch(ids=torch.zeros(3, 2), mask=torch.ones(3, 2))
    with pytest.raises(DataError, match=r'the inputs have no "types"; they are a mapping of ids, mask'):
        batch["types"]
    assert batch.get("types") is None
    assert batch.unflatten(0, (1, 3))["ids"].shape == (1, 3, 2)
    assert size(cat([batch, batch])) == 6


def test_a_mapping_is_prepared_input_by_input():
    network = Backbone({"b1": nn.Identity()}, 1, (0.5,), (0.5,))
    given = {
        "image": torch.full((2, 1, 3, 3), 255, dtype=torch.uint8), "row": torch.ones(2, 4, dtype=torch.float64),
        "ids": torch.ones(2, 4, dtype=torch.int64), "mask": torch.ones(2, 4, dtype=torch.bool),
    }  # fmt: skip
    made = network.prepare(given)
    assert (made["image"] == 1).all()
    assert {name: part.dtype for name, part in made.items()} == {
        "image": torch.float32, "row": torch.float32, "ids": torch.int64, "mask": torch.bool,
    }  # fmt: skip


def test_blocks_get_batches_and_may_return_mappings(registered):
    network = build("text", SHAPES, 2, 0, 0).eval()
    assert (network.depth, network.width) == (2, 8)
    x = network.prepare({"ids": torch.ones(3, 6, dtype=torch.int64), "mask": torch.ones(3, 6, dtype=torch.bool)})
    middle = network.run_blocks(x, 0, 1)
    assert isinstance(middle, Batch)
    assert torch.equal(network(x), network(middle, start=1))
    with pytest.raises(DataError, match=r'no "mask"; they are a mapping of ids'):
        network(Batch(ids=x["ids"]))


def test_a_mapping_runs_in_one_lane(registered):
    spec = BackboneSpec("mlp", "mlp", {}, 1, 2)
    assert spec.lanes(6, (4,), "cpu") == 6
    assert spec.lanes(6, SHAPES, "cpu") == 1
    stack = Stack(build("mlp", (4,), 2, 0, 0), 2)
    with pytest.raises(BenchError, match="mappings run one at a time, not in 2 lanes"):
        stack.arrange(Batch(ids=torch.zeros(2, 3, 4)))
    with pytest.raises(BenchError, match="declare it without lanes"):
        backbone("laned", inputs=("ids",), lanes=lambda shape, machine: 6)


def test_the_contract_tries_a_backbone_that_takes_a_mapping(registered):
    shape, _ = first_built("text", {})
    assert shape == (("ids", (8,)), ("mask", (8,)))
    assert check_backbone("text", shape) == []

    class Spoils(Embed):
        def forward(self, x):
            x["ids"].bitwise_xor_(1)
            return super().forward(x)

    backbone("spoils", integers=True, inputs=("ids", "mask"))(lambda shape: [Spoils(9, 8), Pool(8)])
    assert any("changes its input in place" in problem for problem in check_backbone("spoils", shape))


# Rows that are held, mapped, joined and cached ---------------------------------------------------------


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("limit", [0, 2**30])
def test_rows_are_the_same_wherever_they_lie(registered, limit):
    val, test = words(40, 1), words(20, 2)
    task = words(x_val=val.x, y_val=val.y, x_test=test.x, y_test=test.y)
    network = build("text", SHAPES, 2, 0, 0).eval()
    data = prepare(network, task, CPU, "words", limit)
    assert isinstance(data.x_test, Held if limit else Mapped)
    assert isinstance(data.x, Held if limit else Joined)
    assert (len(data.x), len(data.y)) == (328, 328)
    everything = cat([to_tensor(part, network, CPU) for part in (task.x, task.x_val)])
    index = torch.tensor([5, 327, 0, 5, 301])
    assert same(data.x.take(index), each(lambda part: part[index], everything))
    assert data.x.nbytes >= 328 * 6 * (9 if limit else 8)


def test_held_mappings_are_joined():
    parts = [Held(Batch(ids=torch.arange(4 * k, 4 * k + 4))) for k in range(2)]
    joined, begins = join([parts[0], parts[1], parts[0]], 2**20)
    assert begins == [0, 4, 0]
    assert joined.take(torch.tensor([1, 7]))["ids"].tolist() == [1, 7]


@pytest.mark.parametrize("limit", [0, 20_000, 2**30])
def test_activations_that_are_mappings_are_cached(registered, limit):
    task, network = words(), build("text", SHAPES, 2, 0, 0).eval()
    inputs = to_tensor(task.x, network, CPU)
    order = np.random.default_rng(0).permutation(len(task.y))
    cuts = Cuts(limit)
    for count in (30, 150, len(order)):
        for depth in (1, 2):
            known = cuts.rows("key", network, depth, Held(inputs), order, count)
            found = known.take(torch.arange(count))
            direct = activations(network, each(lambda part, n=count: part[order[:n]], inputs), depth)
            if depth == 1:
                assert found["mask"].dtype == torch.bool
                assert same(found, direct)
            else:
                torch.testing.assert_close(found, direct)


# A suite ----------------------------------------------------------------------------------------------

PLUGIN = """
import numpy as np
from torch import nn
import bench


class Embed(nn.Module):
    def __init__(self, vocabulary, width):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)

    def forward(self, x):
        return {"h": self.embedding(x["ids"]), "mask": x["mask"]}


class Pool(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        shown = x["mask"].unsqueeze(2).to(x["h"].dtype)
        return self.linear((x["h"] * shown).sum(1) / shown.sum(1)).relu()


@bench.backbone("text", integers=True, inputs=("ids", "mask"))
def text(shape, *, vocabulary=50, width=8):
    return [Embed(vocabulary, width), Pool(width)]


@bench.backbone("careless", integers=True, inputs=("ids",))
def careless(shape, *, vocabulary=50, width=8):
    return [Embed(vocabulary, width), Pool(width)]


@bench.task("words")
def words(root, *, shift=0, keys=("ids", "mask"), test=True):
    rng = bench.generator("words", shift)
    y = np.arange(240) % 2
    mask = np.arange(6) < rng.integers(3, 7, (240, 1))
    x = {"ids": np.where(mask, rng.integers(0, 4, (240, 6)) + 4 * y[:, None] + shift, 0), "mask": mask}
    x = {name: x[name] for name in keys}
    held = {"ids": x["ids"][:40]} if not test else {name: part[:40] for name, part in x.items()}
    return bench.Task({k: v[40:] for k, v in x.items()}, y[40:], ["low", "high"], held, y[:40])
"""
SUITE = """
    plugins       = ["words.py"]
    backbones     = [{backbones}]
    strategies    = ["zero-shot", "feature-extraction", "fine-tune", "layer-transfer"]
    target_sizes  = [20]
    seeds         = 1
    weighting     = {weighting}
    recipe        = {{ steps = 30, checkpoints = 1, learning_rates = [0.3]{recipe} }}
    source_recipe = {{ steps = 100, checkpoints = 1 }}
    [tasks]
    target  = {{ task = "words"{target} }}
    moved   = {{ task = "words", shift = 1{source} }}
    [[pairs]]
    target = "target"
    source = "{name}"
"""


def suite(tmp_path, backbones='"text"', target="", source="", name="moved", recipe="", weighting='["uniform"]'):
    (tmp_path / "words.py").write_text(PLUGIN)
    said = {
        "backbones": backbones,
        "target": target,
        "source": source,
        "name": name,
        "recipe": recipe,
        "weighting": weighting,
    }
    (tmp_path / "mine.toml").write_text(dedent(SUITE).format(**said))
    return tmp_path / "mine.toml"


@pytest.mark.parametrize("jobs", [0, 1])
def test_ids_and_mask_go_through_every_strategy_and_measure(tmp_path, jobs):
    rows = bench.run(suite(tmp_path), tmp_path / "out", jobs=jobs)
    assert list(bench.load_results(tmp_path / "out").key) == list(rows.key)
    assert list(rows.status) == ["ok"] * 6, rows.error.tolist()
    best = rows.set_index(["strategy", "transfer_depth", "frozen_depth"]).test_accuracy
    assert best["zero-shot", 2, 2] > 0.8
    assert best["feature-extraction", 2, 2] > 0.8
    assert rows[rows.source == "moved"].frechet_distance.notna().all()
    assert set(rows.cut.dropna()) == {"cached"}


def test_weights_of_examples_that_are_mappings_are_learned(tmp_path):
    rows = bench.run(suite(tmp_path, weighting='["l2rw"]'), tmp_path / "out", jobs=0)
    assert list(rows.status) == ["ok"] * len(rows), rows.error.tolist()
    assert set(rows.weighting.dropna()) == {"uniform", "l2rw"}
    assert rows[rows.weighting == "l2rw"].test_accuracy.max() > 0.8


def test_no_result_depends_on_where_a_mapping_lies(tmp_path, monkeypatch):
    found = []
    for number, limit in enumerate(("1G", "2K")):
        monkeypatch.setenv("NTBENCH_MEMORY", limit)
        rows = bench.run(suite(tmp_path), tmp_path / str(number), jobs=0)
        found.append(rows.set_index("key").test_loss.to_dict())
    assert found[0] == found[1] != {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"backbones": '"mlp"'},
            'target "target": backbone "mlp" takes numbers in one array, the inputs are a mapping of '
            r"ids \(whole numbers\), mask \(numbers\)",
        ),
        (
            {"target": ', keys = ["ids"]', "source": ', keys = ["ids"]'},
            'backbone "text" takes a mapping with mask, the',
        ),
        ({"target": ', keys = ["ids"]'}, r"pair moved -> target: the source's inputs are a mapping of ids .*, mask"),
        ({"name": "digits"}, "pair digits -> target: the source's inputs are numbers, the target's a mapping"),
        ({"target": ", test = false"}, 'the test inputs lack "mask", which the train inputs have'),
        ({"backbones": '{ backbone = "text", vocabulary = 8 }'}, "cannot take the token ids, which go ids up to 8"),
        (
            {"backbones": '"careless"', "target": ', keys = ["ids"]', "source": ', keys = ["ids"]'},
            'the inputs have no "mask"; they are a mapping of ids',
        ),
        ({"recipe": ', augment = ["flip"]'}, "augment changes images, these inputs are mappings"),
        ({"target": ", input_noise = 0.1"}, "input_noise: needs inputs in one array; those of .* are a mapping of ids"),
        ({"target": ", pixel_permutation = true"}, "pixel_permutation: needs inputs in one array"),
        (
            {"weighting": '["density-ratio"]'},
            'weighting "density-ratio": looks at inputs in one array, those of target',
        ),
        ({"target": ", mix = { task = 'moved', share = 0.2 }"}, "mix: needs inputs in one array"),
    ],
)
def test_what_mappings_cannot_do_is_said_before_anything_trains(tmp_path, given, said):
    with pytest.raises(SuiteError, match=said):
        bench.run(suite(tmp_path, **given), tmp_path / "out", jobs=0)
    assert not list((tmp_path / "out" / "sources").glob("*"))


def test_a_mapping_is_checked_and_shown(tmp_path, capfd, monkeypatch):
    from bench.cli import main

    path = suite(tmp_path)
    monkeypatch.chdir(tmp_path)
    seen = (["check", str(path), "--data"], ["show", "moved->target", "--suite", str(path)])
    for arguments in (*seen, ["run", str(path), "--jobs", "0"], ["plan", str(path)], ["status", "runs/mine"]):
        with pytest.raises(SystemExit) as done:
            main(arguments)
        out, err = capfd.readouterr()
        assert (done.value.code, "Traceback" in err) == (0, False), out + err
        if arguments in seen:
            assert "ids 6, mask 6" in out
        assert ("no picture" in out) == (arguments[0] == "show")
