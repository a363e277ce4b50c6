"""The cut: training above frozen blocks with their activations computed once, against running them each step.

Twenty epochs by the training loop, for every number f of frozen blocks. "Cached" counts the computing of the
activations; "run anew" passes every batch through the frozen blocks, without gradients, as a script would.
Beside it stands the textbook's ratio: fine-tuning against feature extraction, first without the cache, then
with it. On a CPU one thread is used, as a worker has it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.backbones.base import Backbone, build
from bench.suite.model import Recipe

from .ratios import Measured, Options, alternate
from .step import finished

ROUNDS = 3
EPOCHS, BATCH, CLASSES = 20, 32, 10
AIMS = {"ResNet-18": ">= 18"}  # at f = L


@dataclass(frozen=True)
class Case:
    """A network and its inputs."""

    name: str
    backbone: str
    shape: tuple[int, int, int]
    examples: int
    arguments: tuple[tuple[str, str], ...] = ()


CASES = (
    Case("ResNet-18", "resnet18", (3, 64, 64), 192),
    Case("small CNN", "cnn", (1, 16, 16), 512, (("norm", "batch"),)),
)


def make(case: Case, device: str) -> tuple[Backbone, Tensor, Tensor]:
    """Return the network, random images and labels."""
    generator, layout = torch.Generator().manual_seed(0), torch.channels_last
    network = build(case.backbone, case.shape, CLASSES, 0, 1, **dict(case.arguments))
    x = torch.randn((case.examples, *case.shape), generator=generator).to(device).contiguous(memory_format=layout)
    y = torch.randint(CLASSES, (case.examples,), generator=generator).to(device)
    return network.to(device).to(memory_format=layout), x, y


def training(
    network: Backbone, x: Tensor, y: Tensor, frozen: int, cached: bool, epochs: int = EPOCHS
) -> Callable[[], Backbone]:
    """Return a training above `frozen` blocks; the one place here that knows the loop's form."""
    from bench.backbones.stack import Stack
    from bench.training.cuts import activations
    from bench.training.inputs import Held
    from bench.training.loop import Rows, Stage, Start, train

    generator = torch.Generator().manual_seed(1)
    orders = [torch.randperm(len(x), generator=generator) for _ in range(epochs)]
    batches = torch.cat(orders).view(1, -1, BATCH).to(y.device)
    steps = batches.shape[1]
    recipe = Recipe(optimizer="adam", steps=steps, batch_size=BATCH, checkpoints=1)
    rates = torch.tensor([0.001], dtype=torch.float64)
    index = torch.arange(len(x), device=y.device)[None]

    def run() -> Backbone:
        stack = Stack(network, 1)  # a copy

        def rows(number: int) -> Rows:
            if cached and frozen:
                return Rows(Held(activations(stack.network, x, frozen)), index, y[None], frozen)
            return Rows(Held(x), index, y[None])

        train(stack, [Stage(frozen, steps)], rows, batches, recipe, rates, [Start(frozen)])
        return stack.network

    return run


def measure(options: Options, cases: tuple[Case, ...] = CASES, epochs: int = EPOCHS) -> list[Measured]:
    """Measure the time with frozen blocks run anew relative to that with the cache, for each f."""
    threads, found = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for case in cases:
            found += _measure(case, options, epochs)
    finally:
        torch.set_num_threads(threads)
    return found


def _measure(case: Case, options: Options, epochs: int) -> list[Measured]:
    network, x, y = make(case, options.device)
    depth = network.depth
    work = {"fine-tuning": finished(training(network, x, y, 0, False, epochs), options)}
    for f in range(1, depth + 1):
        for how in ("cached", "run anew"):
            work[f"{how} {f}"] = finished(training(network, x, y, f, how == "cached", epochs), options)
    watch = alternate(work, options.rounds or ROUNDS, warm_up=False)
    said = ", ".join(f"{name} {statistics.median(seconds):.2f} s" for name, seconds in watch.seconds.items())
    print(f"{case.name}: {said}", flush=True)
    name, found = case.name, []
    for f in range(1, depth + 1):
        what, aim = f"cut: speed with the cache, {name}, f = {f} of {depth}", AIMS.get(name, "") if f == depth else ""
        found.append(Measured(what, "run anew", watch.ratios(f"run anew {f}", f"cached {f}"), aim))
    for how, said in (("run anew", "without the cache"), ("cached", "with the cache")):
        what = f"cut: speed of feature extraction {said}, {name}"
        found.append(Measured(what, "fine-tuning", watch.ratios("fine-tuning", f"{how} {depth}")))
    return found
