"""Make the records of units of work: the columns of a trial's row, and failures."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.schema import BY_OWN, BY_TARGET
from bench.trial import SCHEMA_VERSION, SourceModel, Trial
from bench.triangle import FULL, PLAIN

if TYPE_CHECKING:
    from bench.suite.plan import Plan


def row_of(plan: Plan, trial: Trial) -> dict[str, Any]:
    """Return the columns of a trial's row that are known before it runs."""
    strategy, model = plan.strategy(trial), trial.model
    metric = plan.metric(trial.target)
    row = {
        "suite": plan.suite.name,
        "source": model.source if model else None,
        "target": trial.target,
        "backbone": plan.backbones[trial.backbone].label,
        "strategy": strategy.name,
        "transfer_depth": strategy.transfer,
        "frozen_depth": strategy.frozen,
        "weighting": model.weighting if model else None,
        "target_size": trial.target_size,
        "seed": trial.seed,
        "source_seed": model.seed if model else None,
        "standardised_by": _standardised_by(plan, trial),
        "metric": metric.name,
        "metric_unit": metric.meta["unit"],
        "validation": plan.suite.recipe.validation_label if trial.target_size else "none",
        "context": plan.context(trial.target, trial.backbone),
        "key": trial.key,
    }
    choices = {"method": (strategy.how, PLAIN), "adapt": (strategy.adapt, FULL)}
    row |= {column: choice.label for column, (choice, none) in choices.items() if choice != none}
    if strategy.how.unlabelled:
        row["n_unlabelled"] = plan.unlabelled(trial.target, trial.target_size)
    return row


def _standardised_by(plan: Plan, trial: Trial) -> str | None:
    """Say whose train pool standardised the tables that a trial saw."""
    by = plan.standardised_by(trial.target, trial.target)
    if trial.model and trial.model.source in plan.tasks and trial.model.standardised_by != by:
        return BY_OWN
    return BY_TARGET if by == trial.target else by


def failed_trial(plan: Plan, trial: Trial, error: str, trace: str, seconds: float) -> dict[str, Any]:
    """Return the record of a trial that failed."""
    row = row_of(plan, trial) | {"status": "failed", "error": error, "seconds": seconds}
    return {"kind": "trial", "key": trial.key, "schema": SCHEMA_VERSION, "row": row, "detail": {"traceback": trace}}


def listed(rates: Sequence[float]) -> str | None:
    """Write learning rates for a row, "0.01, 0.03"; None where there are none."""
    return ", ".join(f"{rate:g}" for rate in rates) or None


def failed_source(plan: Plan, model: SourceModel, error: str, trace: str, seconds: float) -> dict[str, Any]:
    """Return the record of a source model that could not be trained."""
    return {
        "kind": "source", "key": model.key, "source": model.source, "backbone": plan.backbones[model.backbone].label,
        "weighting": model.weighting, "source_seed": model.seed, "status": "failed", "error": error,
        "traceback": trace, "seconds": seconds,
    }  # fmt: skip


def describe_error(error: BaseException) -> tuple[str, str]:
    """Return an exception as one line for a row, and as a traceback for its detail."""
    text = str(error).strip() or "no message"
    line = text if isinstance(error, BenchError) else f"{type(error).__name__}: {text}"
    trace = "".join(traceback.format_exception(error))
    return _storable(" ".join(line.split())[:500]), _storable(trace)


def _storable(text: str) -> str:
    """Return text that a file can hold: a path may have bytes that are no characters."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
