"""What can be found wrong with handed-in models before any data are read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from bench.backbones.trial_shapes import all_built
from bench.backbones.weights import load_into
from bench.errors import BenchError, DataError, nearest
from bench.registry import BACKBONES


def state_dict_problem(
    name: str, arguments: Mapping[str, Any], state: Mapping[str, Tensor], classes: Sequence[str]
) -> str | None:
    """Say why a state dict does not fit a backbone, or None if it may.

    The backbone is built, without memory, for inputs of several shapes; entries whose shape follows from the
    input's (the first layer of a perceptron) are not compared.

    Parameters
    ----------
    name, arguments
        Of the backbone.
    state : mapping of str to Tensor
        What the file holds.
    classes : sequence of str
        What the outputs of its head stand for; empty where the head is left out.
    """
    refusals: list[str] = []
    networks = [network for _, network in all_built(name, arguments, refusals, classes=max(1, len(classes)))]
    shapes = [{key: tensor.shape for key, tensor in network.state_dict().items()} for network in networks]
    said: list[str] = refusals if not networks else []
    for network, own in zip(networks, shapes, strict=True):
        alike = [other for other in shapes if other.keys() == own.keys()]
        free = {key for key in own if any(other[key] != own[key] for other in alike)}
        try:
            load_into(network, state, blocks_only=not classes, adapt=True, free=free)
        except DataError as error:
            said.append(str(error))
        else:
            return None
    return next(iter(said), None)


def published_problems(name: str, weights: str, download: bool, classes: Collection[str]) -> list[str]:
    """Say why published weights cannot be had for a backbone.

    Parameters
    ----------
    name : str
        Of the backbone.
    weights : str
        As torchvision names them.
    download : bool
        Whether they may be fetched.
    classes : collection of str
        Those of the published classes that a target may have.
    """
    if "weights" not in BACKBONES.get(name).parameters:
        return [f'backbone "{name}" has no published weights; torchvision\'s models have']
    from bench.backbones.vision_build import ensure_file, find_weights

    try:
        chosen = find_weights(name, weights)
    except BenchError as error:
        return [str(error)]
    found = []
    try:
        ensure_file(chosen, name, download)
    except DataError as error:
        found.append(str(error))
    known = chosen.meta["categories"] or ()
    found += [f'the published classes have no "{c}"{nearest(c, known)}' for c in classes if c not in known]
    return found
