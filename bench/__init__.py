"""ntbench: the reference harness for negative transfer.

``bench.run`` runs a suite, ``bench.load_results`` gives its table, ``bench.negative_transfer`` the gaps
with intervals and verdicts. The decorators ``bench.task``, ``bench.change``, ``bench.backbone``,
``bench.strategy``, ``bench.method``, ``bench.adaptation``, ``bench.head``, ``bench.metric`` and ``bench.measure`` add
to what a suite can name. Nothing heavy is imported until it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.adaptations.base import Adaptation, adaptation
    from bench.api import plan, run
    from bench.backbones.declare import backbone
    from bench.errors import BenchError
    from bench.heads.base import Head, head
    from bench.identity import generator
    from bench.ledger.results import load_correctness, load_results
    from bench.methods.base import Method, method
    from bench.metrics.base import Metric, metric
    from bench.similarity.base import measure
    from bench.stats.gap import negative_transfer
    from bench.stats.select import select_depth
    from bench.suite.model import Suite
    from bench.tasks.base import Task, change, task
    from bench.transfer.strategy import strategy
    from bench.triangle import Phase, Strategy, point

_HOMES = {
    "Adaptation": "bench.adaptations.base",
    "BenchError": "bench.errors",
    "Head": "bench.heads.base",
    "Method": "bench.methods.base",
    "Metric": "bench.metrics.base",
    "Phase": "bench.triangle",
    "Strategy": "bench.triangle",
    "Suite": "bench.suite.model",
    "Task": "bench.tasks.base",
    "adaptation": "bench.adaptations.base",
    "backbone": "bench.backbones.declare",
    "change": "bench.tasks.base",
    "generator": "bench.identity",
    "head": "bench.heads.base",
    "load_correctness": "bench.ledger.results",
    "load_results": "bench.ledger.results",
    "measure": "bench.similarity.base",
    "method": "bench.methods.base",
    "metric": "bench.metrics.base",
    "negative_transfer": "bench.stats.gap",
    "plan": "bench.api",
    "point": "bench.triangle",
    "run": "bench.api",
    "select_depth": "bench.stats.select",
    "strategy": "bench.transfer.strategy",
    "task": "bench.tasks.base",
}
__all__ = [
    "Adaptation",
    "BenchError",
    "Head",
    "Method",
    "Metric",
    "Phase",
    "Strategy",
    "Suite",
    "Task",
    "adaptation",
    "backbone",
    "change",
    "generator",
    "head",
    "load_correctness",
    "load_results",
    "measure",
    "method",
    "metric",
    "negative_transfer",
    "plan",
    "point",
    "run",
    "select_depth",
    "strategy",
    "task",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
