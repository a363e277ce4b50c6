import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bench.backbones.base import build
from bench.backbones.contract import check_backbone
from bench.errors import BenchError, DataError
from bench.registry import BACKBONES


@pytest.mark.parametrize(
    ("name", "shape", "arguments"),
    [
        ("mlp", (5,), {}),
        ("mlp", (5,), {"widths": [7], "norm": "batch", "dropout": 0.5}),
        ("mlp", (3, 4, 6), {"widths": [8, 6, 4], "dropout": 0.5}),
        ("cnn", (1, 16, 16), {}),
        ("cnn", (1, 28, 28), {"norm": "batch"}),
        ("cnn", (3, 32, 32), {}),
        ("cnn", (2, 3, 9), {"channels": [4, 5, 6]}),
        ("cnn", (1, 1, 1), {"channels": [4]}),
    ],
)
def test_contract(name, shape, arguments):
    assert check_backbone(name, shape, arguments) == []


def test_mlp_is_the_formula():
    network = build("mlp", (4,), 3, seed=5, head_seed=6, widths=[6, 5])
    x = np.random.default_rng(0).standard_normal((7, 4))
    w = {key: value.double().numpy() for key, value in network.state_dict().items()}
    hidden = np.maximum(x @ w["blocks.hidden1.0.weight"].T + w["blocks.hidden1.0.bias"], 0)
    hidden = np.maximum(hidden @ w["blocks.hidden2.0.weight"].T + w["blocks.hidden2.0.bias"], 0)
    expected = hidden @ w["head.weight"].T + w["head.bias"]
    logits = network(network.prepare(torch.from_numpy(x)))
    np.testing.assert_allclose(logits.detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_cnn_is_convolution_rectifier_pooling():
    network = build("cnn", (1, 16, 16), 3, seed=5, head_seed=6)
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 1, 16, 16), dtype=np.uint8))
    state = network.state_dict()
    out = (x.double() / 255 - 0.5) / 0.5
    for index in (1, 2, 3, 4):
        weight, bias = (state[f"blocks.conv{index}.0.{part}"].double() for part in ("weight", "bias"))
        out = nn.functional.relu(nn.functional.conv2d(out, weight, bias, padding=1))
        if index < 4:
            out = nn.functional.max_pool2d(out, 2)
    expected = nn.functional.linear(out.mean((2, 3)), state["head.weight"].double(), state["head.bias"].double())
    torch.testing.assert_close(network(network.prepare(x)).double(), expected, rtol=1e-4, atol=1e-5)


def test_he_initialisation():
    network = build("mlp", (200,), 3, seed=0, head_seed=0, widths=[400])
    layer = network.blocks["hidden1"][0]
    assert float(layer.weight.detach().std()) == pytest.approx((2 / 200) ** 0.5, rel=0.02)
    assert not layer.bias.any()


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    planes=st.integers(1, 4),
    channels=st.lists(st.integers(1, 6), min_size=1, max_size=6),
)
def test_cnn_takes_any_image(height, width, planes, channels):
    network = build("cnn", (planes, height, width), 2, 0, 0, channels=channels)
    assert network.depth == len(channels) == BACKBONES.get("cnn").meta["depth"](channels=channels)
    features = network.run_blocks(network.prepare(torch.zeros(2, planes, height, width)))
    assert features.shape == (2, channels[-1])


@pytest.mark.parametrize(
    ("name", "shape", "arguments", "message"),
    [
        ("cnn", (5,), {}, r"cnn.*images.*\(5,\)"),
        ("mlp", (5, 5), {}, r"mlp.*\(5, 5\)"),
        ("mlp", (5,), {"widths": []}, "widths.*at least one"),
        ("mlp", (5,), {"widths": 64}, "widths.*list.*64"),
        ("mlp", (5,), {"dropout": 1.0}, "dropout = 1.0"),
        ("cnn", (1, 8, 8), {"channels": [8, 0]}, "channels.*above 0, got 0"),
        ("cnn", (1, 8, 8), {"norm": "bach"}, 'did you mean "batch"'),
    ],
)
def test_impossible_arguments_are_named(name, shape, arguments, message):
    with pytest.raises(BenchError, match=message):
        build(name, shape, 2, 0, 0, **arguments)


def test_declared_depth_refuses_what_building_refuses():
    with pytest.raises(DataError, match="widths"):
        BACKBONES.get("mlp").meta["depth"](widths=[])
