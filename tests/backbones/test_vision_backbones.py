import pytest
import torch
from torchvision import models

from bench.backbones.base import build
from bench.backbones.contract import check_backbone
from bench.backbones.vision_build import cut
from bench.backbones.vision_names import VISION_FACTS
from bench.errors import DataError

# The smallest member of each family, with batch normalisation where there is a choice.
SMALLEST = {
    "alexnet": 63,
    "convnext_tiny": 32,
    "densenet121": 32,
    "efficientnet_b0": 32,
    "googlenet": 32,
    "inception_v3": 75,
    "maxvit_t": 224,
    "mnasnet0_5": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "regnet_y_400mf": 32,
    "resnet18": 32,
    "shufflenet_v2_x0_5": 32,
    "squeezenet1_1": 32,
    "swin_t": 32,
    "vgg11_bn": 32,
    "vit_b_32": 32,
}
# Built another way than the rest of their family.
VARIANTS = {"mobilenet_v3_large": 32, "efficientnet_v2_s": 32, "squeezenet1_0": 32, "swin_v2_t": 32, "resnet50": 32}
ARGUMENTS = {
    "inception_v3": {"init_weights": True},
    "googlenet": {"init_weights": True, "aux_logits": True},
    "vit_b_32": {"image_size": 32},
}


def test_every_family_is_here():
    assert {VISION_FACTS[name].family for name in SMALLEST} == {facts.family for facts in VISION_FACTS.values()}


@pytest.mark.parametrize("name", SMALLEST)
def test_contract(name):
    # Grey images for one, so that the replaced stem keeps to the contract too.
    channels = 1 if name == "resnet18" else 3
    assert check_backbone(name, (channels, SMALLEST[name], SMALLEST[name])) == []


@pytest.mark.parametrize("name", {**SMALLEST, **VARIANTS})
def test_cut_computes_what_the_model_computes(name):
    size = {**SMALLEST, **VARIANTS}[name]
    torch.manual_seed(0)
    model = models.get_model(name, num_classes=7, **ARGUMENTS.get(name, {})).eval()
    if name == "vit_b_32":
        # Its last layer starts at zero, which would make any two logits equal.
        torch.nn.init.normal_(model.heads.head.weight)
    network = cut(name, model).eval()
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        features, expected = network.run_blocks(x), model(x)
        if network.published_head is None:
            maps = model.features(x)
            torch.testing.assert_close(features, maps.mean((2, 3)))
            return
        assert float(expected.std()) > 0
        scale = float(expected.abs().max())
        torch.testing.assert_close(network.published_head(features) / scale, expected / scale)


@pytest.mark.parametrize("name", ["resnet18", "vit_b_32", "squeezenet1_1", "efficientnet_b0", "shufflenet_v2_x0_5"])
@pytest.mark.parametrize("channels", [1, 5])
def test_other_channel_counts(name, channels):
    grey, colour = (build(name, (c, 32, 32), 2, seed=0, head_seed=0) for c in (channels, 3))
    stems = [next(m for m in net.modules() if isinstance(m, torch.nn.Conv2d)) for net in (grey, colour)]
    assert stems[0].in_channels == channels == len(grey.mean) == len(grey.std)
    # What leaves the stem has the scale that it has on three channels.
    spreads = [float(stem.weight.detach().std()) * stem.in_channels**0.5 for stem in stems]
    assert spreads[0] == pytest.approx(spreads[1], rel=0.15)
    x = grey.prepare(torch.zeros(2, channels, 32, 32, dtype=torch.uint8))
    assert grey.eval()(x).shape == (2, 2)
    assert stems[0].stride == stems[1].stride


def test_standardised_like_the_published_weights():
    network = build("resnet18", (3, 32, 32), 2, 0, 0)
    assert network.mean == (0.485, 0.456, 0.406)
    assert network.std == (0.229, 0.224, 0.225)
    grey = build("resnet18", (1, 32, 32), 2, 0, 0)
    assert grey.mean == pytest.approx((0.449,))
    assert grey.std == pytest.approx((0.226,))
    assert build("googlenet", (3, 32, 32), 2, 0, 0).mean == (0.5, 0.5, 0.5)


def test_all_weights_of_a_model_share_their_constants():
    # Scratch and published weights must see the same inputs, whichever weights those are.
    for name in models.list_models(module=models):
        whole = [w for w in models.get_model_weights(name) if w.meta["categories"] is not None]
        constants = {(tuple(w.transforms().mean), tuple(w.transforms().std)) for w in whole}
        assert len(constants) == 1, name


def test_too_small_an_image_is_refused():
    with pytest.raises(DataError, match=r"inception_v3.*at least 75 x 75"):
        build("inception_v3", (3, 64, 64), 2, 0, 0)
