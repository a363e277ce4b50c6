"""``ntbench check`` of a suite: what can be found before a run, all of it in one pass."""

from __future__ import annotations

import argparse
import subprocess
import sys

import numpy as np
import pytest
import torch
import torchvision

MODELS = """\
backbones    = ["resnet18"]
strategies   = ["feature-extraction"]
target_sizes = [20]
seeds        = 1
image_size   = 32

[models]
{models}

[[pairs]]
target  = "digits"
sources = ["noise", {names}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files that users hand in: right ones in several wrappings, and wrong ones."""
    path = tmp_path_factory.mktemp("models")
    model = torchvision.models.resnet18(num_classes=3)
    state = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in model.state_dict().items()}
    torch.save({f"module.{key}": tensor for key, tensor in state.items()}, path / "parallel.pt")
    torch.save({"state_dict": {f"model.{k}": v for k, v in state.items()}, "epoch": 3}, path / "lightning.ckpt")
    torch.save({"model": state, "best": 0.9}, path / "wrapped.pth")
    torch.save({"model": state, "args": argparse.Namespace(lr=1)}, path / "namespace.pth")
    torch.save(torch.nn.Linear(2, 2), path / "pickled.pt")
    small = {key: tensor for key, tensor in state.items() if not key.startswith("layer4.1")}
    torch.save(small, path / "other.pt")
    (path / "weights.h5").write_text("HDF")
    return path


def suite_of(folder, name, **models):
    text = "\n".join(f"{key} = {{ {value} }}" for key, value in models.items())
    path = folder / f"{name}.toml"
    path.write_text(MODELS.format(models=text, names=", ".join(f'"{key}"' for key in models)))
    return path


def test_checkpoints_in_their_usual_wrappings_fit(folder, ntbench):
    path = suite_of(
        folder, "good", parallel='state_dict = "parallel.pt"', lightning='state_dict = "lightning.ckpt"',
        wrapped='state_dict = "wrapped.pth", classes = ["0", "1", "2"]',
    )  # fmt: skip
    done = ntbench("check", path)
    assert done.code == 0, done.err
    assert "ok       suite good: 1 source model" in done.out


def test_every_model_that_cannot_be_is_said_in_one_pass_each_with_its_line(folder, ntbench):
    path = suite_of(
        folder, "bad", other='state_dict = "other.pt"', pickled='state_dict = "pickled.pt"',
        namespace='state_dict = "namespace.pth"', keras='state_dict = "weights.h5"',
        head='state_dict = "parallel.pt", classes = ["0", "1"]', unknown='weights = "IMAGENET1K_V11"',
        gone='state_dict = "gone.pt"',
    )  # fmt: skip
    path.write_text(path.read_text().replace('["feature-extraction"]', '["feature-extract"]'))
    done = ntbench("check", path)
    assert done.code == 2
    for place, said in (
        ("strategies[0] (line 2)", 'did you mean "feature-extraction"?'),
        ("models.other.state_dict (line 8)", 'not a state dict of backbone "resnet18"'),
        ("models.other.state_dict (line 8)", "10 missing (layer4.1.conv1.weight"),
        ("models.pickled.state_dict (line 9)", "holds more than tensors (a whole pickled module?)"),
        ("models.namespace.state_dict (line 10)", "save the model's state_dict() alone"),
        ("models.keras.state_dict (line 11)", 'weights must be in one of .safetensors, .pt, .pth, .bin, .ckpt, .tar'),
        ("models.head.state_dict (line 12)", "leave classes out, or name as many as the file's head has"),
        ("models.unknown.weights (line 13)", 'did you mean "IMAGENET1K_V1"?'),
        ("models.gone.state_dict (line 14)", "no file at"),
    ):  # fmt: skip
        assert any(place in line and said in line for line in done.err.splitlines()), (place, done.err)
    assert "8 problems" in done.err


def test_published_weights_are_asked_of_a_network_that_has_some_and_must_be_there(folder, ntbench, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(folder / "hub"))
    path = suite_of(
        folder, "published", there='weights = "DEFAULT"', named='weights = "DEFAULT", classes = ["cat", "tench"]'
    )
    done = ntbench("check", path)
    assert 'models.there.weights (line 8): the published weights "IMAGENET1K_V1" of resnet18 are not at' in done.err
    assert 'models.named.weights (line 9): the published classes have no "cat"' in done.err
    path.write_text(path.read_text().replace("resnet18", "cnn").replace(', classes = ["cat", "tench"]', ""))
    assert 'models.there.weights (line 8): backbone "cnn" has no published weights' in ntbench("check", path).err


