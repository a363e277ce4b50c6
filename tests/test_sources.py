"""Source models: kept by content, handed out, handed in."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import bench
from bench.backbones.base import build
from bench.errors import DataError, SuiteError
from bench.ledger.file import read_records
from bench.ledger.model_files import is_intact, path_of
from bench.ledger.records import record_of
from bench.sources import load_source, save_source, train_sources
from bench.suite import Plan, load_suite
from bench.tasks.base import Task
from bench.tasks.build import build_task, card_of
from bench.tasks.fit import fit
from bench.training.lanes import Layout

CPU = torch.device("cpu")
CNN = {"backbone": "cnn", "channels": [4, 4], "name": "cnn"}
SUITE = {
    "name": "small",
    "backbones": [CNN],
    "strategies": ["feature-extraction"],
    "target_sizes": [20],
    "seeds": 1,
    "image_size": 8,
    "measures": [],
    "tasks": {"source": {"task": "printed-digits", "n": 150, "n_test": 50}, "other": {"task": "source", "blur": 1.0}},
    "pairs": [{"target": "digits", "source": "source"}],
    "recipe": {"steps": 4, "learning_rates": [0.05], "checkpoints": 2},
    "source_recipe": {"steps": 8, "checkpoints": 1},
}


def run(suite, out):
    rows = bench.run(suite, out, jobs=0)
    assert list(rows.status) == ["ok"] * len(rows), list(rows.error)
    return rows


def kept(out):
    """Content of the source models of a run folder, by file name."""
    return {path.name: path.read_bytes() for path in (out / "sources").glob("*.safetensors")}


def planned(suite, tmp_path):
    """The plan of a suite with its data, and the source at the target's shape."""
    bare = Plan(load_suite(suite))
    tasks = {name: build_task(spec, tmp_path) for name, spec in bare.tasks.items()}
    plan = Plan(bare.suite, {bare.tasks[name].digest: card_of(task) for name, task in tasks.items()})
    return plan, fit(tasks["source"], plan.input_shape("digits")) if "source" in tasks else None


def train(plan, model, task):
    layout = Layout(plan.lanes(model.backbone, model.shape))
    (trained,) = train_sources(plan, [model], lambda *asked: task, CPU, layout)
    return trained.network, trained.record


# Kept by content


def test_two_suites_with_other_targets_of_one_shape_share_a_source_model(tmp_path):
    run(SUITE, tmp_path / "one")
    other = {"name": "another", "pairs": [{"target": "other", "source": "source"}], "target_sizes": [30]}
    run({**SUITE, **other, "recipe": {**SUITE["recipe"], "steps": 3, "checkpoints": 1}}, tmp_path / "two")
    one, two = kept(tmp_path / "one"), kept(tmp_path / "two")
    assert len(one) == 1
    assert one == two  # the same key, and the same bytes


def test_a_second_suite_in_the_same_folder_trains_no_source_again(tmp_path):
    run(SUITE, tmp_path)
    rows = run({**SUITE, "name": "another", "strategies": ["fine-tune"]}, tmp_path)
    sources = [r for r in read_records(tmp_path) if r["kind"] == "source"]
    assert len(sources) == len(kept(tmp_path)) == 1
    # Scratch was there under the first suite's name: it is not run twice, and not missing either.
    assert set(rows.strategy) == {"scratch", "fine-tune"}
    assert set(rows.suite) == {"another"}


@pytest.mark.parametrize(
    "change",
    [
        {"source_recipe": {"steps": 9, "checkpoints": 1}},
        {"source_recipe": {"steps": 8, "checkpoints": 1, "learning_rates": [0.02]}},
        {"image_size": 9},
        {"backbones": [{**CNN, "channels": [4, 5]}]},
        {"seeds": [1]},
        {"tasks": {"source": {"task": "printed-digits", "n": 151, "n_test": 50}}},
    ],
    ids=str,
)
def test_another_recipe_shape_backbone_seed_or_data_is_another_model(tmp_path, change):
    (one,) = planned(SUITE, tmp_path)[0].source_models()
    (two,) = planned({**SUITE, **change}, tmp_path)[0].source_models()
    assert one.key != two.key


