"""The tutorial's script with source models saved and reused; nothing else differs.

python -m tests.benchmarks.careful experiments/default.toml accuracies.csv
"""

from __future__ import annotations

import csv
import sys
import tempfile
from pathlib import Path

import torch

from bench.backbones.base import Backbone

from . import tutorial
from .tutorial import COLUMNS, Cell, Study, cells


def source_model(study: Study, source: str, seed: int, folder: Path) -> Backbone:
    """Load a source model, training and saving it first where it is not there yet."""
    path = folder / f"{source}-{seed}.pt"
    if not path.exists():
        torch.save(tutorial.source_model(study, source, seed).state_dict(), path)
    model = study.network(len(study.tasks[source].classes))
    model.load_state_dict(torch.load(path, weights_only=True))
    return model


def run_cell(study: Study, cell: Cell, folder: Path) -> float:
    """Run a cell with a source model that is kept in `folder`; return the test accuracy."""
    source = None
    if cell.source is not None:
        source = source_model(study, cell.source, study.suite.source_seed(cell.seed), folder)
    return tutorial.run_cell(study, cell, source)


def main(suite: str, out: str, device: str = "cpu", threads: str = "") -> None:
    """Run every cell and write the accuracies."""
    if threads:
        torch.set_num_threads(int(threads))
    study = Study(suite, device)
    with tempfile.TemporaryDirectory() as folder, open(out, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for cell in cells(study):
            place = [getattr(cell, name) for name in COLUMNS[:-1]]
            table.writerow([*place, run_cell(study, cell, Path(folder))])


if __name__ == "__main__":
    main(*sys.argv[1:])
