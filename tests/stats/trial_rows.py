"""Hand-made trial rows."""

import pandas as pd

from bench.schema import conform

COMMON = {
    "suite": "s",
    "target": "t",
    "backbone": "cnn",
    "target_size": 20,
    "status": "ok",
    "validation": "cut 0.2",
}


def scratch(accuracies, seeds=None, **changes):
    """Scratch rows, one a seed."""
    seeds = range(len(accuracies)) if seeds is None else seeds
    base = COMMON | {"strategy": "scratch", "transfer_depth": 0, "frozen_depth": 0, "source": None}
    return [base | {"seed": s, "test_accuracy": a} | changes for s, a in zip(seeds, accuracies, strict=True)]


def transfer(accuracies, seeds=None, **changes):
    """Transfer rows of one strategy, one a seed."""
    seeds = range(len(accuracies)) if seeds is None else seeds
    base = COMMON | {"source": "a", "strategy": "fine-tune", "transfer_depth": 4, "frozen_depth": 0}
    base |= {"weighting": "uniform"}
    return [base | {"seed": s, "test_accuracy": a} | changes for s, a in zip(seeds, accuracies, strict=True)]


def frame(*parts) -> pd.DataFrame:
    """Join parts to a table of the schema."""
    return conform([row for part in parts for row in part])