def test_the_first_layer_of_a_perceptron_is_not_held_against_a_state_dict(folder, ntbench):
    from bench.backbones.base import build

    torch.save(build("mlp", (5,), 2, 0, 0).state_dict(), folder / "five.pt")
    path = suite_of(folder, "perceptron", five='state_dict = "five.pt"')
    path.write_text(path.read_text().replace("resnet18", "mlp"))
    assert ntbench("check", path).code == 0
    path.write_text(path.read_text().replace('"mlp"', '{ backbone = "mlp", widths = [64, 32] }'))
    assert "blocks.hidden2.0.weight is (64, 64), not (32, 64)" in ntbench("check", path).err


WRONG = """\
backbones    = ["resnet81"]
strategies   = ["fine-tun", {{ strategy = "layer-transfer", depths = [6] }}, {{ strategy = "fine-tune", depth = 1 }}]
target_sizes = [20]
{rest}
[[pairs]]
target = "{target}"
source = "noise"
"""


def test_a_wrong_backbone_hides_no_strategy_and_no_depth(tmp_path, ntbench):
    path = tmp_path / "wrong.toml"
    path.write_text(WRONG.format(rest="", target="digits"))
    done = ntbench("check", path)
    for said in (
        'unknown backbone "resnet81"; did you mean "resnet18"?',
        'strategies[0] (line 2): unknown strategy "fine-tun"; did you mean "fine-tune"?',
        'depth 6 is not within 1 to 5 (if backbone "resnet18" is meant)',
        'strategies[2] (line 2): strategy "fine-tune" has no argument "depth"; did you mean "depths"?',
    ):
        assert said in done.err
    path.write_text(WRONG.format(rest="", target="digits").replace("resnet81", "wholly-own"))
    done = ntbench("check", path)
    assert "3 problems" in done.err  # a depth of it cannot be judged
    assert "depth 6" not in done.err


@pytest.mark.parametrize(
    ("rest", "target", "said"),
    [
        (
            "",
            "moons",
            'backbone "cnn" needs images (C, H, W), got inputs of shape (2,) (target "moons", a table: try "mlp")',
        ),
        (
            '[tasks]\nt = { table = "t.csv" }',
            "t",
            'backbone "cnn" needs images (C, H, W) (target "t", a table: try "mlp")',
        ),
        ("", "digits", 'backbone "alexnet" needs images of at least 63 x 63 pixels, got 8 x 8 (target "digits")'),
        ("image_size = 40", "digits", "at least 63 x 63 pixels, got 40 x 40"),
        ('image_size = 40\n[tasks]\nf = { folder = "f" }', "f", "at least 63 x 63 pixels, got 40 x 40"),
        ('[tasks]\nn = { task = "digits", label_noise = 0.5 }', "n", "at least 63 x 63 pixels, got 8 x 8"),
    ],
)
def test_a_network_that_cannot_take_the_inputs_is_found_without_the_data_where_they_are_known(
    tmp_path, ntbench, rest, target, said
):
    path = tmp_path / "wrong.toml"
    (tmp_path / "t.csv").write_text("a,label\n")
    (tmp_path / "f").mkdir()
    text = WRONG.format(rest=rest, target=target).replace('"resnet81"', '"alexnet", "cnn"')
    path.write_text(text.replace('"fine-tun"', '"fine-tune"'))
    done = ntbench("check", path)
    assert done.code == 2
    assert said in done.err


def test_known_shapes_are_those_of_the_data(tmp_path):
    """What a built-in task declares is what it has, whatever its arguments and changes."""
    from bench.suite.model import Suite
    from bench.suite.shapes import known_shape
    from bench.suite.specs import TaskReader
    from bench.tasks.build import build_task

    few = {"n": 20, "n_test": 10}
    tables = {
        "a": {"task": "digits"}, "b": {"task": "digits", "image_size": 5, "rotation": 90},
        "c": {"task": "moons", **few},
        "d": {"task": "noise", **few, "channels": 3, "image_size": 4}, "e": {"task": "patches", **few, "image_size": 6},
        "f": {"task": "printed-digits", **few}, "g": {"task": "glyphs", "characters": "ab", **few, "image_size": 8},
        "h": {"task": "b", "mix": {"task": "a", "share": 0.1}},
    }  # fmt: skip
    pairs = [{"target": "a", "source": "b"}]
    reader = TaskReader(Suite.model_validate({"tasks": tables, "pairs": pairs, "target_sizes": [2]}), [])
    for name in tables:
        spec = reader.read(name, "")
        assert known_shape(spec) == build_task(spec, tmp_path).shape, name


