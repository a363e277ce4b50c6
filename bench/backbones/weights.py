"""Reading and writing the weights of backbones: state-dict files, ours and torchvision's."""

from __future__ import annotations

import math
import pickle
import re
import warnings
import zipfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.atomic_write import write_whole
from bench.backbones.base import Backbone
from bench.backbones.pickled import growth
from bench.errors import DataError, nearest

_TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".tar")
# What a training script wraps a state dict in.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module")
# What data parallelism, torch.compile or a surrounding module put in front of every name.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
# Classifiers that are used in training only and have no place among the blocks.
_AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
# Names in files that torchvision published long ago, which its own models rename on loading.
_RENAMED = (
    (re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12])\."), r"\1\2."),
    (re.compile(r"^(.*encoder_layer_\d+\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"^(.*encoder_layer_\d+\.mlp)\.linear_2\."), r"\1.3."),
)


_SHOWN = 200  # characters of a name in a message
_SMALL = 2**20  # bytes that a view may spread to, whatever it is a view of


@dataclass(frozen=True)
class LoadReport:
    """What :func:`load_into` did.

    Attributes
    ----------
    loaded : tuple of str
        Names (ours) that took their values from the file.
    adapted : tuple of str
        Those among them that were fitted to another number of channels or another image size.
    ignored : tuple of str
        Names in the file that were left out on purpose: auxiliary classifiers, or the head.
    """

    loaded: tuple[str, ...]
    adapted: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


def load_state_dict_file(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from a file, running none of the code that a pickle can hold.

    Parameters
    ----------
    path : path
        ``.safetensors``, or a file that ``torch.save`` wrote (``.pt``, ``.pth``, ...): a state dict, or
        a dictionary that has one under a usual name ("state_dict", "model", ...).

    Returns
    -------
    dict of str to Tensor
        On the CPU.

    Raises
    ------
    DataError
        For a file that is missing, damaged, needs more than tensors to be unpickled, or has no state
        dict.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"no weights at {path}")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in _TORCH_SUFFIXES:
        return _unwrap(_read_torch(path), path)
    allowed = ", ".join((".safetensors", *_TORCH_SUFFIXES))
    raise DataError(f'{path}: weights must be in one of {allowed}, not "{path.suffix}"')


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DataError(f"{path} is damaged or not a safetensors file: {str(error)[:300]}") from error


def _read_torch(path: Path) -> object:
    _refuse_bomb(path)
    _refuse_growth(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of pickles by others than torch, which are refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, KeyError, EOFError) as error:
        # A whole archive that is refused is refused for what is in it; older files are no archives.
        if zipfile.is_zipfile(path) or "global" in str(error).lower():
            raise DataError(
                f"{path} holds more than tensors (a whole pickled module?), and reading it could run code; "
                "save the model's state_dict() alone, with torch.save or safetensors"
            ) from error
        # Without torch's own words: they advise to read such a file with weights_only=False.
        raise DataError(f"{path} is damaged or not a file that torch.save wrote") from error
    except Exception as error:
        # Torch's unpickler raises a dozen types over a damaged file.
        said = next(iter(str(error).splitlines()), type(error).__name__)[:300]
        raise DataError(f"{path} is damaged or not a file that torch.save wrote: {said}") from error


def _refuse_bomb(path: Path) -> None:
    """Refuse an archive that says it holds more than its own size: torch.save compresses nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            held = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return  # no archive: older files; or a damaged one, as torch will say
    if held > path.stat().st_size:
        raise DataError(
            f"{path} is not a torch.save archive: its uncompressed size ({held:,} bytes) exceeds the file's"
        )


def _refuse_growth(path: Path) -> None:
    """Refuse a file whose reading would take memory or time beyond all measure."""
    try:
        found = growth(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        raise DataError(f"{path} is damaged or not a file that torch.save wrote: {error}") from error
    if found:
        raise DataError(f"{path} holds more than a state dict needs ({found}); save the model's state_dict() alone")


def _unwrap(value: object, path: Path) -> dict[str, Tensor]:
    """Return the state dict within what a file held."""
    for _ in _WRAPPERS:  # a pickle can hold itself, so no further than this
        if not isinstance(value, Mapping):
            break
        inner = next((value[key] for key in _WRAPPERS if isinstance(value.get(key), Mapping)), None)
        if inner is None:
            break
        value = inner
    if not isinstance(value, Mapping) or not value:
        raise DataError(f"{path} holds no state dict but {type(value).__name__}")
    strange = [str(key) for key, entry in value.items() if not isinstance(entry, Tensor)]
    if strange:
        raise DataError(f"{path} holds no plain state dict: these entries are not tensors: {_some(strange, 5)}")
    odd = [str(key) for key, entry in value.items() if not _is_plain(entry)]
    if odd:
        raise DataError(f"{path} holds tensors that are not plain numbers in full: {_some(odd)}")
    return {str(key): entry for key, entry in value.items()}


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is dense, real and has all of its numbers: a view may claim to be larger than memory."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_complex():
        return False
    return tensor.numel() * tensor.element_size() <= max(tensor.untyped_storage().nbytes(), _SMALL)


def load_into(
    network: Backbone,
    state: Mapping[str, Tensor],
    *,
    blocks_only: bool = False,
    adapt: bool = False,
    free: Collection[str] = (),
) -> LoadReport:
    """Copy a state dict into a network, all of it or nothing.

    Parameters
    ----------
    network : Backbone
    state : mapping of str to Tensor
        With our names (``blocks.<block>...``, ``head...``) or, for a network that is cut out of a
        torchvision model, with torchvision's; prefixes such as ``module.`` are taken off.
    blocks_only : bool
        Leave the head as it is, and whatever the state dict has for it unread.
    adapt : bool
        Fit what depends on the kind of images: the first convolution to another number of channels
        (its weights summed for a single channel, repeated in turn and scaled by 3 / C for others), and
        a vision transformer's position embeddings to another image size (interpolated, as torchvision
        does it). Without it such entries are of the wrong shape.
    free : collection of str
        Entries (our names) that are left as they are, whatever shape they have in the state dict.

    Raises
    ------
    DataError
        When the state dict does not fit; lists what is missing, unexpected and of the wrong shape.
    """
    own, state = network.state_dict(), _strip(state)
    foreign = bool(network.original_names) and not any(key.startswith("blocks.") for key in state)
    state, ignored = _translate(network, state) if foreign else (state, [])
    if blocks_only:
        ignored += [key for key in state if key.startswith("head.")]
        state = {key: tensor for key, tensor in state.items() if not key.startswith("head.")}
        own = {key: tensor for key, tensor in own.items() if not key.startswith("head.")}
    adapted = _adapt(network, state, own) if adapt else []
    both = own.keys() & state.keys() & set(free)
    state, own = ({key: tensor for key, tensor in part.items() if key not in both} for part in (state, own))
    names = {ours: original for original, ours in network.original_names.items()} if foreign else {}
    _check_fit(state, own, names)
    with torch.no_grad():
        for key, tensor in state.items():
            own[key].copy_(tensor)
    return LoadReport(tuple(state), tuple(adapted), tuple(ignored))


def _strip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take off prefixes that every name has."""
    state = dict(state)
    while state:
        prefix = next((p for p in _PREFIXES if all(key.startswith(p) for key in state)), None)
        if prefix is None:
            break
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def _translate(network: Backbone, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Translate torchvision's names to ours; also return the names that are left out on purpose."""
    ours, ignored = {}, []
    for key, tensor in state.items():
        if key.startswith(_AUXILIARY):
            ignored.append(key)
            continue
        for pattern, replacement in _RENAMED:
            key = pattern.sub(replacement, key)
        ours[network.original_names.get(key, key)] = tensor
    weight = ours.get("head.weight")
    if weight is not None and weight.ndim == 2 and "head.bias" not in network.original_names.values():
        # MaxViT's classifier has no bias, our heads do.
        ours.setdefault("head.bias", weight.new_zeros(len(weight)))
    return ours, ignored


def _adapt(network: Backbone, state: dict[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """Fit entries of `state` to other channels and image sizes, in place; return their names."""
    adapted = []
    stem = next((path for path, module in network.named_modules() if isinstance(module, nn.Conv2d)), None)
    for key in list(state):
        if key not in own or state[key].shape == own[key].shape:
            continue
        if key == f"{stem}.weight" and state[key].ndim == 4 and state[key].shape[1]:
            state[key] = _fit_channels(state[key], own[key].shape[1])
        elif key.endswith("pos_embedding") and _has_positions(state[key]):
            state[key] = _fit_positions(state[key], own[key].shape[1])
        else:
            continue
        adapted.append(key)
    return adapted


def _fit_channels(weight: Tensor, channels: int) -> Tensor:
    """Fit a convolution's weight, shape (out, in, k, k), to another number of input channels."""
    given = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    turns = [index % given for index in range(channels)]
    return weight[:, turns] * (given / channels)


def _has_positions(embedding: Tensor) -> bool:
    """Whether position embeddings are those of a class token and a square of patches."""
    if embedding.ndim != 3 or len(embedding) != 1 or embedding.shape[1] < 2 or not embedding.is_floating_point():
        return False
    return math.isqrt(embedding.shape[1] - 1) ** 2 == embedding.shape[1] - 1


def _fit_positions(embedding: Tensor, length: int) -> Tensor:
    """Interpolate position embeddings, shape (1, 1 + patches, D), to another number of patches."""
    from torchvision.models.vision_transformer import interpolate_embeddings

    side = math.isqrt(length - 1)
    return interpolate_embeddings(side, 1, {"encoder.pos_embedding": embedding})["encoder.pos_embedding"]


def _check_fit(state: Mapping[str, Tensor], own: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
    """Refuse a state dict that does not fit: counts and the first few of each kind, as the file names them."""
    # Counters that files from before torch 0.4.1 do not have; they have no part in the result.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    shapes = [key for key in state if key in own and state[key].shape != own[key].shape]
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing ({_some(names.get(key, key) for key in missing)})")
    if unexpected:
        candidates = [names.get(key, key) for key in missing or own]
        hints = (f"{key}{nearest(key, candidates)}" for key in unexpected)
        parts.append(f"{len(unexpected)} unexpected ({_some(hints)})")
    if shapes:
        sizes = (f"{names.get(key, key)} is {tuple(state[key].shape)}, not {tuple(own[key].shape)}" for key in shapes)
        parts.append(f"{len(shapes)} of another shape ({_some(sizes)})")
    if parts:
        message = f"the state dict does not fit the network ({len(own)} entries): " + "; ".join(parts)
        if all(key.startswith("head.") for key in (*missing, *unexpected, *shapes)):
            message += "; the blocks fit, the head does not: leave classes out, or name as many as the file's head has"
        raise DataError(message)
    bad = [names.get(key, key) for key, tensor in state.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise DataError(f"the state dict has NaN or infinite values in {len(bad)} entries ({_some(bad)})")


def _some(items: Iterable[str], limit: int = 3) -> str:
    shown = [item if len(item) <= _SHOWN else f"{item[:_SHOWN]}..." for item in islice(items, limit + 1)]
    return ", ".join(shown if len(shown) <= limit else [*shown[:limit], "..."])


def save(network: Backbone, path: str | Path) -> None:
    """Write a network's state dict as safetensors, so that a reader finds all of it or none.

    Parameters
    ----------
    network : Backbone
    path : path
        Its folder must exist; a file that is there is replaced.

    Raises
    ------
    StoreError
        When the file cannot be written; one that was there is then still whole.
    """
    from safetensors.torch import save_file

    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()}
    write_whole(Path(path), lambda place: save_file(tensors, place), shared=True)
