"""The test labels of a suite's targets, for statistics class by class: a ledger does not keep them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.suite import Plan, Suite, load_suite
from bench.tasks.build import build_task


def test_labels(
    suite: str | Path | Mapping[str, Any] | Suite,
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """Build the targets of a suite and return their test labels and class names.

    Returns
    -------
    labels : dict of target to int array, shape (n_test,)
        In the order in which trials are tested.
    classes : dict of target to tuple of str

    Raises
    ------
    BenchError
        For a suite or data that cannot be used.
    """
    loaded = load_suite(suite)
    plan = Plan(loaded)
    tasks = {name: build_task(plan.tasks[name], loaded.root()) for name in plan.targets}
    return {name: task.y_test for name, task in tasks.items()}, {n: tuple(t.classes) for n, t in tasks.items()}


test_labels.__test__ = False  # the name is a test set's, not a test's
