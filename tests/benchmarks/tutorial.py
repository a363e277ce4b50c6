"""A suite as a plain PyTorch script: the loop of the usual fine-tuning tutorial, once for every cell.

    python -m tests.benchmarks.tutorial experiments/default.toml accuracies.csv

Data and networks come from bench, as they would come from torchvision; everything else is here. Each
cell (source, strategy, depths, size, seed) trains its source model, copies what the strategy copies and
trains the target model with every learning rate, through DataLoaders. Same trials, splits, steps, recipe and
choice on validation data as the harness. Where one may do more or less, this does less: the inputs are
tensors that are standardised once, validation is looked at as often as the harness looks at it (not after
every epoch), and no similarity is measured, no report written.
"""

from __future__ import annotations

import copy
import csv
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from bench.backbones.base import Backbone, build
from bench.suite import Suite, load_suite
from bench.suite.model import Recipe
from bench.suite.plan import Plan
from bench.tasks.base import Task
from bench.tasks.build import build_task
from bench.tasks.fit import fit
from bench.training.protocol import Pool, split_pool


@dataclass(frozen=True)
class Cell:
    """One row of the table."""

    source: str | None
    target: str
    strategy: str
    transfer_depth: int
    frozen_depth: int
    target_size: int
    seed: int
    path: tuple[tuple[int, float], ...] = field(default=(), compare=False)  # (frozen blocks, share of the steps)
    copied_lr: float | None = field(default=None, compare=False)
    steps: float = field(default=1.0, compare=False)
    keep_head: bool = field(default=False, compare=False)