def test_data_are_read_described_and_tried_on_the_networks(tmp_path, ntbench):
    rng = np.random.default_rng(0)
    for name, columns, n in (("a", 4, 60), ("b", 5, 60)):
        np.savez(tmp_path / f"{name}.npz", x=rng.random((n, columns), np.float32), y=np.arange(n) % 2)
    path = tmp_path / "tables.toml"
    path.write_text(
        'backbones = ["cnn", "mlp"]\ntarget_sizes = [20, 300]\nseeds = 1\n'
        '[tasks]\na = { npz = "a.npz" }\nb = { npz = "b.npz" }\n[[pairs]]\ntarget = "a"\nsource = "b"\n'
    )
    done = ntbench("check", path)
    assert done.code == 0  # nothing of an npz file is known before it is read
    done = ntbench("check", path, "--data")
    assert done.code == 2
    for said in (
        "ok       task a\n         4 columns, float32\n         train pool: 42 examples (0 21, 1 21)\n",
        "test set: 18 examples (0 9, 1 9)",
        'target "a", size 300: needs 300 examples, the train pool has 42',
        "pair b -> a: The source has 5 columns and the target 4; tables must have the same columns",
        'backbone cnn, target a: backbone "cnn" needs images (C, H, W), got inputs of shape (4,)',
    ):
        assert said in done.out
    assert "Traceback" not in done.err


def test_data_are_read_where_other_things_are_wrong(tmp_path, ntbench):
    np.savez(tmp_path / "a.npz", x=np.zeros((60, 4), np.float32), y=np.arange(60) % 2)
    path = tmp_path / "mixed.toml"
    path.write_text(
        'backbones = ["mlp", "cnn", "mpl"]\nstrategies = ["fine-tun"]\ntarget_sizes = [20]\nseeds = 1\n'
        '[tasks]\na = { npz = "a.npz" }\n[[pairs]]\ntarget = "a"\nsources = ["moons", "noisee"]\n'
    )
    done = ntbench("check", path, "--data")
    assert done.code == 2
    assert "3 problems" in done.err
    assert "WRONG    task a" in done.out
    assert "every train input is the same" in done.out
    assert "pair moons -> a: The source has 2 columns and the target 4" in done.out
    assert 'backbone cnn, target a: backbone "cnn" needs images' in done.out


def test_a_task_that_cannot_be_read_hides_nothing_of_the_others(tmp_path, ntbench):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", x=rng.random((60, 4), np.float32), y=np.arange(60) % 2)
    (tmp_path / "b.npz").write_text("no archive")
    path = tmp_path / "some.toml"
    path.write_text(
        'backbones = ["cnn"]\ntarget_sizes = [20]\nseeds = 1\n[tasks]\na = { npz = "a.npz" }\nb = { npz = "b.npz" }\n'
        '[[pairs]]\ntarget = "a"\nsources = ["b", "moons"]\n[[pairs]]\ntarget = "b"\nsource = "a"\n'
    )
    done = ntbench("check", path, "--data")
    assert done.code == 2
    assert "WRONG    task b\n         cannot be built: b: " in done.out
    assert "pair moons -> a: The source has 2 columns and the target 4" in done.out
    assert 'backbone cnn, target a: backbone "cnn" needs images' in done.out
    for _ in range(2):
        assert "Traceback" not in ntbench("run", path, "--jobs", 0, "--out", tmp_path / "out").err


def test_a_suite_without_models_is_checked_without_torch(tmp_path):
    path = tmp_path / "light.toml"
    path.write_text('backbones = ["resnet18"]\ntarget_sizes = [20]\n[[pairs]]\ntarget = "digits"\nsource = "noise"\n')
    code = (
        "import sys\nfrom bench.cli import main\n"
        f"try:\n    main(['check', {str(path)!r}])\nexcept SystemExit as done:\n    assert done.code == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
