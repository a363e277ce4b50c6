"""What every measure of similarity must keep, a user's own included: the checks behind ``ntbench check``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace

from bench.errors import BenchError
from bench.registry import Entry
from bench.similarity.base import Undefined, View
from bench.tasks.contract_change import example_task


def check_measure(entry: Entry) -> list[str]:
    """Run the contract on a measure.

    For a small network and two small tasks it returns one finite number, the same each time; for a
    source model without its data, or without a known head, it returns one too or raises
    :class:`~bench.similarity.base.Undefined`.

    Returns
    -------
    list of str
        What is wrong, a sentence each; empty when all is well.
    """
    return entry.problems({}) or list(_check(entry))


def _views() -> dict[str, View]:
    import torch

    from bench.backbones.base import build

    source, target = example_task(name="source"), example_task(name="target")
    network = build("mlp", source.shape, len(source.classes), 0, 0, widths=[8]).eval().requires_grad_(False)
    whole, headless = (SimpleNamespace(network=network, classes=c, accuracy=None) for c in (source.classes, ()))
    device = torch.device("cpu")
    return {
        "for two tasks": View(source, target, whole, device),
        "for a source model without its data": View(None, target, whole, device),
        "for a source model without a known head": View(source, target, headless, device),
    }


def _check(entry: Entry) -> Iterator[str]:
    for number, (where, view) in enumerate(_views().items()):
        try:
            value, again = entry.function(view), entry.function(view)
        except Undefined as error:
            if number == 0:
                yield f"is undefined {where}, which have all that there is: {error}"
            continue
        except BenchError as error:
            yield f"{where}: {error}"
            continue
        except Exception as error:
            yield f"{where}: {type(error).__name__}: {error}"
            continue
        try:
            value, again = float(value), float(again)
        except (TypeError, ValueError):
            yield f"{where}: must return a number, but returned {type(value).__name__}"
            continue
        if not math.isfinite(value):
            yield f"{where}: returned {value}; raise bench.similarity.base.Undefined where there is no value"
        elif value != again:
            yield f"{where}: two calls give {value!r} and {again!r}"