class Study:
    """A suite's tasks, one network and its settings."""

    def __init__(self, suite: str | Path | dict, device: str = "cpu"):
        self.suite: Suite = load_suite(suite)
        self.device = torch.device(device)
        plan = Plan(self.suite)
        if len(plan.backbones) != 1 or len(plan.targets) != 1:
            raise ValueError("this script is for one backbone and one target")
        self.backbone = plan.backbones[0]
        ((self.target, self.sources),) = plan.targets.items()
        self.tasks = {name: build_task(spec, self.suite.root()) for name, spec in plan.tasks.items()}
        side, shape = self.suite.image_size, self.tasks[self.target].shape
        self.shape = (shape[0], side, side) if side else tuple(shape)
        self.tasks = {name: fit(task, self.shape) for name, task in self.tasks.items()}

    def network(self, classes: int) -> Backbone:
        """Return a fresh network; what it starts from follows from torch.manual_seed."""
        seeds = torch.randint(2**31, (2,)).tolist()
        return build(self.backbone.name, self.shape, classes, *seeds, **self.backbone.arguments).to(self.device)

    def split(self, task: Task, size: int, seed: int, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
        """Return which examples are trained on and which validate: those of the harness's trial."""
        cut = split_pool(Pool.of(task), task.fingerprint, size, seed, recipe, task.classes)
        return cut.train, cut.validation


# --- what is run: every strategy at every depth ------------------------------------------------------


def strategies(study: Study) -> Iterator[dict]:
    """Yield each strategy and depth of the suite, scratch first."""
    depth = study.backbone.depth
    for entry in ["scratch", *study.suite.strategies]:
        name = entry if isinstance(entry, str) else entry["name"]
        if name == "scratch":
            yield {"strategy": name, "n": 0, "path": ((0, 1.0),)}
        elif name == "scratch-long":
            yield {"strategy": name, "n": 0, "path": ((0, 1.0),), "steps": 4.0}
        elif name == "zero-shot":
            yield {"strategy": name, "n": depth, "path": (), "keep_head": True}
        elif name == "feature-extraction":
            yield {"strategy": name, "n": depth, "path": ((depth, 1.0),)}
        elif name == "fine-tune":
            for frozen in range(depth):
                yield {"strategy": name, "n": depth, "path": ((frozen, 1.0),)}
        elif name == "layer-transfer":
            # With every block copied and frozen it is feature extraction, which is there already.
            for copied in range(1, depth):
                yield {"strategy": name, "n": copied, "path": ((copied, 1.0),)}
        elif name == "layer-transfer-tuned":
            # With every block copied it is fine-tuning.
            for copied in range(1, depth):
                yield {"strategy": name, "n": copied, "path": ((0, 1.0),)}
        elif name == "linear-probe-fine-tune":
            yield {"strategy": name, "n": depth, "path": ((depth, 0.5), (0, 0.5))}
        elif name == "gradual-unfreezing":
            share = 1 / (depth + 1)
            yield {"strategy": name, "n": depth, "path": tuple((frozen, share) for frozen in range(depth, -1, -1))}
        elif name == "fine-tune-equal-lr":
            yield {"strategy": name, "n": depth, "path": ((0, 1.0),), "copied_lr": entry["copied_lr"]}
        else:
            raise ValueError(f"this script knows no strategy {name!r}")


def cells(study: Study) -> Iterator[Cell]:
    """Yield every cell of the study."""
    for how in strategies(study):
        name, n, path = how.pop("strategy"), how.pop("n"), how["path"]
        frozen = path[-1][0] if path else n
        sizes = study.suite.target_sizes if path else [0]
        for source in study.sources if n else [None]:
            known = set(study.tasks[source].classes) if source else set()
            if how.get("keep_head") and not known >= set(study.tasks[study.target].classes):
                continue
            for size in sizes:
                for seed in study.suite.seeds:
                    yield Cell(source, study.target, name, n, frozen, size, seed, **how)


# --- the training loop ---------------------------------------------------------------------------------


def loader(study: Study, task: Task, index: np.ndarray | None, batch_size: int, shuffle: bool) -> DataLoader:
    """Return a loader of training examples, or of the test set for no index."""
    x, y = (task.x_test, task.y_test) if index is None else (task.x[index], task.y[index])
    mean, std = 0.5, 0.5
    images = (torch.from_numpy(x).float() / (255.0 if x.dtype == np.uint8 else 1.0) - mean) / std
    return DataLoader(TensorDataset(images, torch.from_numpy(y)), batch_size=batch_size, shuffle=shuffle)


@torch.no_grad()
def evaluate(model: nn.Module, data: DataLoader, device: torch.device) -> tuple[float, float]:
    """Return accuracy and mean loss."""
    model.eval()
    correct, loss, count = 0, 0.0, 0
    for x, y in data:
        x, y = x.to(device), y.to(device)
        output = model(x)
        correct += (output.argmax(1) == y).sum().item()
        loss += nn.functional.cross_entropy(output, y, reduction="sum").item()
        count += len(y)
    return correct / count, loss / count


def freeze(model: Backbone, depth: int) -> None:
    """Go to training mode, the first blocks fixed, batch-norm statistics included."""
    model.train()
    for index, block in enumerate(model.blocks.values()):
        block.requires_grad_(index >= depth)
        if index < depth:
            block.eval()


def make_optimizer(
    model: Backbone, recipe: Recipe, lr: float, frozen: int, copied: int, copied_lr: float, keep_head: bool
) -> torch.optim.Optimizer:
    """Return the recipe's optimiser, copied blocks with a rate of their own."""
    blocks = list(model.blocks.values())
    old = [p for block in blocks[frozen:copied] for p in block.parameters()]
    new = [p for block in blocks[max(frozen, copied) :] for p in block.parameters()]
    (old if keep_head else new).extend(model.head.parameters())
    groups = [{"params": old, "lr": lr * copied_lr}, {"params": new, "lr": lr}]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    cls = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return cls(groups, lr=lr, weight_decay=recipe.weight_decay)


def train(
    study: Study, model: Backbone, train_data: DataLoader, val_data: DataLoader | None, recipe: Recipe, lr: float,
    steps: int, path: tuple[tuple[int, float], ...] = ((0, 1.0),), copied: int = 0, copied_lr: float = 1.0,
    keep_head: bool = False, stop: int | None = None,
) -> tuple[tuple[float, float], int]:  # fmt: skip
    """Train; keep the best checkpoint on validation data, or the last one, as the recipe says."""
    criterion = nn.CrossEntropyLoss()
    marks = {round(steps * (i + 1) / recipe.checkpoints) for i in range(recipe.checkpoints)}
    best, best_state, best_step = (-1.0, -math.inf), copy.deepcopy(model.state_dict()), steps
    done, reached, total = 0, 0.0, sum(share for _, share in path)
    for frozen, share in path:
        reached += share
        end, began = round(steps * reached / total), done
        freeze(model, frozen)
        optimizer = make_optimizer(model, recipe, lr, frozen, copied, copied_lr, keep_head)
        cosine = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step, began=began: (
                0.5 * (1 + math.cos(math.pi * (began + step) / steps)) if recipe.schedule == "cosine" else 1.0
            ),
        )
        while done < end and done != stop:
            for x, y in train_data:
                x, y = x.to(study.device), y.to(study.device)
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
                cosine.step()
                done += 1
                if done in marks and val_data is not None:
                    accuracy, val_loss = evaluate(model, val_data, study.device)
                    freeze(model, frozen)
                    if (recipe.early_stopping or done == steps) and (accuracy, -val_loss) > best:
                        best, best_state, best_step = (accuracy, -val_loss), copy.deepcopy(model.state_dict()), done
                if done in (end, stop):
                    break
    if val_data is not None:
        model.load_state_dict(best_state)
    return best, best_step


