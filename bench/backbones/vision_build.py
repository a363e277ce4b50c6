"""Building torchvision's models as backbones, with random or published weights.

Inputs are standardised with the constants of the model's default published weights whether or not any
weights are loaded, so that a network trained from scratch and one that starts from published weights
see the same inputs.
"""

from __future__ import annotations

import hashlib
import math
from enum import Enum
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision import models

from bench.backbones.base import Backbone
from bench.backbones.vision_blocks import FAMILIES
from bench.backbones.vision_names import VISION_FACTS
from bench.backbones.weights import load_into
from bench.errors import DataError, unknown

# Published weights of these expect inputs from -1 to 1; torchvision's models convert to them from its
# usual constants (`transform_input`), which comes to a mean and a deviation of 0.5.
_PLUS_MINUS_ONE = ("googlenet", "inception")


def construct(name: str, shape: tuple[int, ...], weights: str | None = None, download: bool = False) -> Backbone:
    """Build the torchvision model called `name`, cut into blocks, without a head.

    Published weights are adapted to inputs unlike those they were made for: see
    :func:`bench.backbones.weights.load_into` with ``adapt=True``.

    Parameters
    ----------
    name : str
        One of :data:`bench.backbones.vision_names.VISION_NAMES`.
    shape : tuple of int
        (C, H, W), one that the network can take.
    weights : str, optional
        Published weights as torchvision names them; random initial values without it. The network
        then has the published classifier as `published_head`.
    download : bool
        Whether weights that are not in torch hub's folder may be fetched.

    Raises
    ------
    DataError
        When torchvision has no such model or the weights are missing, damaged or not complete.
    UnknownName
        When there are no such weights.
    """
    if name not in models.list_models(module=models):
        raise DataError(f'torchvision {torchvision.__version__} has no model "{name}"')
    if weights is None:
        return _random(name, shape)
    chosen = find_weights(name, weights)
    ensure_file(chosen, name, download)
    published = _cut(name, _load(name, chosen), 3, published=True)
    native = not _size_arguments(name, shape) or tuple(shape[1:]) == tuple(chosen.meta["min_size"])
    if shape[0] == 3 and native:
        return published
    network = _random(name, shape)
    load_into(network, published.state_dict(), blocks_only=True, adapt=True)
    network.__dict__["published_head"] = published.published_head
    return network


def find_weights(name: str, weights: str) -> Enum:
    """Return torchvision's entry for published weights, with or without the enumeration's name in front.

    Raises
    ------
    UnknownName
        With the names that there are.
    """
    known = models.get_model_weights(name)
    prefix, _, short = str(weights).rpartition(".")
    if short not in known.__members__ or prefix not in ("", known.__name__):
        raise unknown(f"weights of {name}", str(weights), known.__members__)
    return known[short]


def cut(name: str, model: nn.Module) -> Backbone:
    """Cut a torchvision model that is there already into blocks, which share its tensors.

    Parameters
    ----------
    name : str
        The builder's name; it says which family the model is of.
    model : Module
        With three input channels.

    Returns
    -------
    Backbone
        Without a head; the model's last linear layer is its `published_head`.
    """
    return _cut(name, model, 3, published=True)


def _random(name: str, shape: tuple[int, ...]) -> Backbone:
    model = models.get_model(name, num_classes=1, **_family_arguments(name), **_size_arguments(name, shape))
    if shape[0] != 3:
        _replace_stem(model, shape[0])
    return _cut(name, model, shape[0], published=False)


