"""A backbone: a network as an ordered list of named blocks, then a head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.backbones.declare import backbone
from bench.errors import DataError
from bench.registry import BACKBONES

__all__ = ["Backbone", "backbone", "build"]


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
        For a network cut out of another library's: that library's name of each tensor -> ours, so that
        its state dicts can be read.
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
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict(blocks)
        self.head: nn.Module = nn.Identity()
        self.companion: nn.Module | None = None
        self.width = width
        self.mean, self.std = tuple(mean), tuple(std)
        self.original_names = dict(original_names or {})
        # Past Module.__setattr__, which would make it a submodule.
        self.__dict__["published_head"] = published_head
        self._frozen = 0

    @property
    def depth(self) -> int:
        """Number of blocks, L."""
        return len(self.blocks)

    def block_list(self) -> list[nn.Module]:
        """The blocks in order."""
        return list(self.blocks.values())

    def prepare(self, x: Tensor) -> Tensor:
        """Return inputs as float32, standardised: uint8 images first become 0 to 1.

        Done once for a data set, not once a batch; `run_blocks` expects prepared inputs.
        """
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
        """Freeze the first `depth` blocks entirely, and only them; returns self.

        A frozen block has no gradients and stays in evaluation mode: its batch-norm statistics do not
        move and its dropout does not drop (see :meth:`train`).
        """
        self._frozen = depth
        for index, block in enumerate(self.block_list()):
            block.requires_grad_(index >= depth)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Backbone:
        """Set training mode, in which frozen blocks stay in evaluation mode."""
        super().train(mode)
        for block in self.block_list()[: self._frozen]:
            block.eval()
        return self


def build(name: str, shape: tuple[int, ...], classes: int, seed: int, head_seed: int, **arguments: Any) -> Backbone:
    """Build the backbone called `name`, freshly initialised.

    Initial values depend on the seeds alone: the body's on `seed`, the head's on `head_seed`.

    Parameters
    ----------
    name : str
        A registered backbone.
    shape : tuple of int
        Shape of one input, (C, H, W) or (D,).
    classes : int
        Number of classes.
    seed, head_seed : int
    **arguments
        The backbone's own.

    Raises
    ------
    DataError
        When the network cannot take inputs of this shape.
    """
    entry = BACKBONES.get(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = entry.function(shape, **arguments)
        if not isinstance(network, Backbone):
            raise DataError(f'backbone "{name}" returned {type(network).__name__}, not a Backbone')
        torch.manual_seed(head_seed)
        network.head = nn.Linear(network.width, classes)
    return network
