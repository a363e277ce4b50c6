"""The static table against the models that torchvision builds; on the meta device, where size costs nothing."""

import re
import subprocess
import sys
from itertools import groupby

import pytest
import torch
from torchvision import models
from torchvision.models import regnet

from bench.backbones.vision_blocks import FAMILIES
from bench.backbones.vision_build import construct, cut
from bench.backbones.vision_names import VISION_FACTS, VISION_NAMES, shape_problem
from bench.registry import BACKBONES

TORCHVISION = models.list_models(module=models)
FIXED_SIZE = ("vit", "maxvit")
BY_LIMITS = groupby(sorted(VISION_FACTS, key=lambda n: str(VISION_FACTS[n])), key=lambda n: VISION_FACTS[n])
ONE_A_LIMIT = [
    min(names, key=len) for facts, names in BY_LIMITS if facts.minimum > 1 and facts.family not in FIXED_SIZE
]


@pytest.fixture
def meta(monkeypatch):
    """The meta device; RegNet computes its widths with tensors, which need values."""
    inner = regnet.BlockParams.from_init_params.__func__

    def from_init_params(cls, *args, **kwargs):
        with torch.device("cpu"):
            return inner(cls, *args, **kwargs)

    monkeypatch.setattr(regnet.BlockParams, "from_init_params", classmethod(from_init_params))
    with torch.device("meta"):
        yield


def test_every_torchvision_model_is_covered():
    assert set(TORCHVISION) <= set(VISION_NAMES)
    missing = sorted(set(VISION_NAMES) - set(TORCHVISION))
    if missing:
        pytest.skip(f"this torchvision has no {', '.join(missing)}")


def test_every_family_has_a_cut():
    assert {facts.family for facts in VISION_FACTS.values()} == set(FAMILIES)


@pytest.mark.parametrize("name", TORCHVISION)
def test_depth_as_declared(name, meta):
    arguments = {"inception_v3": {"init_weights": False}, "googlenet": {"init_weights": False}}.get(name, {})
    model = models.get_model(name, **arguments)
    network = cut(name, model)
    assert network.depth == VISION_FACTS[name].depth == BACKBONES.get(name).meta["depth"]
    # Nothing is lost between the model and its blocks but the auxiliary classifiers.
    left_out = {key for key in model.state_dict() if key not in network.original_names}
    left_out = {key for key in left_out if not key.startswith(("AuxLogits.", "aux1.", "aux2."))}
    assert left_out <= {"classifier.5.bias"}
    assert (network.published_head is None) == name.startswith("squeezenet")


@pytest.mark.parametrize("name", ONE_A_LIMIT)
def test_smallest_image_as_declared(name, meta):
    least = VISION_FACTS[name].minimum
    network = construct(name, (3, least, least)).eval()
    assert network.run_blocks(torch.empty(2, 3, least, least)).shape == (2, network.width)
    with pytest.raises(RuntimeError):
        network.run_blocks(torch.empty(2, 3, least - 1, least - 1))


def test_limits_cover_most_families():
    families = {VISION_FACTS[name].family for name in ONE_A_LIMIT}
    assert families == {"alexnet", "vgg", "squeezenet", "densenet", "googlenet", "inception", "convnext", "swin"}


@pytest.mark.parametrize("name", [name for name in TORCHVISION if VISION_FACTS[name].family == "vit"])
def test_patch_size_as_declared(name, meta):
    step = VISION_FACTS[name].step
    assert models.get_model(name, image_size=2 * step).patch_size == step
    assert VISION_FACTS[name].minimum == step


@pytest.mark.parametrize("name", [name for name in TORCHVISION if VISION_FACTS[name].minimum == 1])
def test_any_size_means_any_size(name, meta):
    network = cut(name, models.get_model(name)).eval()
    assert network.run_blocks(torch.empty(2, 3, 1, 3)).shape == (2, network.width)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("inception_v3", (3, 32, 32), "inception_v3.*at least 75 x 75 pixels, got 32 x 32"),
        ("vit_b_16", (3, 40, 40), "multiple of 16 pixels, got 40 x 40"),
        ("vit_b_16", (3, 32, 48), "square images, got 32 x 48"),
        ("resnet18", (7,), r"needs images.*\(7,\)"),
        ("maxvit_t", (3, 64, 64), "at least 224 x 224"),
    ],
)
def test_impossible_shapes_are_said(name, shape, message):
    assert re.search(message, shape_problem(name, shape))


def test_possible_shapes_pass():
    assert shape_problem("resnet18", (1, 8, 9)) is None
    assert shape_problem("vit_h_14", (3, 28, 28)) is None


def test_registering_needs_no_torch():
    code = (
        "import sys; from bench.registry import BACKBONES as b; "
        "[b.get(n) for n in b.names()]; assert len(b.names()) > 80; "
        "print([m for m in ('torch', 'torchvision') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
