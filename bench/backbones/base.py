"""A backbone: a network as an ordered list of named blocks, then a head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.backbones.declare import backbone
from bench.errors import DataError
from bench.registry import BACKBONES

__all__ = ["Backbone", "backbone", "build", "of_modules"]


class Backbone(nn.Module):
    """Blocks b1..bL and a linear head, which :func:`build` adds.

    Parameters
    ----------
    blocks : mapping of str to Module
        In order from the input; the last one returns features of shape (N, `width`).
    width : int
        Number of features that the head reads.
    mean, std : sequences of float
        Per-channel constants with which :meth:`prepare` standardises inputs. They belong to the
        network, as with published weights, and never depend on the data at hand.
    original_names : mapping of str to str
        For a network cut out of another library's, or made of a list of modules: the name that each
        tensor has there -> ours, so that its state dicts can be read.
    integers : bool
        Whether it takes token ids, int64 of shape (N, T), which :meth:`prepare` then leaves as they are.
    companion : Module or None
        A second head on the same blocks, for the labels of another task that is trained on beside.
    published_head : Linear, optional
        The classifier that came with published weights. It is kept beside the network, not in it: it
        is neither trained nor counted nor saved unless it is made the head.
    """

    def __init__(
        self,
        blocks: Mapping[str, nn.Module],
        width: int,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        *,
        original_names: Mapping[str, str] | None = None,
        published_head: nn.Linear | None = None,
        integers: bool = False,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict(blocks)
        self.head: nn.Module = nn.Identity()
        self.companion: nn.Module | None = None
        self.width = width
        self.mean, self.std = tuple(mean), tuple(std)
        self.original_names = dict(original_names or {})
        self.integers = integers
        # Past Module.__setattr__, which would make it a submodule.
        self.__dict__["published_head"] = published_head
        # Names of parameters that no gradient changes, whatever the depth, and of those that an adaptation added.
        self.fixed: frozenset[str] = frozenset()
        self.added: frozenset[str] = frozenset()
        self._frozen = 0

    @property
    def depth(self) -> int:
        """Number of blocks, L."""
        return len(self.blocks)

    def block_list(self) -> list[nn.Module]:
        """The blocks in order."""
        return list(self.blocks.values())

    def prepare(self, x: Tensor) -> Tensor:
        """Return inputs as float32, standardised: uint8 images first become 0 to 1. Token ids stay what they are.

        Done once for a data set, not once a batch; `run_blocks` expects prepared inputs.

        Raises
        ------
        DataError
            For token ids where the network takes numbers, and the reverse.
        """
        tokens = not x.dtype.is_floating_point and x.dtype != torch.uint8
        if tokens != self.integers:
            takes = "token ids (integers)" if self.integers else "numbers (declare it with integers=True?)"
            raise DataError(f"the inputs are {str(x.dtype).removeprefix('torch.')}, but the backbone takes {takes}")
        if tokens:
            return x
        x = x.float() / 255.0 if x.dtype == torch.uint8 else x.float()
        shape = (1, -1) + (1,) * (x.ndim - 2)
        mean, std = (torch.tensor(v, device=x.device).view(shape) for v in (self.mean, self.std))
        return (x - mean) / std

    def run_blocks(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Pass `x` (the output of block `start`, 0 meaning the input) through blocks start+1..stop."""
        for block in self.block_list()[start:stop]:
            x = block(x)
        return x

    def forward(self, x: Tensor, start: int = 0, companion: bool = False) -> Tensor:
        """Return logits, shape (N, classes), for activations at the cut after block `start`."""
        head = self.companion if companion else self.head
        return head(self.run_blocks(x, start))

    def freeze(self, depth: int) -> Backbone:
        """Freeze the first `depth` blocks entirely, and of the others what is in `fixed`; returns self.

        A frozen block has no gradients and stays in evaluation mode: its batch-norm statistics do not
        move and its dropout does not drop (see :meth:`train`). The others are in training mode, running
        statistics included, whatever of them is fixed.
        """
        self._frozen = depth
        for index, block in enumerate(self.block_list()):
            block.requires_grad_(index >= depth)
        for name in self.fixed:
            self.get_parameter(name).requires_grad_(False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Backbone:
        """Set training mode, in which frozen blocks stay in evaluation mode."""
        super().train(mode)
        for block in self.block_list()[: self._frozen]:
            block.eval()
        return self


def build(
    name: str, shape: tuple[int, ...], outputs: int | Callable[[int], nn.Module], seed: int, head_seed: int,
    **arguments: Any,
) -> Backbone:  # fmt: skip
    """Build the backbone called `name`, freshly initialised.

    Initial values depend on the seeds alone: the body's on `seed`, the head's on `head_seed`.

    Parameters
    ----------
    name : str
        A registered backbone.
    shape : tuple of int
        Shape of one input, (C, H, W) or (D,).
    outputs : int or callable
        Of a linear head: the number of classes, where it tells classes apart. Or what makes another head from
        the number of features.
    seed, head_seed : int
    **arguments
        The backbone's own.

    Raises
    ------
    DataError
        When the network cannot take inputs of this shape, or the function returns something else.
    """
    entry = BACKBONES.get(name)
    integers = entry.meta.get("integers", False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = entry.function(shape, **arguments)
        try:
            network = made if isinstance(made, Backbone) else of_modules(made, shape, integers)
        except DataError as error:
            raise DataError(f'backbone "{name}" {error}') from error
        network.integers = integers
        torch.manual_seed(head_seed)
        network.head = nn.Linear(network.width, outputs) if isinstance(outputs, int) else outputs(network.width)
    return network


def of_modules(made: Any, shape: tuple[int, ...], integers: bool = False) -> Backbone:
    """Make a backbone of plain modules: each module with weights is a block, named b1, b2, ... from the input.

    Modules without weights (activations, pooling, flattening) belong to the block before them, those at the
    beginning to the first. The number of features is that of the last block's output for zeros. Images are
    standardised by 0.5 and 0.5, as the small built-in networks do it, and tables are taken as they are.

    Parameters
    ----------
    made : nn.Sequential, or sequence of Module
    shape : tuple of int
        Shape of one input.
    integers : bool
        Whether inputs are token ids.

    Raises
    ------
    DataError
        For anything else, or where the last block's output is not of shape (N, width).
    """
    is_list = isinstance(made, nn.Sequential | nn.ModuleList | list | tuple)
    modules = list(made) if is_list else []
    if not modules or not all(isinstance(module, nn.Module) for module in modules):
        what = "an empty list" if is_list and not modules else type(made).__name__
        raise DataError(f"returned {what}, not a Backbone, a torch.nn.Sequential or a list of modules")
    blocks = _grouped(modules)
    width = _width(blocks, shape, integers)
    constants = ((0.5,), (0.5,)) if len(shape) == 3 else ((0.0,), (1.0,))
    network = Backbone(blocks, width, *constants, integers=integers)
    ours = {id(tensor): key for key, tensor in network.state_dict(keep_vars=True).items()}
    given = made if isinstance(made, nn.Sequential) else nn.ModuleList(modules)
    names = {key: ours[id(tensor)] for key, tensor in given.state_dict(keep_vars=True).items()}
    # A classifier that stands behind the blocks in a user's own training script is the head.
    names |= {f"{len(modules)}.{part}": f"head.{part}" for part in ("weight", "bias")}
    network.original_names = names
    return network


def _grouped(modules: Sequence[nn.Module]) -> dict[str, nn.Module]:
    """Put modules without weights into the block before them."""

    def has_weights(module: nn.Module) -> bool:
        return next(module.parameters(), None) is not None

    groups: list[list[nn.Module]] = [[]]
    for module in modules:
        if has_weights(module) and any(map(has_weights, groups[-1])):
            groups.append([])
        groups[-1].append(module)
    if not any(map(has_weights, groups[0])):
        raise DataError("returned modules without weights: there is nothing to train or transfer")
    return {f"b{k}": group[0] if len(group) == 1 else nn.Sequential(*group) for k, group in enumerate(groups, 1)}


def _width(blocks: Mapping[str, nn.Module], shape: tuple[int, ...], integers: bool) -> int:
    """Return the number of features, found with two inputs of zeros."""
    x = torch.zeros((2, *shape), dtype=torch.int64 if integers else torch.float32)
    for label, block in blocks.items():
        given, training = tuple(x.shape), block.training
        try:
            with torch.no_grad():
                x = block.eval()(x)
        except Exception as error:
            raise DataError(f"cannot pass (N, ...) = {given} through block {label}: {error}") from error
        block.train(training)
        if not isinstance(x, Tensor):
            raise DataError(f"has a block {label} that returns {type(x).__name__}, not a tensor")
    if x.ndim != 2:
        raise DataError(
            f"returns features of shape {('N', *x.shape[1:])}, not (N, width): end with nn.Flatten() or a pooling"
        )
    return x.shape[1]
