"""Heads of trials whose blocks are all frozen: solved, and chosen on validation data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bench.errors import TrialError
from bench.training.cuts import activations
from bench.training.judge import Judge
from bench.training.lanes import Lane, Layout, padded, rows_of, stacked
from bench.training.solver import LARGE, solve

if TYPE_CHECKING:
    from bench.training.fit import Fitted


def solve_start(lanes: Sequence[Lane], strengths: Sequence[float], layout: Layout, everything: bool = False) -> None:
    """Give each lane's network the head that is solved at its own strength.

    Parameters
    ----------
    lanes : sequence of Lane
        With as many examples each.
    strengths : sequence of float, one a lane
    everything : bool
        Whether on validation examples too.
    """
    for strength in dict.fromkeys(strengths):
        jobs = [(lane.place, lane) for lane, own in zip(lanes, strengths, strict=True) if own == strength]
        for placed in stacked(jobs, _side_by_side(lanes[0], layout)):
            part = padded(placed)
            x, y = _examples(part, [_examples_of(lane, everything) for lane in part], layout)
            (found,) = solve(x, y, part[0].network.head.out_features, part[0].data.head.loss, [strength])
            for i, lane in enumerate(placed):
                if lane is not None:
                    _put(lane, found.weight[i], found.bias[i])


def solve_heads(
    lanes: Sequence[Lane], results: Sequence[Fitted], strengths: Sequence[float], layout: Layout, judge: Judge,
    refit: bool,
) -> None:  # fmt: skip
    """Solve each lane's head at each strength, leave the best on validation in its network, and say so in its result.

    The best has the highest validation score by the primary metric, then the lowest validation loss, then the
    stronger penalty.

    Parameters
    ----------
    lanes : sequence of Lane
        With as many examples each.
    results : sequence of Fitted, one a lane
        Filled in.
    refit : bool
        Whether the head at the chosen strength is solved once more on all labelled examples.
    """
    places = [(lane.place, i) for i, lane in enumerate(lanes)]
    for placed in stacked(places, _side_by_side(lanes[0], layout)):
        indices = padded(placed)
        part = [lanes[i] for i in indices]
        head = part[0].data.head
        x, y = _examples(part, [lane.split.train for lane in part], layout)
        x_val, y_val = _examples(part, [lane.split.validation for lane in part], layout)
        y_val = _unscaled(part, y_val)
        best: list[tuple[float, ...] | None] = [None] * len(part)
        for found in solve(x, y, part[0].network.head.out_features, head.loss, strengths):
            # In single precision, as the network will be.
            outputs = x_val @ found.weight.to(x_val).transpose(1, 2) + found.bias.to(x_val).unsqueeze(1)
            looks = judge.look(_unscaled(part, outputs), y_val, part)
            for lane, look in enumerate(looks):
                if placed[lane] is None or not judge.is_sound(look):
                    continue
                result, loss, steps = results[indices[lane]], float(found.loss[lane]), int(found.iterations[lane])
                result.curve.append((found.strength, steps, loss, look.loss, look.score))
                rank = (0.0 if math.isnan(look.score) else look.score, -look.loss, found.strength)
                if best[lane] is None or rank > best[lane]:
                    best[lane] = rank
                    _put(part[lane], found.weight[lane], found.bias[lane])
                    result.val_score, result.val_loss, result.train_loss = look.score, look.loss, loss
                    result.val_accuracy = None if math.isnan(look.accuracy) else look.accuracy
                    result.head_strength, result.head_gradient = found.strength, float(found.gradient[lane])
    for lane, result in zip(lanes, results, strict=True):
        result.strengths, result.cut = tuple(strengths), "cached" if lane.frozen else "recomputed"
        result.curve.sort(key=lambda point: point[:2])
        if result.head_strength is None:
            result.error = TrialError("no head could be solved: what the frozen blocks compute is not finite")
    if refit:
        done = [(lane, r.head_strength) for lane, r in zip(lanes, results, strict=True) if r.error is None]
        solve_start(*zip(*done, strict=True), layout, everything=True) if done else None


def _side_by_side(lane: Lane, layout: Layout) -> int:
    """Return how many lanes like this one are solved together."""
    return 1 if len(lane.split.train) * lane.network.width > LARGE else layout.lanes


def _examples_of(lane: Lane, everything: bool) -> np.ndarray:
    return np.concatenate([lane.split.train, lane.split.validation]) if everything else lane.split.train


def _examples(lanes: Sequence[Lane], examples: Sequence[np.ndarray], layout: Layout) -> tuple[Tensor, Tensor]:
    """Return the lanes' features, shape (lanes, N, D), and targets as a model is trained on them."""
    depth = lanes[0].network.depth
    known = all(lane.frozen for lane in lanes)
    found = [lane.at(depth if known else 0, part) for lane, part in zip(lanes, examples, strict=True)]
    y = [lane.targets(part) for lane, part in zip(lanes, examples, strict=True)]
    rows = rows_of(found, y, depth, layout, lanes[0].data.head)
    if known:
        return rows.inputs.take(rows.index.flatten()).unflatten(0, rows.index.shape), rows.y
    each = zip(lanes, rows.index, strict=True)
    return torch.stack([activations(lane.network, rows.inputs.take(index), depth) for lane, index in each]), rows.y


def _unscaled(lanes: Sequence[Lane], values: Tensor) -> Tensor:
    """Return targets or outputs in the targets' own units."""
    if lanes[0].scale is None:
        return values
    return torch.stack([lane.unscaled(part) for lane, part in zip(lanes, values, strict=True)])


@torch.no_grad()
def _put(lane: Lane, weight: Tensor, bias: Tensor) -> None:
    """Make a solved head the network's, in single precision."""
    lane.network.head.weight.copy_(weight)
    lane.network.head.bias.copy_(bias)
