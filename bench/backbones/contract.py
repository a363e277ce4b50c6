"""What every backbone must keep to, a user's own included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from bench.backbones.base import Backbone, build
from bench.backbones.batch import Batch, Rows, each, tensors
from bench.backbones.stack import Stack, values
from bench.backbones.weights import load_into
from bench.identity import generator
from bench.registry import BACKBONES
from bench.trial import named_shapes

_BATCH = 2


@dataclass(frozen=True)
class _Subject:
    """A backbone under test: how it is built, and some prepared inputs."""

    name: str
    shape: tuple[int, ...]
    classes: int
    arguments: Mapping[str, Any]

    def build(self, seed: int = 1, head_seed: int = 1) -> Backbone:
        return build(self.name, self.shape, self.classes, seed, head_seed, **self.arguments)

    def inputs(self, network: Backbone) -> Rows:
        rng = generator("contract", list(self.shape))
        if named := named_shapes(self.shape):
            dtype = torch.int64 if network.integers else torch.float32
            parts = {name: torch.from_numpy(rng.integers(0, 2, (_BATCH, *shape))) for name, shape in named.items()}
            return network.prepare(Batch({name: part.to(dtype) for name, part in parts.items()}))
        if network.integers:
            x = torch.from_numpy(rng.integers(0, 2, (_BATCH, *self.shape)))  # ids of any vocabulary
        elif len(self.shape) == 3:
            x = torch.from_numpy(rng.integers(0, 256, (_BATCH, *self.shape), dtype="uint8"))
        else:
            x = torch.from_numpy(rng.standard_normal((_BATCH, *self.shape)))
        return network.prepare(x)


def check_backbone(
    name: str, shape: tuple[int, ...], arguments: Mapping[str, Any] | None = None, classes: int = 3
) -> list[str]:
    """Check that a registered backbone keeps the contract that training stands on.

    Its depth is the declared one; its features have shape (N, width); running the blocks one by one
    from any cut is the same as running the network, and no block changes what it is given; frozen
    blocks get no gradient and stay in evaluation mode while the others train; initial values depend
    on the seeds alone, the head's on its own; a state dict goes in and out; where lanes are declared, a
    stack computes what its networks would.

    Parameters
    ----------
    name : str
    shape : tuple of int
        Shape of one input; small is quick.
    arguments : mapping, optional
        The backbone's own.
    classes : int

    Returns
    -------
    list of str
        What is wrong; empty when nothing is.

    Raises
    ------
    UnknownName
        When there is no such backbone.
    """
    entry = BACKBONES.get(name)
    subject = _Subject(name, tuple(shape), classes, dict(arguments or {}))
    problems = entry.problems(subject.arguments)
    if problems:
        return problems
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            network = subject.build()
        except Exception as error:
            return [f"cannot be built: {type(error).__name__}: {error}"]
        for what, check in _CHECKS.items():
            try:
                found = list(check(subject, network))
            except Exception as error:
                found = [f"checking {what} failed: {type(error).__name__}: {error}"]
            problems += found
            if found and check is _check_form:
                # The others would only say it again.
                break
    return problems


def _check_form(subject: _Subject, network: Backbone) -> Iterator[str]:
    """Declared depth, shapes of features and logits."""
    if not isinstance(network, Backbone):
        yield f"the function must return a Backbone, not {type(network).__name__}"
        return
    declared = BACKBONES.get(subject.name).meta["depth"]
    declared = declared(**subject.arguments) if callable(declared) else declared
    if network.depth != declared or declared < 1:
        yield f"declares {declared} blocks but has {network.depth}"
    with torch.no_grad():
        network.eval()
        x = subject.inputs(network)
        features = network.run_blocks(x)
        if tuple(features.shape) != (_BATCH, network.width):
            yield f"features must have shape (N, width) = ({_BATCH}, {network.width}), got {tuple(features.shape)}"
            return
        logits = network(x)
    if tuple(logits.shape) != (_BATCH, subject.classes):
        yield f"logits must have shape (N, classes) = ({_BATCH}, {subject.classes}), got {tuple(logits.shape)}"
    if not torch.isfinite(logits).all():
        yield "logits are not finite at the initial values"


def _check_cuts(subject: _Subject, network: Backbone) -> Iterator[str]:
    """Blocks compose, from any cut, without touching what they are given."""
    network.eval()
    with torch.no_grad():
        x = subject.inputs(network)
        whole, middle = network(x), network.depth // 2
        for index, (label, block) in enumerate(network.blocks.items()):
            if index == middle and not _close(network(x, start=middle), whole):
                yield f"running on from the cut before block {label} gives other logits than running the whole"
            before = each(torch.clone, x)
            out = block(x)
            out = Batch(out) if isinstance(out, Mapping) else out
            if not _equal(before, x):
                yield f"block {label} changes its input in place, which may be a cached activation"
            x = out
        if not _close(network.head(x), whole):
            yield "running the blocks one by one gives other logits than running the whole"


def _check_seeds(subject: _Subject, network: Backbone) -> Iterator[str]:
    """Initial values depend on the seeds alone; a state dict holds all of them."""
    state = torch.random.get_rng_state()
    other_head = subject.build(seed=1, head_seed=2)
    if not torch.equal(state, torch.random.get_rng_state()):
        yield "building it moves torch's global random state"
    if not _same(network.blocks, other_head.blocks):
        yield "two networks built with one seed differ"
    if _same(network.head, other_head.head):
        yield "the head does not depend on its seed"
    del other_head
    other = subject.build(seed=2, head_seed=1)
    published = subject.arguments.get("weights") is not None
    if not published and _same(network.blocks, other.blocks):
        yield "two networks built with different seeds are the same"
    if not _same(network.head, other.head):
        yield "the head depends on the seed of the blocks"
    load_into(other, network.state_dict())
    with torch.no_grad():
        x = subject.inputs(network)
        if not _close(other.eval()(x), network.eval()(x)):
            yield "a network with another's state dict gives other logits: something is kept outside of it"


def _check_freezing(subject: _Subject, network: Backbone) -> Iterator[str]:
    """Frozen blocks rest while the others train."""
    for depth in sorted({max(1, network.depth // 2), network.depth}):
        yield from _check_frozen(subject, network, depth)
    network.freeze(0)
    if not all(p.requires_grad for p in network.parameters()) or not all(b.training for b in network.block_list()):
        yield "freezing 0 blocks does not undo an earlier freezing"


def _check_frozen(subject: _Subject, network: Backbone, depth: int) -> Iterator[str]:
    """One training step with the first `depth` blocks frozen."""
    network.zero_grad(set_to_none=True)
    frozen, free = network.block_list()[:depth], network.block_list()[depth:]
    where = f"with {depth} of {network.depth} blocks frozen"
    x = subject.inputs(network)
    with torch.no_grad():
        at_rest = network.eval().run_blocks(x, stop=depth)
    before = [tensor.clone() for block in frozen for tensor in block.buffers()]
    network.freeze(depth).train()
    held = network.run_blocks(x, stop=depth)
    given = each(lambda part: part.detach().clone(), held)
    network(held, start=depth).square().mean().backward()
    if not _close(held, at_rest):
        yield f"{where}, their output in training differs from that in evaluation (dropout or batch statistics)"
    if not _equal(given, held):
        yield f"{where}, the next block changes its input in place in training"
    if any(p.grad is not None for block in frozen for p in block.parameters()):
        yield f"{where}, a frozen parameter has a gradient"
    after = [tensor for block in frozen for tensor in block.buffers()]
    if any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)):
        yield f"{where}, a frozen buffer moved (batch-norm statistics)"
    if any(p.grad is None for part in (*free, network.head) for p in part.parameters()):
        yield f"{where}, a parameter that should be trained has no gradient"
    norms = [m for block in free for m in block.modules() if isinstance(m, _NormBase) and m.track_running_stats]
    if norms and not any(int(m.num_batches_tracked) for m in norms):
        yield f"{where}, the batch-norm statistics of the other blocks do not move"


def _check_lanes(subject: _Subject, network: Backbone) -> Iterator[str]:
    """Where lanes are declared: a stack of networks gives the logits and gradients of each."""
    if BACKBONES.get(subject.name).meta.get("lanes") is None:
        return
    singles = [subject.build(seed, seed).double().freeze(0).eval() for seed in (1, 2, 3)]
    stack = Stack(singles[0], len(singles))
    stack.load([values(single) for single in singles])
    stack.network.eval()
    x = subject.inputs(network).double()
    together = stack.outputs(stack.arrange(torch.stack([x * (1 + lane) for lane in range(len(singles))])))
    together.square().mean((1, 2)).sum().backward()
    grads = [p.grad for p in stack.network.parameters()]
    for lane, single in enumerate(singles):
        alone = single(x * (1 + lane))
        alone.square().mean().backward()
        if not _close(together[lane], alone):
            yield "side by side in lanes, networks give other logits than alone; declare it without lanes"
            return
        if any(not _close(g[lane], p.grad) for g, p in zip(grads, single.parameters(), strict=True)):
            yield "side by side in lanes, networks have other gradients than alone; declare it without lanes"
            return


_CHECKS = {
    "depth and shapes": _check_form,
    "the seeds": _check_seeds,
    "the cuts between blocks": _check_cuts,
    "frozen blocks": _check_freezing,
    "lanes": _check_lanes,
}


def _equal(a: Rows, b: Rows) -> bool:
    return all(torch.equal(one, other) for one, other in tensors(a, b))


def _close(a: Rows, b: Rows) -> bool:
    return all(_near(one, other) for one, other in tensors(a, b))


def _near(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def _same(a: nn.Module, b: nn.Module) -> bool:
    mine, theirs = a.state_dict(), b.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)