def test_a_source_model_comes_back_as_it_was_trained(tmp_path):
    plan, task = planned(SUITE, tmp_path)
    (model,) = plan.source_models()
    network, record = train(plan, model, task)
    record = save_source(network, record, path := path_of(tmp_path, model))
    assert path.name == f"{model.key}.safetensors"
    assert is_intact(path, record_of(record))
    loaded = load_source(plan, model, tmp_path, CPU)
    x = network.prepare(torch.as_tensor(task.x_test))
    with torch.no_grad():
        expected = network.eval()(x)
        assert torch.equal(loaded.network(x), expected)
    assert loaded.classes == tuple("0123456789") == tuple(record["classes"])
    accuracy = (expected.argmax(1).numpy() == task.y_test).mean()
    assert loaded.accuracy == record["source_accuracy"] == pytest.approx(accuracy)
    assert not loaded.network.training
    assert not any(p.requires_grad for p in loaded.network.parameters())
    assert not list(tmp_path.glob("*.part"))


def test_the_source_decides_its_model_whatever_stands_beside_it(tmp_path):
    """Another source in the same suite draws nothing from the first one's random numbers."""
    pairs = [{"target": "digits", "sources": ["other", "source"]}]
    run(SUITE, tmp_path / "alone")
    run({**SUITE, "pairs": pairs}, tmp_path / "both")
    (name, content), *_ = kept(tmp_path / "alone").items()
    assert kept(tmp_path / "both")[name] == content


def test_damaged_files_are_told_from_whole_ones(tmp_path):
    plan, task = planned(SUITE, tmp_path)
    (model,) = plan.source_models()
    network, record = train(plan, model, task)
    record = save_source(network, record, path := path_of(tmp_path, model))
    whole = path.read_bytes()
    for content in (whole[:-1], whole[: len(whole) // 2], b"", b"no weights"):
        path.write_bytes(content)
        assert not is_intact(path, record_of(record))
    with pytest.raises(DataError, match="missing or damaged"):
        load_source(plan, model, tmp_path, CPU)
    path.unlink()
    assert not is_intact(path, record_of(record))
    with pytest.raises(DataError, match="missing or damaged"):
        load_source(plan, model, tmp_path, CPU)


# Handed in as a file


def network(classes=10, seed=3, **changes):
    return build("cnn", (1, 8, 8), classes, seed, seed, channels=[4, 4], **changes)


def handed_in(file, **more):
    models = {"mine": {"state_dict": str(file), **more}}
    return {**SUITE, "models": models, "pairs": [{"target": "digits", "source": "mine"}]}


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_a_state_dict_file_is_a_source(tmp_path, name):
    given = network(classes=7)
    state = {key: tensor.contiguous() for key, tensor in given.state_dict().items()}
    (save_file if name.endswith("safetensors") else torch.save)(state, tmp_path / name)
    suite = {**handed_in(tmp_path / name), "measures": ["proxy-a-distance", "leep"]}
    rows = run(suite, tmp_path / "out")
    (transfer,) = rows[rows.strategy == "feature-extraction"].itertuples()
    assert (transfer.source, transfer.weighting, transfer.transfer_depth) == ("mine", "uniform", 2)
    assert np.isnan(transfer.source_accuracy)
    assert np.isnan(transfer.proxy_a_distance)  # there are no source data to measure against
    assert np.isnan(transfer.leep)  # and nothing says what the file's head means
    assert not kept(tmp_path / "out")
    assert set(rows.strategy) == {"scratch", "feature-extraction"}


def test_a_file_copies_the_very_blocks(tmp_path):
    save_file({key: t.contiguous() for key, t in network().state_dict().items()}, tmp_path / "w.safetensors")
    plan, _ = planned(handed_in(tmp_path / "w.safetensors"), tmp_path)
    (model,) = plan.source_models()
    loaded = load_source(plan, model, tmp_path, CPU)
    given = load_file(tmp_path / "w.safetensors")
    assert loaded.classes == ()
    assert all(
        torch.equal(tensor, given[key]) for key, tensor in loaded.network.state_dict().items() if "blocks" in key
    )


def test_a_files_head_is_kept_where_its_classes_are_said(tmp_path):
    """Zero-shot from a file is the file's own network, its outputs matched to the target by name."""
    given = network()
    torch.save(given.state_dict(), tmp_path / "w.pt")
    names = [str(k) for k in reversed(range(10))]
    suite = {**handed_in(tmp_path / "w.pt", classes=names), "strategies": ["zero-shot"], "measures": ["leep"]}
    rows = run(suite, tmp_path / "out")
    (zero,) = rows[rows.strategy == "zero-shot"].itertuples()
    plan, _ = planned(suite, tmp_path)
    digits = fit(build_task(plan.tasks["digits"], tmp_path), (1, 8, 8))
    with torch.no_grad():
        guess = given.eval()(given.prepare(torch.as_tensor(digits.x_test))).argmax(1).numpy()
    assert zero.test_accuracy == pytest.approx((9 - guess == digits.y_test).mean())
    assert zero.leep < 0
    one_less = {**suite, "models": {"mine": {"state_dict": str(tmp_path / "w.pt"), "classes": ["x", *names[1:]]}}}
    assert set(run(one_less, tmp_path / "less").strategy) == {"scratch"}  # it has no name for "9"


class Planted:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.marker),)


