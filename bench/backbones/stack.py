"""Lanes: several networks of one shape held as one, each tensor with a leading axis, trained together.

A stack of one lane is the network itself. A stack of more runs all lanes in one pass: convolutions become
grouped ones, linear layers batched products, normalisation statistics stay each lane's own. Lanes never
mix, and what a lane computes does not depend on what its companions hold, to the bit; it does depend on
how many there are, since libraries choose other kernels for other shapes. A trial's key holds that number.

Within a stack, features lie lane after lane in dimension 1: (N, lanes * C, ...).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d

from bench.backbones.base import Backbone
from bench.backbones.batch import Rows, each
from bench.backbones.layers import GlobalAveragePool
from bench.errors import BenchError


class _Convolution(nn.Module):
    """Conv2d of every lane, as one grouped convolution; weight (lanes, out, in, k, k)."""

    def __init__(self, layer: nn.Conv2d, lanes: int):
        super().__init__()
        self.groups = lanes * layer.groups
        self.options = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
        # Laid out so that the flattened weight is channels-last: the kernels are faster for it.
        flat = layer.weight.detach().repeat(lanes, 1, 1, 1).contiguous(memory_format=torch.channels_last)
        self.weight = nn.Parameter(flat.unflatten(0, (lanes, -1)))
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().repeat(lanes, 1))

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.flatten()
        return conv2d(x, self.weight.flatten(0, 1), bias, groups=self.groups, **self.options)


class _Linear(nn.Module):
    """Linear of every lane: (N, lanes * in) -> (N, lanes * out), or logits (lanes, N, out) as a head."""

    def __init__(self, layer: nn.Linear, lanes: int, head: bool = False):
        super().__init__()
        self.lanes, self.head = lanes, head
        self.weight = nn.Parameter(layer.weight.detach().repeat(lanes, 1, 1))
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().repeat(lanes, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x.unflatten(1, (self.lanes, -1)).transpose(0, 1)
        weight = self.weight.transpose(1, 2)
        out = torch.bmm(x, weight) if self.bias is None else torch.baddbmm(self.bias.unsqueeze(1), x, weight)
        return out if self.head else out.transpose(0, 1).flatten(1)


class _BatchNorm(nn.Module):
    """Batch normalisation of every lane: channels of other lanes are other channels."""

    def __init__(self, layer: nn.BatchNorm1d | nn.BatchNorm2d, lanes: int):
        super().__init__()
        if layer.momentum is None or not layer.affine or not layer.track_running_stats:
            raise BenchError("batch normalisation with unusual options cannot be stacked")
        self.momentum, self.eps = layer.momentum, layer.eps
        self.weight = nn.Parameter(layer.weight.detach().repeat(lanes, 1))
        self.bias = nn.Parameter(layer.bias.detach().repeat(lanes, 1))
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            value = getattr(layer, name)
            self.register_buffer(name, value.repeat(lanes, *(1,) * value.ndim))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.num_batches_tracked.add_(1)
        mean, variance = self.running_mean.flatten(), self.running_var.flatten()
        weight, bias = self.weight.flatten(), self.bias.flatten()
        return batch_norm(x, mean, variance, weight, bias, self.training, self.momentum, self.eps)


class _Dropout(nn.Module):
    """Dropout with random numbers of each lane's own, the same that the lane would draw by itself."""

    def __init__(self, layer: nn.Dropout, lanes: int):
        super().__init__()
        self.lanes, self.p = lanes, layer.p
        self.generators: list[torch.Generator] = []

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        shape = (len(x), x.shape[1] // self.lanes, *x.shape[2:])
        keep = [
            torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(1 - self.p, generator=generator)
            for generator in self.generators
        ]
        return x * torch.cat(keep, 1).div_(1 - self.p)


_LANED: dict[type[nn.Module], Callable[[nn.Module, int], nn.Module]] = {
    nn.Conv2d: _Convolution,
    nn.Linear: _Linear,
    nn.BatchNorm1d: _BatchNorm,
    nn.BatchNorm2d: _BatchNorm,
    nn.Dropout: _Dropout,
}
# What treats every channel by itself needs no other form.
_CHANNELWISE = (
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Identity, nn.Flatten,
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, GlobalAveragePool,
)  # fmt: skip


def _laned(module: nn.Module, lanes: int, head: bool = False) -> nn.Module:
    if type(module) in _LANED:
        return _Linear(module, lanes, head=True) if head else _LANED[type(module)](module, lanes)
    if isinstance(module, _CHANNELWISE):
        return copy.deepcopy(module)
    if type(module) is nn.Sequential:
        return nn.Sequential(*(_laned(part, lanes) for part in module))
    raise BenchError(f"a {type(module).__name__} layer cannot be stacked; declare the backbone without lanes")


def values(network: Backbone) -> list[Tensor]:
    """Return a network's tensors, parameters and buffers, in the order of its state dict."""
    return [tensor.detach() for tensor in network.state_dict(keep_vars=True).values()]


class Stack:
    """Networks of one shape, trained together.

    Parameters
    ----------
    template : Backbone
        Gives the shapes; its values are not used.
    lanes : int
        How many.

    Raises
    ------
    BenchError
        When a layer of the network has no form for several lanes.
    """

    def __init__(self, template: Backbone, lanes: int):
        self.lanes = lanes
        if lanes == 1:
            self.network = copy.deepcopy(template)
        else:
            blocks = {name: _laned(block, lanes) for name, block in template.blocks.items()}
            self.network = Backbone(blocks, template.width * lanes, template.mean, template.std)
            self.network.head = _laned(template.head, lanes, head=True)
            for name, module in template.beside.items():
                self.network.beside[name] = _laned(module, lanes, head=True)
            self.network.fixed, self.network.added = template.fixed, template.added
        self._tensors = list(self.network.state_dict(keep_vars=True).values())
        self._dropouts = [m for m in self.network.modules() if isinstance(m, _Dropout)]

    @property
    def depth(self) -> int:
        """Number of blocks, L."""
        return self.network.depth

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self._tensors[0].device

    # --- values ------------------------------------------------------------------------------------

    def state(self) -> list[Tensor]:
        """Return views of all tensors with a leading axis of lanes, in the order of a network's state dict."""
        return [t.detach().unsqueeze(0) if self.lanes == 1 else t.detach() for t in self._tensors]

    @torch.no_grad()
    def load(self, states: Sequence[Sequence[Tensor]]) -> None:
        """Take each lane's values from a network's, as :func:`values` gives them."""
        mine = self.state()
        for lane, state in enumerate(states):
            for tensor, value in zip(mine, state, strict=True):
                tensor[lane].copy_(value)

    def seed(self, seeds: Sequence[int]) -> None:
        """Seed each lane's dropout."""
        if self.lanes == 1:
            torch.manual_seed(seeds[0])
            return
        for lane, seed in enumerate(seeds):
            generator = torch.Generator(self.device).manual_seed(seed)
            for layer in self._dropouts:
                layer.generators[lane : lane + 1] = [generator]

    # --- passes ------------------------------------------------------------------------------------

    def freeze(self, depth: int) -> Stack:
        """Freeze the first `depth` blocks of every lane and set training mode."""
        self.network.freeze(depth).train()
        return self

    def trained(self, depth: int) -> list[list[Tensor]]:
        """Return what trains above the cut: of each block, of the head and of each module beside it."""
        modules = [*self.network.block_list()[depth:], self.network.head, *self.network.beside.values()]
        return [[p for p in module.parameters() if p.requires_grad] for module in modules]

    @contextmanager
    def settled(self, restore: bool = True) -> Iterator[None]:
        """Leave running statistics as they were, where the main task's pass alone should move them."""
        # By `data`: a graph that is still needed holds them, and in training mode does not read them.
        buffers = [buffer.data for buffer in self.network.buffers()] if restore else []
        before = [buffer.clone() for buffer in buffers]
        yield
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)

    def by_lane(self, activations: Any) -> Any:
        """Give activations, shape (N, lanes * C, ...), an axis of lanes: (lanes, N, C, ...)."""
        if self.lanes > 1:
            return activations.unflatten(1, (self.lanes, -1)).transpose(0, 1)
        return self.with_lanes(activations)

    def arrange(self, rows: Rows) -> Any:
        """Bring inputs (lanes, N, C, ...) to the form that the networks take, (N, lanes * C, ...).

        Raises
        ------
        BenchError
            For mappings in more than one lane: a plan never asks for that.
        """
        if self.lanes == 1:
            return each(lambda part: part[0], rows)
        if isinstance(rows, Mapping):
            raise BenchError(f"inputs that are mappings run one at a time, not in {self.lanes} lanes")
        arranged = rows.transpose(0, 1).flatten(1, 2)
        return arranged.contiguous(memory_format=torch.channels_last) if arranged.ndim == 4 else arranged

    def outputs(self, x: Rows, start: int = 0, head: str | None = None, network: nn.Module | None = None) -> Any:
        """Return outputs, shape (lanes, N, K), for arranged activations at the cut `start`.

        Of a head beside the main one where its name is given, and of a `network` with other values likewise.
        Where they are no tensor, of one network, they come in a list of one.
        """
        return self.with_lanes((network or self.network)(x, start=start, head=head))

    def with_lanes(self, outputs: Any) -> Any:
        """Give one network's outputs an axis of lanes."""
        if self.lanes > 1:
            return outputs
        return outputs.unsqueeze(0) if isinstance(outputs, Tensor) else [outputs]
