"""A backbone: a network as an ordered list of named blocks, then a head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.backbones.batch import Batch, Rows, each
from bench.backbones.declare import backbone
from bench.errors import DataError
from bench.registry import BACKBONES
from bench.trial import named_shapes

Shape = tuple[int, ...] | Mapping[str, tuple[int, ...]]
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
    beside : ModuleDict
        Further modules that learn while it is trained, and are no part of the model that comes of it: heads for
        the labels of other tasks, and what a method owns.
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
        self.beside = nn.ModuleDict()
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

    def prepare(self, x: Rows) -> Any:
        """Return inputs as float32, standardised: uint8 images first become 0 to 1. Token ids stay what they are.

        Of a mapping, images are standardised, other numbers become float32, whole numbers and truth values stay.
        Done once for a data set, not once a batch; `run_blocks` expects prepared inputs.

        Raises
        ------
        DataError
            For token ids where the network takes numbers, and the reverse.
        """
        if isinstance(x, Mapping):
            return each(self._prepare_part, x)
        tokens = not x.dtype.is_floating_point and x.dtype != torch.uint8
        if tokens != self.integers:
            takes = "token ids (integers)" if self.integers else "numbers (declare it with integers=True?)"
            raise DataError(f"the inputs are {str(x.dtype).removeprefix('torch.')}, but the backbone takes {takes}")
        return x if tokens else self._standardised(x)

    def _prepare_part(self, x: Tensor) -> Tensor:
        image = x.ndim == 4 and (x.dtype == torch.uint8 or x.dtype.is_floating_point)
        return self._standardised(x) if image else x.float() if x.dtype.is_floating_point else x

    def _standardised(self, x: Tensor) -> Tensor:
        x = x.float() / 255.0 if x.dtype == torch.uint8 else x.float()
        shape = (1, -1) + (1,) * (x.ndim - 2)
        mean, std = (torch.tensor(v, device=x.device).view(shape) for v in (self.mean, self.std))
        return (x - mean) / std

    def run_blocks(self, x: Rows, start: int = 0, stop: int | None = None) -> Any:
        """Pass `x` (the output of block `start`, 0 meaning the input) through blocks start+1..stop.

        A block may take and return a mapping of tensors; the last one returns features.
        """
        for block in self.block_list()[start:stop]:
            x = block(x)
            if isinstance(x, Mapping) and not isinstance(x, Batch):
                x = Batch(x)
        return x

    def forward(self, x: Rows, start: int = 0, head: str | None = None) -> Any:
        """Return outputs of the head or one beside it, shape (N, K), of activations at the cut `start`."""
        module = self.head if head is None else self.beside[head]
        return module(self.run_blocks(x, start))

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
    shape : tuple of int, or of (name, tuple of int)
        Shape of one input, (C, H, W) or (D,); those of a mapping, which the backbone's function gets as a dict.
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
        shape = named_shapes(shape) or shape
        made = entry.function(shape, **arguments)
        try:
            network = made if isinstance(made, Backbone) else of_modules(made, shape, integers)
        except DataError as error:
            raise DataError(f'backbone "{name}" {error}') from error
        network.integers = integers
        torch.manual_seed(head_seed)
        network.head = nn.Linear(network.width, outputs) if isinstance(outputs, int) else outputs(network.width)
    return network


def of_modules(made: Any, shape: Shape, integers: bool = False) -> Backbone:
    """Make a backbone of plain modules: each module with weights is a block, named b1, b2, ... from the input.

    Modules without weights (activations, pooling, flattening) belong to the block before them, those at the
    beginning to the first. The number of features is that of the last block's output for zeros. Images are
    standardised by 0.5 and 0.5, as the small built-in networks do it, and tables are taken as they are.

    Parameters
    ----------
    made : nn.Sequential, or sequence of Module
    shape : tuple of int, or dict of them
        Shape of one input.
    integers : bool
        Whether inputs are token ids, or all of a mapping's whole numbers.

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
    images = any(len(part) == 3 for part in (shape.values() if isinstance(shape, Mapping) else [shape]))
    constants = ((0.5,), (0.5,)) if images else ((0.0,), (1.0,))
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


def _width(blocks: Mapping[str, nn.Module], shape: Shape, integers: bool) -> int:
    """Return the number of features, found with two inputs of zeros."""
    dtype = torch.int64 if integers else torch.float32
    shapes = shape if isinstance(shape, Mapping) else {"": shape}
    x = Batch({name: torch.zeros((2, *part), dtype=dtype) for name, part in shapes.items()})
    x = x if isinstance(shape, Mapping) else x[""]
    for label, block in blocks.items():
        given, training = each(lambda part: tuple(part.shape), x), block.training
        try:
            with torch.no_grad():
                x = block.eval()(x)
        except Exception as error:
            raise DataError(f"cannot pass (N, ...) = {given} through block {label}: {error}") from error
        block.train(training)
        x = Batch(x) if isinstance(x, Mapping) else x
        if not isinstance(x, Tensor | Batch):
            raise DataError(f"has a block {label} that returns {type(x).__name__}, not a tensor")
    if isinstance(x, Batch):
        raise DataError(f"returns a mapping of {', '.join(x)}, not features (N, width)")
    if x.ndim != 2:
        raise DataError(
            f"returns features of shape {('N', *x.shape[1:])}, not (N, width): end with nn.Flatten() or a pooling"
        )
    return x.shape[1]
