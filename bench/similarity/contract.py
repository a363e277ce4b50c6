"""What every measure of similarity must keep, a user's own included: the checks behind ``ntbench check``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace

from bench.errors import BenchError
from bench.registry import Entry
from bench.similarity.base import DIRECTIONS, Estimate, Undefined, View, estimate
from bench.tasks.contract_change import example_task


def check_measure(entry: Entry) -> list[str]:
    """Run the contract on a measure.

    For a small network and two small tasks it returns one finite number, the same each time, or an
    :class:`~bench.similarity.base.Estimate` whose interval holds its value; so it does where examples are
    left out, as intervals ask for. For a source model without its data, or without a known head, it
    returns one too or raises :class:`~bench.similarity.base.Undefined`. `near` says which end is near.

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
    near = entry.meta.get("near", "low")
    if near not in DIRECTIONS:
        yield f'near = {near!r} says neither "low" nor "high", the end at which source and target are alike'
    for number, (where, view) in enumerate(_views().items()):
        try:
            value, again = _number(entry.function(view)), _number(entry.function(view))
            found = estimate(entry.function, view) if math.isfinite(value) else Estimate(value)
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
        if not math.isfinite(value):
            yield f"{where}: returned {value}; raise bench.similarity.base.Undefined where there is no value"
        elif value != again:
            yield f"{where}: two calls give {value!r} and {again!r}"
        elif found.low > found.value or found.value > found.high:
            yield f"{where}: the value {found.value} lies outside its interval, {found.low} to {found.high}"


def _number(value: object) -> float:
    """Return a measure's value, whether or not its interval comes with it.

    Raises
    ------
    BenchError
        For what is neither a number nor an :class:`~bench.similarity.base.Estimate`.
    """
    try:
        return float(Estimate(*value).value if isinstance(value, tuple) else value)
    except (TypeError, ValueError):
        raise BenchError(f"must return a number, but returned {type(value).__name__}") from None