def _cut(name: str, model: nn.Module, channels: int, published: bool) -> Backbone:
    original = {id(tensor): key for key, tensor in model.state_dict(keep_vars=True).items()}
    blocks, last = FAMILIES[VISION_FACTS[name].family](model)
    # SqueezeNet alone has no last linear layer: its classifier's convolution reads the features.
    reader = model.classifier[1] if last is None else last
    network = Backbone(blocks, reader.weight.shape[1], *_constants(name, channels))
    tensors = network.state_dict(keep_vars=True)
    tensors |= {f"head.{key}": tensor for key, tensor in reader.state_dict(keep_vars=True).items()}
    network.original_names = {original[id(tensor)]: key for key, tensor in tensors.items()}
    if last is not None and last.bias is None:
        # MaxViT's; heads have a bias.
        last.bias = nn.Parameter(last.weight.new_zeros(last.out_features))
    if published:
        network.__dict__["published_head"] = last
    return network


def _constants(name: str, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation for each channel; their averages where the channels are not red, green, blue."""
    if VISION_FACTS[name].family in _PLUS_MINUS_ONE:
        mean, std = (0.5,) * 3, (0.5,) * 3
    else:
        transform = models.get_model_weights(name).DEFAULT.transforms()
        mean, std = tuple(transform.mean), tuple(transform.std)
    if channels == 3:
        return mean, std
    return (sum(mean) / 3,) * channels, (sum(std) / 3,) * channels


def _family_arguments(name: str) -> dict[str, Any]:
    # Told outright, the initial values that torchvision otherwise warns about; auxiliary heads off.
    auxiliary = {"aux_logits": False, "init_weights": True}
    return dict.fromkeys(_PLUS_MINUS_ONE, auxiliary).get(VISION_FACTS[name].family, {})


def _size_arguments(name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Arguments of the models whose image size is fixed when they are built."""
    sizes = {"vit": {"image_size": shape[1]}, "maxvit": {"input_size": tuple(shape[1:])}}
    return sizes.get(VISION_FACTS[name].family, {})


def _replace_stem(model: nn.Module, channels: int) -> None:
    """Put a convolution for `channels` input channels in the place of the first one, freshly initialised.

    Its spread is that of the model's own initialisation, scaled by sqrt(3 / C), so that what leaves it
    has the scale that it would have on three channels.
    """
    path, old = next((path, module) for path, module in model.named_modules() if isinstance(module, nn.Conv2d))
    options = {key: getattr(old, key) for key in ("kernel_size", "stride", "padding", "dilation", "padding_mode")}
    new = nn.Conv2d(channels, old.out_channels, bias=old.bias is not None, **options)
    with torch.no_grad():
        nn.init.normal_(new.weight, std=float(old.weight.std()) * math.sqrt(3 / channels))
        if old.bias is not None:
            new.bias.copy_(old.bias)
    parent, _, attribute = path.rpartition(".")
    setattr(model.get_submodule(parent), attribute, new)


def ensure_file(weights: Enum, name: str, download: bool) -> None:
    """Check that published weights are in torch hub's folder, whole, or may be fetched to there."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / Path(weights.url).name
    if not path.is_file():
        if download:
            return
        raise DataError(
            f'the published weights "{weights.name}" of {name} are not at {path}; '
            f"put the file from {weights.url} there, or allow it to be fetched with download = true"
        )
    expected = torch.hub.HASH_REGEX.search(path.name)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if expected and not found.startswith(expected.group(1)):
        raise DataError(f"{path} is damaged: its SHA-256 begins {found[:8]}, not {expected.group(1)}; delete it")


def _load(name: str, weights: Enum) -> nn.Module:
    """Build the model with published weights through torchvision's own builder, and see that they are whole."""
    try:
        model = models.get_model(name, weights=weights, progress=False)
    except OSError as error:
        raise DataError(
            f'could not fetch the weights "{weights.name}" of {name} from {weights.url}: {error}'
        ) from error
    except RuntimeError as error:
        raise DataError(f'the weights "{weights.name}" of {name} do not load: {error}') from error
    bad = [key for key, tensor in model.state_dict().items() if not _finite(tensor)]
    if weights.meta["categories"] is None or bad:
        shown = ", ".join(bad[:3]) or "the classifier"
        raise DataError(f'the weights "{weights.name}" of {name} are not complete ({shown}); choose others')
    return model


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
