"""Backbones that are plain modules: blocks counted, features found, the head added, state dicts read."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import bench
from bench.backbones.base import build, of_modules
from bench.backbones.contract import check_backbone
from bench.backbones.weights import load_into
from bench.errors import DataError
from bench.registry import BACKBONES
from bench.suite.specs import read_backbone


def layers(d, width=6, hidden=1):
    found = [nn.Flatten(), nn.Linear(d, width), nn.ReLU()]
    for _ in range(hidden):
        found += [nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.5)]
    return found


@pytest.fixture(autouse=True)
def _names():
    """Two backbones without a declared depth, for as long as a test runs."""

    @bench.backbone("test-plain")
    def plain(shape, *, hidden=1):
        return nn.Sequential(*layers(torch.Size(shape).numel(), hidden=hidden))

    @bench.backbone("test-ids", integers=True)
    def ids(shape, *, vocabulary=9):
        return [nn.Embedding(vocabulary, 3), nn.Sequential(nn.Flatten(), nn.Linear(3 * shape[0], 5))]

    yield
    for name in ("test-plain", "test-ids"):
        del BACKBONES._entries[name]


def test_modules_without_weights_belong_to_the_block_before_them():
    network = of_modules(layers(4, hidden=1), (4,))
    found = [[type(m).__name__ for m in block.children()] or type(block).__name__ for block in network.block_list()]
    assert found == [["Flatten", "Linear", "ReLU"], "Linear", ["BatchNorm1d", "ReLU", "Dropout"]]
    assert list(network.blocks) == ["b1", "b2", "b3"]
    assert network.width == 6


@pytest.mark.parametrize("shape", [(4,), (1, 5, 3)])
def test_a_sequential_keeps_the_contract(shape):
    assert check_backbone("test-plain", shape) == []
    network = build("test-plain", shape, 7, 0, 0)
    assert network.head.weight.shape == (7, 6)


def test_the_blocks_are_counted_for_the_arguments_at_hand():
    problems = []
    depths = [read_backbone({"backbone": "test-plain", "hidden": n}, "backbones[0]", problems).depth for n in (0, 1, 3)]
    assert (depths, problems) == ([1, 3, 7], [])
    assert read_backbone({"backbone": "test-plain", "hidden": "x"}, "backbones[0]", problems) is None
    assert "can be built for none of the inputs" in str(problems[0])
    assert "TypeError" in str(problems[0])


def test_a_state_dict_of_the_same_modules_fits_with_and_without_a_classifier_behind_them():
    for classes in (0, 3):
        trained = nn.Sequential(*layers(4), *([nn.Linear(6, classes)] if classes else []))
        network = build("test-plain", (4,), 3, 0, 0)
        load_into(network, trained.state_dict(), blocks_only=not classes)
        x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
        out = network.eval()(x) if classes else network.eval().run_blocks(x)
        assert torch.equal(out, trained.eval()(x))


def test_token_ids_stay_what_they_are():
    assert check_backbone("test-ids", (4,)) == []
    network = build("test-ids", (4,), 2, 0, 0)
    x = torch.tensor([[0, 8, 3, 1]])
    assert torch.equal(network.prepare(x), x)
    with pytest.raises(DataError, match=r"the inputs are float32, but the backbone takes token ids"):
        network.prepare(x.float())
    with pytest.raises(DataError, match=r"the inputs are int64, but the backbone takes numbers"):
        build("mlp", (4,), 2, 0, 0).prepare(x)


def test_dropout_and_batch_statistics_are_not_touched_by_finding_the_width():
    network = build("test-plain", (4,), 2, 0, 0)
    assert all(block.training for block in network.block_list())
    assert int(network.blocks["b3"][0].num_batches_tracked) == 0
