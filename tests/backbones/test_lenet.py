import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, linear, max_pool2d, relu

from bench.backbones.base import build
from bench.backbones.contract import check_backbone
from bench.errors import BenchError, DataError
from bench.registry import BACKBONES


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((1, 28, 28), {}),
        ((3, 32, 32), {"hidden": [40]}),
        ((1, 12, 19), {"channels": [3, 5], "hidden": [7, 6, 5]}),
    ],
)
def test_contract(shape, arguments):
    assert check_backbone("lenet", shape, arguments) == []


def test_it_is_lecuns_network_on_mnist():
    network = build("lenet", (1, 28, 28), 10, seed=5, head_seed=6)
    # Of LeNet-5 as it is mostly built: 61,706 parameters, 400 features between convolutions and hidden layers.
    assert sum(p.numel() for p in network.parameters()) == 61_706
    assert list(network.blocks) == ["conv1", "conv2", "hidden1", "hidden2"]
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 28, 28), dtype=np.uint8)
    w = {name: value.double() for name, value in network.state_dict().items()}

    def layer(name):
        return w[f"blocks.{name}.weight"], w[f"blocks.{name}.bias"]

    out = (torch.from_numpy(images).double() / 255 - 0.5) / 0.5
    out = max_pool2d(relu(conv2d(out, *layer("conv1.0"), padding=2)), 2)
    out = max_pool2d(relu(conv2d(out, *layer("conv2.0"))), 2)
    assert out.shape == (4, 16, 5, 5)
    out = relu(linear(relu(linear(out.flatten(1), *layer("hidden1.1"))), *layer("hidden2.0")))
    expected = linear(out, w["head.weight"], w["head.bias"])
    found = network(network.prepare(torch.from_numpy(images)))
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((5,), {}, r"lenet.*images.*\(5,\)"),
        ((1, 8, 8), {}, r"at least 12 x 12, got inputs of shape \(1, 8, 8\)"),
        ((1, 28, 28), {"channels": [6, 16, 32]}, r"channels must be two numbers.*\[6, 16, 32\]"),
        ((1, 28, 28), {"channels": [6, 0]}, "channels.*above 0, got 0"),
        ((1, 28, 28), {"hidden": []}, "hidden.*at least one"),
    ],
)
def test_impossible_arguments_are_named(shape, arguments, message):
    with pytest.raises(BenchError, match=message):
        build("lenet", shape, 2, 0, 0, **arguments)


def test_declared_depth_refuses_what_building_refuses():
    assert BACKBONES.get("lenet").meta["depth"](hidden=[3]) == 3
    with pytest.raises(DataError, match="channels"):
        BACKBONES.get("lenet").meta["depth"](channels=[6])