# --- one cell --------------------------------------------------------------------------------------------


def source_model(study: Study, source: str, seed: int) -> Backbone:
    """Train a source model."""
    recipe, task = study.suite.source_recipe, study.tasks[source]
    train_index, val_index = study.split(task, len(task.y), seed, recipe)
    train_data = loader(study, task, train_index, recipe.batch_size, shuffle=True)
    val_data = loader(study, task, val_index, 256, shuffle=False)
    best, best_model = (-1.0, -math.inf), None
    for lr in recipe.learning_rates:
        # Not the target's seed: its new head would be the one that these blocks have grown up with, and
        # fine-tuning between tasks of the same classes gains several points by that.
        torch.manual_seed(1_000_000 + seed)
        model = study.network(len(task.classes))
        score, _ = train(study, model, train_data, val_data, recipe, lr, recipe.steps)
        if best_model is None or score > best:
            best, best_model = score, model
    return best_model


def start(study: Study, cell: Cell, source: Backbone | None) -> Backbone:
    """Return the target's network as the strategy starts it."""
    torch.manual_seed(cell.seed)
    target = study.tasks[cell.target]
    model = study.network(len(target.classes))
    for name in list(model.blocks)[: cell.transfer_depth]:
        model.blocks[name].load_state_dict(source.blocks[name].state_dict())
    if cell.keep_head:
        rows = [study.tasks[cell.source].classes.index(name) for name in target.classes]
        model.head.weight.data.copy_(source.head.weight.data[rows])
        model.head.bias.data.copy_(source.head.bias.data[rows])
    return model


def run_cell(study: Study, cell: Cell, source: Backbone | None = None) -> float:
    """Run a cell, its source model included unless it is given; return the test accuracy."""
    if cell.source is not None and source is None:
        source = source_model(study, cell.source, study.suite.source_seed(cell.seed))
    task, recipe = study.tasks[cell.target], study.suite.recipe
    test_data = loader(study, task, None, 256, shuffle=False)
    if not cell.path:
        return evaluate(start(study, cell, source), test_data, study.device)[0]
    train_index, val_index = study.split(task, cell.target_size, cell.seed, recipe)
    train_data = loader(study, task, train_index, recipe.batch_size, shuffle=True)
    val_data = loader(study, task, val_index, 256, shuffle=False)
    copied_lr = recipe.copied_lr if cell.copied_lr is None else cell.copied_lr
    options = {"path": cell.path, "copied": cell.transfer_depth, "copied_lr": copied_lr, "keep_head": cell.keep_head}
    steps = round(recipe.steps * cell.steps)
    best, best_model = (-1.0, -math.inf), None
    for lr in sorted(recipe.learning_rates):
        model = start(study, cell, source)
        score, step = train(study, model, train_data, val_data, recipe, lr, steps, **options)
        if best_model is None or score > best:
            best, best_model, chosen = score, model, (lr, step)
    if recipe.refit:
        everything = loader(study, task, np.concatenate([train_index, val_index]), recipe.batch_size, shuffle=True)
        best_model = start(study, cell, source)
        train(study, best_model, everything, None, recipe, chosen[0], steps, stop=chosen[1], **options)
    return evaluate(best_model, test_data, study.device)[0]


COLUMNS = ("source", "target", "strategy", "transfer_depth", "frozen_depth", "target_size", "seed", "test_accuracy")


def read(path: str | Path) -> dict[tuple, float]:
    """Return the accuracies that :func:`main` wrote, by cell."""
    found = {}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            numbers = [int(row[name]) for name in COLUMNS[3:-1]]
            found[row["source"] or None, row["target"], row["strategy"], *numbers] = float(row["test_accuracy"])
    return found


def main(suite: str, out: str, device: str = "cpu", threads: str = "") -> None:
    """Run every cell and write the accuracies."""
    if threads:
        torch.set_num_threads(int(threads))
    study = Study(suite, device)
    with open(out, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for cell in cells(study):
            place = [getattr(cell, name) for name in COLUMNS[:-1]]
            table.writerow([*place, run_cell(study, cell)])


if __name__ == "__main__":
    main(*sys.argv[1:])
