import hashlib
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from bench.backbones.base import build
from bench.backbones.vision_build import construct, find_weights
from bench.backbones.weights import load_into, load_state_dict_file
from bench.errors import DataError, UnknownName


def mlp(seed=0, classes=3, **arguments):
    return build("mlp", (4,), classes, seed, seed, **arguments)


def same(network, other):
    mine, theirs = network.state_dict(), other.state_dict()
    return all(torch.equal(mine[key], theirs[key]) for key in mine)


# Files


def test_a_file_of_tensors_is_loaded(tmp_path):
    network, other = build("cnn", (1, 8, 8), 3, 0, 0, norm="batch"), build("cnn", (1, 8, 8), 3, 1, 1, norm="batch")
    save_file({key: t.contiguous() for key, t in network.state_dict().items()}, tmp_path / "w.safetensors")
    report = load_into(other, load_state_dict_file(tmp_path / "w.safetensors"))
    assert same(network, other)
    assert set(report.loaded) == set(network.state_dict())


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": {"net": s}}]
)
def test_torch_files_in_their_wrappings(tmp_path, wrap):
    network, other = mlp(0), mlp(1)
    torch.save(wrap({f"module.{key}": tensor for key, tensor in network.state_dict().items()}), tmp_path / "w.pth")
    load_into(other, load_state_dict_file(tmp_path / "w.pth"))
    assert same(network, other)


