"""One step of the training loop, against a bare PyTorch loop that does the same, and other people's loops.

Same network, examples, batch size, optimiser (torch's Adam, fused) and number of steps, on one thread as a
worker has it; images lie channels-last and ready on the device. The bare loop, and ours, look batches up by
index. The others are what one would write otherwise: a DataLoader over tensors, skorch, and Lightning with
its logger, checkpoints and progress bar off. Without the `benchmarks` extra the last two are left out.
"""

from __future__ import annotations

import copy
import logging
import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from bench.backbones.base import Backbone, build
from bench.suite.model import Recipe

from .ratios import Measured, Options, alternate

ROUNDS = 11
EPOCHS = 40
SIDES = (8, 16, 28)
EXAMPLES, BATCH, CLASSES, RATE = 512, 32, 10, 0.01
AIM = "<= 1.05"


@dataclass(frozen=True, eq=False)
class Setting:
    """What all loops are given.

    Attributes
    ----------
    network : Backbone
        Initial values; each loop trains a copy.
    batches : Tensor, shape (steps, batch)
        What the loops that look batches up see at each step.
    """

    network: Backbone
    x: Tensor
    y: Tensor
    batches: Tensor

    @property
    def epochs(self) -> int:
        """Passes over the examples."""
        return self.batches.numel() // len(self.x)


def make_setting(side: int, device: str, epochs: int = EPOCHS) -> Setting:
    """Return a small convolutional network and random images."""
    generator = torch.Generator().manual_seed(side)
    shape, layout = (1, side, side), torch.channels_last
    network = build("cnn", shape, CLASSES, 0, 1, norm="batch").to(device).to(memory_format=layout)
    x = torch.randn((EXAMPLES, *shape), generator=generator).to(device).contiguous(memory_format=layout)
    y = torch.randint(CLASSES, (EXAMPLES,), generator=generator).to(device)
    orders = [torch.randperm(EXAMPLES, generator=generator) for _ in range(epochs)]
    return Setting(network, x, y, torch.cat(orders).view(-1, BATCH).to(device))


def stacked(setting: Setting, lanes: int) -> Callable[[], nn.Module]:
    """Return a training of several copies of the network by the loop of this project.

    This function and :func:`ours` are where the benchmarks know that loop's form.
    """
    from bench.backbones.stack import Stack
    from bench.training.inputs import Held
    from bench.training.loop import Rows, Stage, Start, train

    recipe = Recipe(optimizer="adam", schedule="constant", checkpoints=1, steps=len(setting.batches), batch_size=BATCH)
    stack = Stack(setting.network, lanes)
    index = torch.arange(len(setting.x), device=setting.y.device)
    rows = Rows(Held(setting.x), index.expand(lanes, -1), setting.y.expand(lanes, -1))
    stages, rates = [Stage(0, len(setting.batches))], torch.full((lanes,), RATE, dtype=torch.float64)
    batches = setting.batches.expand(lanes, -1, -1)

    def run() -> nn.Module:
        train(stack, stages, lambda number: rows, batches, recipe, rates, [Start()] * lanes)
        return stack.network

    return run


def ours(setting: Setting) -> nn.Module:
    """Train by the loop of this project."""
    return stacked(setting, 1)()


def bare(setting: Setting) -> nn.Module:
    """Train by nothing but torch."""
    network = copy.deepcopy(setting.network).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, fused=True)
    for index in setting.batches:
        loss = cross_entropy(network(setting.x[index]), setting.y[index])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return network


def data_loader(setting: Setting) -> nn.Module:
    """Train with a DataLoader over tensors."""
    network = copy.deepcopy(setting.network).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, fused=True)
    loader = DataLoader(TensorDataset(setting.x, setting.y), batch_size=BATCH, shuffle=True)
    for _ in range(setting.epochs):
        for x, y in loader:
            loss = cross_entropy(network(x), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    return network


def skorch(setting: Setting) -> nn.Module:
    """Train with skorch."""
    from skorch import NeuralNetClassifier

    net = NeuralNetClassifier(
        copy.deepcopy(setting.network), criterion=nn.CrossEntropyLoss, optimizer=torch.optim.Adam,
        optimizer__fused=True, lr=RATE, max_epochs=setting.epochs, batch_size=BATCH, iterator_train__shuffle=True,
        train_split=None, verbose=0, device=setting.x.device.type,
    )  # fmt: skip
    return net.fit(setting.x, setting.y).module_


def lightning(setting: Setting) -> nn.Module:
    """Train with Lightning."""
    from lightning.pytorch import LightningModule, Trainer

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = copy.deepcopy(setting.network)

        def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
            return cross_entropy(self.network(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=RATE, fused=True)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    loader = DataLoader(TensorDataset(setting.x, setting.y), batch_size=BATCH, shuffle=True)
    trainer = Trainer(
        accelerator="gpu" if setting.x.is_cuda else "cpu", devices=1, max_epochs=setting.epochs, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    module = Module()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would like more workers, and to log
        trainer.fit(module, loader)
    return module.network


def loops() -> dict[str, Callable[[Setting], nn.Module]]:
    """Return the loops that can run here."""
    found = {"ours": ours, "bare loop": bare, "DataLoader": data_loader}
    for name, loop in (("skorch", skorch), ("lightning", lightning)):
        if find_spec(name):
            found[name] = loop
        else:
            print(f"{name} is left out: it is not installed (pip install 'ntbench[benchmarks]')")
    return found


def measure(options: Options, sides: tuple[int, ...] = SIDES, epochs: int = EPOCHS) -> list[Measured]:
    """Measure the time of a step by each loop relative to the bare one."""
    threads, found, contestants = torch.get_num_threads(), [], loops()
    torch.set_num_threads(1)
    try:
        for side in sides:
            setting = make_setting(side, options.device, epochs)
            watch = alternate(
                {name: finished(lambda run=loop, s=setting: run(s), options) for name, loop in contestants.items()},
                options.rounds or ROUNDS,
            )
            each = {name: statistics.median(times) / len(setting.batches) for name, times in watch.seconds.items()}
            print(f"{side} x {side}: " + ", ".join(f"{name} {1e6 * s:.0f} us" for name, s in each.items()), flush=True)
            for name in contestants:
                if name != "bare loop":
                    what, aim = ("", AIM) if name == "ours" else (f" by {name}", "")
                    ratios = watch.ratios(name, "bare loop")
                    found.append(Measured(f"step: time at {side} x {side}{what}", "bare loop", ratios, aim))
    finally:
        torch.set_num_threads(threads)
    return found


def finished(work: Callable[[], object], options: Options) -> Callable[[], None]:
    """Return the same work, done when the device has done it."""

    def run() -> None:
        work()
        if options.device == "cuda":
            torch.cuda.synchronize()

    return run