def evil(path):
    torch.save({"weight": torch.zeros(2), "extra": Planted(path.with_name("ran"))}, path)


@pytest.mark.parametrize("jobs", [0, 1])
def test_a_file_that_cannot_be_used_is_said_before_anything_trains(tmp_path, jobs):
    path = tmp_path / "w.pt"
    torch.save({"a": torch.zeros(3)}, path)
    evil(tmp_path / "evil.pt")
    (tmp_path / "torn.safetensors").write_bytes(b"\x00" * 40)
    torch.save(network(classes=7).state_dict(), tmp_path / "seven.pt")
    models = {
        "misfit": {"state_dict": str(path)},
        "evil": {"state_dict": str(tmp_path / "evil.pt")},
        "torn": {"state_dict": str(tmp_path / "torn.safetensors")},
        "seven": {"state_dict": str(tmp_path / "seven.pt"), "classes": ["a", "b", "c"]},
    }
    suite = {**SUITE, "models": models, "pairs": [{"target": "digits", "sources": ["source", *models]}]}
    with pytest.raises(SuiteError) as error:
        bench.run(suite, tmp_path / "out", jobs=jobs)
    assert error.value.exit_code == 2
    said = [str(problem) for problem in error.value.problems]
    assert [line.split(": ")[1] for line in said] == ["model evil", "model misfit", "model seven", "model torn"]
    assert all(line.startswith("backbone cnn, target digits: ") for line in said)
    for line, why in zip(said, ["could run code", "does not fit the network", "another shape", "damaged"], strict=True):
        assert why in line
    assert not (tmp_path / "ran").exists()
    assert not [r for r in read_records(tmp_path / "out") if r["kind"] in ("source", "trial")]
    if not jobs:  # what does not need them runs
        rows = bench.run(suite, tmp_path / "out", jobs=0, where=["source=source"])
        assert list(rows.status) == ["ok", "ok"]


def test_a_network_that_cannot_take_the_target_is_said_before_anything_trains(tmp_path):
    with pytest.raises(SuiteError, match=r'backbones\[1\]: backbone "vgg11" needs images of at least 32 x 32'):
        bench.run({**SUITE, "backbones": [CNN, "vgg11"]}, tmp_path, jobs=0)
    with pytest.raises(SuiteError, match=r'backbones\[0\]: unknown norm "bach"; did you mean "batch"'):
        bench.run({**SUITE, "backbones": [{**CNN, "norm": "bach"}]}, tmp_path, jobs=0)
    assert not kept(tmp_path)


def test_a_file_that_changes_is_another_source(tmp_path):
    path = tmp_path / "w.pt"
    torch.save(network(seed=3).state_dict(), path)
    first = run(handed_in(path), tmp_path / "out")
    torch.save(network(seed=4).state_dict(), path)
    second = run(handed_in(path), tmp_path / "out")
    same = set(first.key) & set(second.key)
    assert len(same) == 1
    assert first[first.key.isin(same)].strategy.tolist() == ["scratch"]
    assert len(second) == 2


# Published weights: torchvision's own loading code, with a file of ours in the place of the published one


