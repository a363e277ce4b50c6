"""Where torchvision's classification models are cut into blocks, one function a family.

A cut puts the model's own modules in order, so that running the blocks and the last linear layer gives
what the model gave. Blocks are the stages of the paper (transformer layers for ViT); whatever stands
between the last of them and the last linear layer (pooling, normalisation, dropout) belongs to the last
block, and so is frozen with it. Fully connected layers but the last are blocks of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby

from torch import nn

from bench.backbones.layers import FirstToken, TokenStem

Blocks = dict[str, nn.Module]


def _block(*parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(*parts)


def _pooled(*parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(1))


def _alike(units: Iterable[nn.Module]) -> Blocks:
    """Gather successive units with the same number of output channels into stages."""
    stages = (tuple(stage) for _, stage in groupby(units, key=lambda unit: unit.out_channels))
    return {f"stage{index}": _block(*stage) for index, stage in enumerate(stages, 1)}


def _split(layers: Iterable[nn.Module], ends: type[nn.Module]) -> list[list[nn.Module]]:
    """Split layers into runs, each ending with a layer of the type `ends` (the last one may not)."""
    runs: list[list[nn.Module]] = [[]]
    for layer in layers:
        runs[-1].append(layer)
        if isinstance(layer, ends):
            runs.append([])
    return [run for run in runs if run]


def _resnet(model: nn.Module) -> tuple[Blocks, nn.Linear]:
    """He et al. (2016); ResNeXt and Wide ResNet alike."""
    blocks = {
        "stem": _block(model.conv1, model.bn1, model.relu, model.maxpool),
        "layer1": model.layer1,
        "layer2": model.layer2,
        "layer3": model.layer3,
        "layer4": _pooled(model.layer4),
    }
    return blocks, model.fc


def _vgg(model: nn.Module) -> tuple[Blocks, nn.Linear]:
    """Simonyan and Zisserman (2015): five stages between poolings, then fc6 and fc7."""
    stages = _split(model.features, nn.MaxPool2d)
    blocks: Blocks = {f"stage{index}": _block(*stage) for index, stage in enumerate(stages, 1)}
    blocks["fc6"] = _block(model.avgpool, nn.Flatten(1), *model.classifier[:3])
    blocks["fc7"] = _block(*model.classifier[3:6])
    return blocks, model.classifier[6]


def _alexnet(model: nn.Module) -> tuple[Blocks, nn.Linear]:
    """Krizhevsky (2014): conv1 to conv5, fc6, fc7, the layers that Yosinski et al. (2014) cut at."""
    f = model.features
    blocks = {
        "conv1": _block(*f[0:3]),
        "conv2": _block(*f[3:6]),
        "conv3": _block(*f[6:8]),
        "conv4": _block(*f[8:10]),
        "conv5": _block(*f[10:13]),
        "fc6": _block(model.avgpool, nn.Flatten(1), *model.classifier[0:3]),
        "fc7": _block(*model.classifier[3:6]),
    }
    return blocks, model.classifier[6]


def _squeezenet(model: nn.Module) -> tuple[Blocks, None]:
    """Iandola et al. (2016): a stem and fire modules 2 to 9, each with the pooling that follows it.

    Its classifier is a 1 x 1 convolution with a rectifier before the average, which no linear layer on
    averaged features can stand for; so the features are averaged here and the published classifier is
    left out.
    """
    stem, *rest = _split(model.features, nn.MaxPool2d)
    blocks: Blocks = {"stem": _block(*stem)}
    units = [layer for run in rest for layer in run]
    fires: list[list[nn.Module]] = []
    for layer in units:
        if isinstance(layer, nn.MaxPool2d):
            fires[-1].append(layer)
        else:
            fires.append([layer])
    blocks |= {f"fire{index}": _block(*fire) for index, fire in enumerate(fires, 2)}
    blocks["fire9"] = _pooled(*fires[-1], model.classifier[0])
    return blocks, None


def _densenet(model: nn.Module) -> tuple[Blocks, nn.Linear]:
    """Huang et al. (2017): each dense block with the transition that follows it."""
    f = model.features
    blocks: Blocks = {"stem": _block(f.conv0, f.norm0, f.relu0, f.pool0)}
    for index in (1, 2, 3):
        parts = (getattr(f, f"denseblock{index}"), getattr(f, f"transition{index}"))
        blocks[f"dense{index}"] = _block(*parts)
    blocks["dense4"] = _pooled(f.denseblock4, f.norm5, nn.ReLU(inplace=True))
    return blocks, model.classifier


def _googlenet(model: nn.Module) -> tuple[Blocks, nn.Linear]:
    """Szegedy et al. (2015), without the auxiliary classifiers."""
    m = model
    blocks = {
        "stem": _block(m.conv1, m.maxpool1, m.conv2, m.conv3, m.maxpool2),
        "inception3a": m.inception3a,
        "inception3b": _block(m.inception3b, m.maxpool3),
        "inception4a": m.inception4a,
        "inception4b": m.inception4b,
        "inception4c": m.inception4c,
        "inception4d": m.inception4d,
        "inception4e": _block(m.inception4e, m.maxpool4),
        "inception5a": m.inception5a,
        "inception5b": _block(m.inception5b, m.avgpool, nn.Flatten(1), m.dropout),
    }
    return blocks, m.fc


def _inception(model: nn.Module) -> tuple[Blocks, nn.Linear]:
    """Szegedy et al. (2016), without the auxiliary classifier."""
    m = model
    stem = (m.Conv2d_1a_3x3, m.Conv2d_2a_3x3, m.Conv2d_2b_3x3, m.maxpool1, m.Conv2d_3b_1x1, m.Conv2d_4a_3x3, m.maxpool2)
    mixed = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b")
    blocks: Blocks = {"stem": _block(*stem)}
    blocks |= {f"mixed{name}": getattr(m, f"Mixed_{name}") for name in mixed}
    blocks["mixed7c"] = _block(m.Mixed_7c, m.avgpool, m.dropout, nn.Flatten(1))
    return blocks, m.fc


def _mobilenet_v2(model: nn.Module) -> tuple[Blocks, nn.Linear]:
    """Sandler et al. (2018): stages of inverted residuals with one number of channels."""
    stem, *units, conv = model.features
    blocks = {"stem": stem, **_alike(units)}
    blocks["conv"] = _block(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(1), model.classifier[0])
    return blocks, model.classifier[1]


def _mobilenet_v3(model: nn.Module) -> tuple[Blocks, nn.Linear]:
    """Howard et al. (2019): as version 2, with one fully connected layer before the last."""
    stem, *units, conv = model.features
    blocks = {"stem": stem, **_alike(units), "conv": _pooled(conv), "fc": _block(*model.classifier[:3])}
    return blocks, model.classifier[3]


def _mnasnet(model: nn.Module) -> tuple[Blocks, nn.Linear]:
    """Tan et al. (2019)."""
    f = model.layers
    blocks: Blocks = {"stem": _block(*f[:8])}
    blocks |= {f"stage{index}": stage for index, stage in enumerate(f[8:14], 1)}
    blocks["conv"] = _block(*f[14:], nn.AdaptiveAvgPool2d(1), nn.Flatten(1), model.classifier[0])
    return blocks, model.classifier[1]


def _shufflenet(model: nn.Module) -> tuple[Blocks, nn.Linear]:
    """Ma et al. (2018)."""
    blocks = {
        "stem": _block(model.conv1, model.maxpool),
        "stage2": model.stage2,
        "stage3": model.stage3,
        "stage4": model.stage4,
        "conv5": _pooled(model.conv5),
    }
    return blocks, model.fc


def _efficientnet(model: nn.Module) -> tuple[Blocks, nn.Linear]:
    """Tan and Le (2019, 2021)."""
    stem, *stages, conv = model.features
    blocks: Blocks = {"stem": stem, **{f"stage{index}": stage for index, stage in enumerate(stages, 1)}}
    blocks["conv"] = _block(conv, model.avgpool, nn.Flatten(1), model.classifier[0])
    return blocks, model.classifier[1]


def _regnet(model: nn.Module) -> tuple[Blocks, nn.Linear]:
    """Radosavovic et al. (2020)."""
    trunk = model.trunk_output
    blocks = {"stem": model.stem, "stage1": trunk.block1, "stage2": trunk.block2, "stage3": trunk.block3}
    blocks["stage4"] = _pooled(trunk.block4)
    return blocks, model.fc


def _convnext(model: nn.Module) -> tuple[Blocks, nn.Linear]:
    """Liu et al. (2022): each stage with the downsampling before it."""
    stem, stage1, *rest = model.features
    blocks: Blocks = {"stem": stem, "stage1": stage1, "stage2": _block(*rest[0:2]), "stage3": _block(*rest[2:4])}
    blocks["stage4"] = _block(*rest[4:6], model.avgpool, *model.classifier[:2])
    return blocks, model.classifier[2]


def _vit(model: nn.Module) -> tuple[Blocks, nn.Linear]:
    """Dosovitskiy et al. (2021): a stem that makes the tokens, then one block a transformer layer."""
    *layers, last = model.encoder.layers
    blocks: Blocks = {"stem": TokenStem(model)}
    blocks |= {f"layer{index}": layer for index, layer in enumerate(layers, 1)}
    blocks[f"layer{len(layers) + 1}"] = _block(last, model.encoder.ln, FirstToken())
    return blocks, model.heads.head


def _swin(model: nn.Module) -> tuple[Blocks, nn.Linear]:
    """Liu et al. (2021, 2022): each stage with the patch merging before it."""
    stem, stage1, *rest = model.features
    blocks: Blocks = {"stem": stem, "stage1": stage1, "stage2": _block(*rest[0:2]), "stage3": _block(*rest[2:4])}
    blocks["stage4"] = _block(*rest[4:6], model.norm, model.permute, model.avgpool, model.flatten)
    return blocks, model.head


def _maxvit(model: nn.Module) -> tuple[Blocks, nn.Linear]:
    """Tu et al. (2022)."""
    blocks: Blocks = {"stem": model.stem}
    blocks |= {f"stage{index}": stage for index, stage in enumerate(model.blocks, 1)}
    blocks["fc"] = _block(*model.classifier[:-1])
    return blocks, model.classifier[-1]


FAMILIES: dict[str, Callable[[nn.Module], tuple[Blocks, nn.Linear | None]]] = {
    "alexnet": _alexnet,
    "convnext": _convnext,
    "densenet": _densenet,
    "efficientnet": _efficientnet,
    "googlenet": _googlenet,
    "inception": _inception,
    "maxvit": _maxvit,
    "mnasnet": _mnasnet,
    "mobilenet_v2": _mobilenet_v2,
    "mobilenet_v3": _mobilenet_v3,
    "regnet": _regnet,
    "resnet": _resnet,
    "shufflenet": _shufflenet,
    "squeezenet": _squeezenet,
    "swin": _swin,
    "vgg": _vgg,
    "vit": _vit,
}
