"""From a trial to its row: task, backbone and source model, strategy, training, one look at the test set."""

from __future__ import annotations

import base64
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from bench.backbones.base import Backbone, build
from bench.errors import DataError, TrialError
from bench.model_files import path_of
from bench.records import row_of
from bench.seeding import derive
from bench.sources import LoadedSource, load_source, save_source, train_source
from bench.suite.plan import Plan
from bench.tasks.base import Task
from bench.tasks.build import read_task
from bench.tasks.fit import fit as fit_shape
from bench.training.data import prepare
from bench.training.fit import Data, Fitted, fit, score
from bench.training.loop import Start, logits
from bench.training.protocol import split_pool
from bench.transfer.start import copy_blocks, copy_head, trainable_parameters
from bench.trial import SCHEMA_VERSION, Check, SourceModel, Trial
from bench.triangle import Strategy

T = TypeVar("T")


class _Recent:
    """The last few results of a function, by key."""

    def __init__(self, size: int):
        self._size = size
        self._held: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        if key in self._held:
            self._held.move_to_end(key)
        else:
            self._held[key] = make()
            while len(self._held) > self._size:
                self._held.popitem(last=False)
        return self._held[key]


class Runner:
    """Runs source models, similarity measures and trials of one plan in this process.

    Parameters
    ----------
    plan : Plan
        With the cards of all tasks.
    task_folder, source_folder : Path
        Where built tasks are read from, and source models kept.
    device : torch.device
    """

    def __init__(self, plan: Plan, task_folder: Path, source_folder: Path, device: torch.device):
        self.plan = plan
        self.task_folder = task_folder
        self.source_folder = source_folder
        self.device = device
        self._tasks, self._shaped, self._data, self._sources = _Recent(8), _Recent(8), _Recent(4), _Recent(4)

    # --- what trials share -------------------------------------------------------------------------

    def task(self, name: str, shape: tuple[int, ...]) -> Task:
        """Return a task at an input shape."""
        fingerprint = self.plan.card(name).fingerprint

        def read() -> Task:
            return read_task(self.task_folder / f"{fingerprint}.safetensors")

        return self._shaped.get((name, shape), lambda: fit_shape(self._tasks.get(fingerprint, read), shape))

    def source(self, model: SourceModel) -> LoadedSource:
        """Return a source model."""
        return self._sources.get(model, lambda: load_source(self.plan, model, self.source_folder, self.device))

    def _fresh(self, trial: Trial, target: Task) -> Backbone:
        """Build the target's network as scratch has it: the same for every strategy of (target, seed)."""
        spec = self.plan.backbones[trial.backbone]
        identity = (self.plan.card(trial.target).fingerprint, spec.identity(), trial.seed)
        network = build(
            spec.name, target.shape, len(target.classes), derive("body", *identity), derive("head", *identity),
            **spec.arguments,
        )  # fmt: skip
        network = network.to(self.device)
        return network.to(memory_format=torch.channels_last) if target.is_image else network

    def _target_data(self, network: Backbone, name: str, target: Task) -> Data:
        fingerprint = self.plan.card(name).fingerprint
        key = (fingerprint, target.shape, network.mean, network.std)
        return self._data.get(key, lambda: prepare(network, target, self.device, fingerprint))

    # --- units of work: each returns a record for the ledger ----------------------------------------

    @torch.no_grad()
    def check(self, unit: Check) -> None:
        """Raise what building the network, passing inputs of the target's shape or loading the model raises."""
        if unit.model:
            self.source(unit.model)
            return
        spec, shape = self.plan.backbones[unit.backbone], self.plan.input_shape(unit.target)
        network = build(spec.name, shape, len(self.plan.classes(unit.target)), 0, 0, **spec.arguments).eval()
        if network.depth != spec.depth:
            raise DataError(f'backbone "{spec.name}" has {network.depth} blocks, but was declared with {spec.depth}')
        network(network.prepare(torch.zeros((2, *shape))))

    def train_source(self, model: SourceModel) -> dict[str, Any]:
        """Train and keep a source model."""
        network, record = train_source(self.plan, model, self.task(model.source, model.shape), self.device)
        save_source(network, record, path_of(self.source_folder, model))
        return record

    def measure(self, key: str, model: SourceModel, target: str) -> dict[str, Any]:
        """Measure the similarity of a source (with its model) to a target."""
        from bench.similarity.base import View, measure_all

        source = None if model.source in self.plan.models else self.task(model.source, model.shape)
        view = View(source, self.task(target, model.shape), self.source(model), self.device)
        values = measure_all(self.plan.suite.measures, view)
        return {
            "kind": "similarity", "key": key, "source": model.source, "target": target,
            "backbone": self.plan.backbones[model.backbone].label, "weighting": model.weighting,
            "source_seed": model.seed, "values": values,
        }  # fmt: skip

    def run_trial(self, trial: Trial) -> dict[str, Any]:
        """Run one trial."""
        began = time.perf_counter()
        plan, strategy = self.plan, self.plan.strategy(trial)
        target = self.task(trial.target, plan.input_shape(trial.target))
        network = self._fresh(trial, target)
        data = self._target_data(network, trial.target, target)
        source = self.source(trial.model) if trial.model else None
        start = self._start(network, strategy, source, target)
        fitted = Fitted()
        if strategy.trained:
            split = split_pool(
                target.y, data.fingerprint, trial.target_size, trial.seed, plan.suite.recipe, target.classes
            )
            fitted = fit(
                network,
                strategy.path,
                data,
                split,
                plan.suite.recipe,
                start,
                trial.target_size,
                trial.seed,
                strategy.steps,
            )
        output = logits(network, data.x_test)
        accuracy, loss = score(output, data.y_test)
        if not np.isfinite(loss):
            raise TrialError(f"the test loss is {loss}; the model diverged")
        row = row_of(plan, trial) | {
            "status": "ok",
            "test_accuracy": accuracy,
            "test_loss": loss,
            "val_accuracy": fitted.val_accuracy,
            "val_loss": fitted.val_loss,
            "learning_rate": fitted.learning_rate,
            "steps": fitted.steps,
            "best_step": fitted.best_step,
            "trainable_parameters": trainable_parameters(network, strategy),
            "source_accuracy": source.accuracy if source else None,
            "n_test": len(data.y_test),
            "seconds": time.perf_counter() - began,
        }
        detail = {"curve": fitted.curve, "correct": pack(output.argmax(1) == data.y_test)}
        return {"kind": "trial", "key": trial.key, "schema": SCHEMA_VERSION, "row": row, "detail": detail}

    def _start(self, network: Backbone, strategy: Strategy, source: LoadedSource | None, target: Task) -> Start:
        """Copy what the strategy copies; say what was, for the optimiser."""
        if source is None:
            return Start()
        copy_blocks(network, source.network, strategy.transfer)
        if strategy.keep_head:
            copy_head(network, source.network, tuple(target.classes), source.classes)
        ratio = self.plan.suite.recipe.copied_lr if strategy.copied_lr is None else strategy.copied_lr
        return Start(strategy.transfer, strategy.keep_head, ratio)


def pack(correct: Tensor) -> str:
    """Pack which test examples were right, shape (N,), to base64 of bits; :func:`unpack` reads it."""
    bits = np.packbits(correct.cpu().numpy().astype(bool))
    return base64.b64encode(bits.tobytes()).decode()