@pytest.fixture(params=["resnet18"])
def published(request, tmp_path, monkeypatch):
    """A model's published weights: random ones, served from a file."""
    from torchvision import models

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    torch.manual_seed(7)
    model = models.get_model(request.param, num_classes=1000).eval()
    torch.save(model.state_dict(), tmp_path / "draft.pth")
    digest = hashlib.sha256((tmp_path / "draft.pth").read_bytes()).hexdigest()[:8]
    path = (tmp_path / "draft.pth").rename(tmp_path / f"{request.param}-{digest}.pth")
    entry = models.get_model_weights(request.param)["IMAGENET1K_V1"]
    monkeypatch.setattr(entry.value, "url", path.as_uri())
    return SimpleNamespace(model=model, classes=entry.meta["categories"], path=path)


@pytest.fixture
def fishes():
    """A task whose classes are three of the published ones, in another order."""
    from bench.registry import TASKS

    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (60, 3, 32, 32), dtype=np.uint8)
    y = np.arange(60) % 3
    names = ("great white shark", "tench", "goldfish")

    @bench.task("fishes", classes=names)
    def fishes(root):
        return Task(x[:30], y[:30], names, x[30:], y[30:])

    yield SimpleNamespace(x_test=x[30:], y_test=y[30:], names=names)
    del TASKS._entries["fishes"]


def imagenet(**model):
    return {
        **SUITE, "backbones": ["resnet18"], "image_size": 32, "strategies": ["zero-shot", "feature-extraction"],
        "measures": ["leep"], "models": {"imagenet": {"weights": "DEFAULT", **model}}, "tasks": {},
        "recipe": {"steps": 1, "learning_rates": [0.01], "checkpoints": 1},
        "pairs": [{"target": "fishes", "source": "imagenet"}],
    }  # fmt: skip


def test_published_weights_are_a_source_and_their_head_labels_its_own_classes(published, fishes, tmp_path):
    suite = imagenet(download=True, classes=["goldfish", "great white shark", "tench"])
    rows = run(suite, tmp_path / "out").set_index("strategy")
    assert set(rows.index) == {"scratch", "zero-shot", "feature-extraction"}
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        output = published.model((torch.as_tensor(fishes.x_test) / 255 - mean) / std)
    columns = [published.classes.index(name) for name in fishes.names]
    expected = (output[:, columns].argmax(1).numpy() == fishes.y_test).mean()
    assert rows.loc["zero-shot", "test_accuracy"] == pytest.approx(expected)
    assert rows.loc["zero-shot", "leep"] < 0
    assert rows.loc["feature-extraction", "trainable_parameters"] == 512 * 3 + 3


def test_published_weights_that_are_not_there_are_said_before_anything_trains(published, fishes, tmp_path):
    with pytest.raises(SuiteError, match=r"model imagenet: .*are not at .*download = true"):
        bench.run(imagenet(), tmp_path / "out", jobs=0)
    plain = {**imagenet(download=True), "backbones": [CNN], "image_size": 32}
    with pytest.raises(SuiteError, match='backbone "cnn" has no published weights'):
        bench.run(plain, tmp_path / "out", jobs=0)
    with pytest.raises(SuiteError, match=r'IMAGENET1K_V7.*did you mean "IMAGENET1K_V1"'):
        bench.run(imagenet(weights="IMAGENET1K_V7"), tmp_path / "out", jobs=0)
    with pytest.raises(SuiteError, match='have no "goldfsh"; did you mean "goldfish"'):
        bench.run(imagenet(download=True, classes=["goldfsh", "tench"]), tmp_path / "out", jobs=0)


@pytest.mark.parametrize("published", ["squeezenet1_1"], indirect=True)
def test_published_weights_without_a_linear_head_give_their_blocks_alone(published, fishes, tmp_path):
    suite = {**imagenet(download=True), "backbones": ["squeezenet1_1"]}
    assert set(run(suite, tmp_path / "out").strategy) == {"scratch", "feature-extraction"}
    suite = {**imagenet(download=True, classes=list(fishes.names)), "backbones": ["squeezenet1_1"]}
    with pytest.raises(SuiteError, match='of "squeezenet1_1" is no linear head to keep'):
        bench.run(suite, tmp_path / "out", jobs=0)