class Planted:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_no_code_of_a_pickle_runs(tmp_path):
    torch.save({"weight": torch.zeros(2), "extra": Planted(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(DataError, match=r"could run code.*state_dict"):
        load_state_dict_file(tmp_path / "evil.pt")
    torch.save(mlp(), tmp_path / "whole.pt")
    with pytest.raises(DataError, match="holds more than tensors"):
        load_state_dict_file(tmp_path / "whole.pt")
    assert not (tmp_path / "ran").exists()


def test_a_bare_pickle_runs_no_code_and_nobody_is_told_to_trust_it(tmp_path):
    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    for protocol in (0, 2, 4):
        (tmp_path / "bomb.pt").write_bytes(pickle.dumps(Bomb(), protocol=protocol))
        with pytest.raises(DataError) as caught:
            load_state_dict_file(tmp_path / "bomb.pt")
        assert "weights_only" not in str(caught.value)
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_damaged_files_are_said(tmp_path, name):
    path = tmp_path / name
    state = mlp().state_dict()
    save_file(state, path) if name.endswith("safetensors") else torch.save(state, path)
    whole = path.read_bytes()
    for part in (whole[: len(whole) // 2], b"", b"not weights at all"):
        path.write_bytes(part)
        with pytest.raises(DataError, match="damaged"):
            load_state_dict_file(path)


def test_files_that_hold_something_else(tmp_path):
    torch.save({"lr": 0.1, "names": ["a"]}, tmp_path / "w.pt")
    with pytest.raises(DataError, match="not tensors: lr, names"):
        load_state_dict_file(tmp_path / "w.pt")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with pytest.raises(DataError, match="no state dict but list"):
        load_state_dict_file(tmp_path / "list.pt")
    with pytest.raises(DataError, match="no weights at"):
        load_state_dict_file(tmp_path / "missing.pt")
    (tmp_path / "w.h5").write_bytes(b"x")
    with pytest.raises(DataError, match=r'\.safetensors.*not "\.h5"'):
        load_state_dict_file(tmp_path / "w.h5")


# What does not fit


def test_misfits_are_listed_and_nothing_is_changed():
    network, before = mlp(0), mlp(0)
    state = mlp(1).state_dict()
    state["blocks.hiden1.0.weight"] = state.pop("blocks.hidden1.0.weight")
    state["blocks.hidden2.0.bias"] = torch.zeros(9)
    with pytest.raises(DataError) as error:
        load_into(network, state)
    message = str(error.value)
    assert "1 missing (blocks.hidden1.0.weight)" in message
    assert '1 unexpected (blocks.hiden1.0.weight; did you mean "blocks.hidden1.0.weight"?)' in message
    assert "1 of another shape (blocks.hidden2.0.bias is (9,), not (64,))" in message
    assert same(network, before)


def test_other_classes_fit_but_for_the_head():
    network, source = mlp(0, classes=3), mlp(1, classes=5)
    with pytest.raises(DataError, match=r"2 of another shape.*the blocks fit, the head does not: leave classes out"):
        load_into(network, source.state_dict())
    head = network.head.weight.detach().clone()
    report = load_into(network, source.state_dict(), blocks_only=True)
    assert report.ignored == ("head.weight", "head.bias")
    assert same(network.blocks, source.blocks)
    assert torch.equal(network.head.weight, head)


def test_values_that_are_no_numbers_are_refused():
    state = mlp(1).state_dict()
    state["blocks.hidden1.0.bias"][0] = float("nan")
    with pytest.raises(DataError, match=r"NaN.*1 entries \(blocks\.hidden1\.0\.bias\)"):
        load_into(mlp(0), state)


# torchvision's names


@pytest.mark.parametrize("prefix", ["", "module.", "module.model."])
def test_torchvision_names(prefix):
    torch.manual_seed(0)
    model = models.resnet18(num_classes=5).eval()
    state = {prefix + key: value for key, value in model.state_dict().items()}
    network = build("resnet18", (3, 32, 32), 5, 1, 1).eval()
    load_into(network, state)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(x), model(x))


def test_misfits_are_told_in_the_file_s_names():
    state = models.resnet18(num_classes=5).state_dict()
    state["layer1.0.convl.weight"] = state.pop("layer1.0.conv1.weight")
    with pytest.raises(DataError) as error:
        load_into(build("resnet18", (3, 32, 32), 5, 1, 1), state)
    assert '(layer1.0.convl.weight; did you mean "layer1.0.conv1.weight"?)' in str(error.value)
    assert "blocks.layer1" not in str(error.value)


def test_names_of_old_files():
    state = models.densenet121(num_classes=2).state_dict()
    old = {}
    for key, value in state.items():
        if key.endswith("num_batches_tracked"):
            continue
        parts = key.split(".")
        if len(parts) > 4 and parts[2].startswith("denselayer"):
            parts[3] = f"{parts[3][:-1]}.{parts[3][-1]}"
        old[".".join(parts)] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    network = build("densenet121", (3, 32, 32), 2, 1, 1)
    load_into(network, old)
    assert torch.equal(
        network.blocks["dense4"][0].denselayer16.conv2.weight, state["features.denseblock4.denselayer16.conv2.weight"]
    )


def test_vision_transformer_old_names_and_another_image_size():
    state = models.vit_b_32(image_size=96, num_classes=2).state_dict()
    state["encoder.pos_embedding"][:, 1:] = torch.arange(768.0)
    new_to_old = {".mlp.0.": ".mlp.linear_1.", ".mlp.3.": ".mlp.linear_2."}
    old = dict(state)
    for key in state:
        for new, name in new_to_old.items():
            if new in key:
                old[key.replace(new, name)] = old.pop(key)
    network = build("vit_b_32", (3, 64, 64), 2, 1, 1)
    with pytest.raises(
        DataError, match=r"1 of another shape \(encoder.pos_embedding is \(1, 10, 768\), not \(1, 5, 768\)"
    ):
        load_into(network, old)
    report = load_into(network, old, adapt=True)
    assert report.adapted == ("blocks.stem.pos_embedding",)
    found = network.blocks["stem"].pos_embedding.detach()
    assert torch.equal(found[:, 0], state["encoder.pos_embedding"][:, 0])
    # What is the same at every position stays so, whatever the size.
    torch.testing.assert_close(found[0, 1:], torch.arange(768.0).expand(4, 768))


@pytest.mark.parametrize("channels", [1, 6])
def test_channels_adapted(channels):
    torch.manual_seed(0)
    model = models.resnet18(num_classes=2).eval()
    network = build("resnet18", (channels, 32, 32), 2, 1, 1).eval()
    with pytest.raises(DataError, match=r"conv1.weight is \(64, 3, 7, 7\)"):
        load_into(network, model.state_dict())
    assert load_into(network, model.state_dict(), adapt=True).adapted == ("blocks.stem.0.weight",)
    # Grey is three equal channels; six channels that hold an image twice are the image.
    x = torch.randn(2, 1, 32, 32) if channels == 1 else torch.randn(2, 3, 32, 32)
    given, seen = (x, x.expand(-1, 3, -1, -1)) if channels == 1 else (torch.cat([x, x], 1), x)
    with torch.no_grad():
        torch.testing.assert_close(network(given), model(seen), rtol=1e-3, atol=1e-4)


def test_auxiliary_classifiers_are_left_out():
    model = models.googlenet(num_classes=2, init_weights=True, aux_logits=True)
    report = load_into(build("googlenet", (3, 32, 32), 2, 1, 1), model.state_dict())
    assert report.ignored
    assert all(key.startswith(("aux1.", "aux2.")) for key in report.ignored)


def test_squeezenet_s_classifier_is_no_linear_head():
    state = models.squeezenet1_1(num_classes=2).state_dict()
    network = build("squeezenet1_1", (3, 32, 32), 2, 1, 1)
    with pytest.raises(DataError, match=r"classifier.1.weight is \(2, 512, 1, 1\), not \(2, 512\).*leave classes out"):
        load_into(network, state)
    assert load_into(network, state, blocks_only=True).ignored == ("head.weight", "head.bias")


# Published weights: torchvision's real loading code, with a file of our own in the place of the published one


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Make a model's published weights a file that we write, outside of torch hub's folder."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def plant(name, entry="DEFAULT", **arguments):
        torch.manual_seed(7)
        model = models.get_model(name, num_classes=1000, **arguments).eval()
        draft = tmp_path / "draft.pth"
        torch.save(model.state_dict(), draft)
        digest = hashlib.sha256(draft.read_bytes()).hexdigest()[:8]
        path = draft.rename(tmp_path / f"{name}-{digest}.pth")
        monkeypatch.setattr(models.get_model_weights(name)[entry].value, "url", path.as_uri())
        return model, path, tmp_path / "torch" / "hub" / "checkpoints" / path.name

    return plant


def imagenet(x):
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)


def test_published_weights_are_not_fetched_unasked(publish):
    _, _, cached = publish("resnet18")
    with pytest.raises(DataError, match=r"are not at .*checkpoints.*download = true"):
        construct("resnet18", (3, 32, 32), "DEFAULT")
    assert not cached.exists()


@pytest.mark.parametrize(
    ("name", "size", "arguments"),
    [
        ("resnet18", 32, {}),
        ("inception_v3", 75, {"init_weights": True}),
        ("googlenet", 32, {"init_weights": True, "aux_logits": True}),
    ],
)
def test_a_network_with_its_published_head_is_the_published_model(publish, name, size, arguments):
    model, _, _ = publish(name, "IMAGENET1K_V1", **arguments)
    network = construct(name, (3, size, size), "IMAGENET1K_V1", download=True)
    network.head = network.published_head
    classes = find_weights(name, "IMAGENET1K_V1").meta["categories"]
    assert len(classes) == 1000
    assert classes[0] == "tench"
    # As torchvision's builder sets it when it loads the published weights.
    model.transform_input = name != "resnet18"
    x = torch.rand(2, 3, size, size)
    with torch.no_grad():
        expected = model(imagenet(x))
        found = network.eval()(network.prepare(x))
    scale = float(expected.abs().max())
    torch.testing.assert_close(found / scale, expected / scale, rtol=1e-4, atol=1e-5)


def test_fetched_once_then_read_from_the_folder(publish):
    model, served, cached = publish("resnet18")
    network = build("resnet18", (3, 32, 32), 4, 0, 0, weights="DEFAULT", download=True)
    assert cached.exists()
    served.unlink()
    again = build("resnet18", (3, 32, 32), 4, 0, 0, weights="ResNet18_Weights.DEFAULT")
    assert same(network, again)
    assert torch.equal(again.blocks["stem"][0].weight, model.conv1.weight)
    assert again.head.out_features == 4
    assert torch.equal(again.published_head.weight, model.fc.weight)
    names = [name for name, _ in again.named_parameters()]
    assert not any("published" in name for name in names)
    grey = build("resnet18", (1, 32, 32), 4, 0, 0, weights="DEFAULT")
    torch.testing.assert_close(grey.blocks["stem"][0].weight, model.conv1.weight.sum(1, keepdim=True))
    assert grey.published_head.out_features == 1000


def test_a_damaged_published_file_is_said(publish):
    _, served, cached = publish("resnet18")
    cached.parent.mkdir(parents=True)
    content = bytearray(served.read_bytes())
    content[len(content) // 2] ^= 1
    cached.write_bytes(content)
    with pytest.raises(DataError, match="damaged: its SHA-256"):
        construct("resnet18", (3, 32, 32), "DEFAULT")


def test_a_failed_fetch_is_said(publish):
    _, served, _ = publish("resnet18")
    served.unlink()
    with pytest.raises(DataError, match="could not fetch"):
        construct("resnet18", (3, 32, 32), "DEFAULT", download=True)


def test_published_vision_transformer_at_another_size(publish):
    model, _, _ = publish("vit_b_32")
    network = construct("vit_b_32", (1, 64, 64), "DEFAULT", download=True)
    assert network.blocks["stem"].pos_embedding.shape == (1, 5, 768)
    assert torch.equal(network.blocks["layer1"].mlp[0].weight, model.encoder.layers[0].mlp[0].weight)
    assert network.published_head.out_features == 1000


def test_unknown_weights_are_named():
    with pytest.raises(UnknownName, match='did you mean "IMAGENET1K_V1"'):
        find_weights("resnet18", "IMAGENET1K_V11")
    with pytest.raises(UnknownName):
        find_weights("resnet18", "ResNet50_Weights.DEFAULT")


def test_every_published_file_has_its_digest_in_its_name():
    for name in models.list_models(module=models):
        for weights in models.get_model_weights(name):
            found = torch.hub.HASH_REGEX.search(os.path.basename(weights.url))
            assert found, weights.url
            assert len(found.group(1)) >= 8, weights.url
