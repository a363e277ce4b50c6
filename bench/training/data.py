"""From a task's arrays to inputs that are held ready."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bench.backbones.base import Backbone
from bench.heads.base import SINGLE_LABEL, Head, head_of
from bench.tasks.base import Task
from bench.training.inputs import Held, Inputs, Mapped, channels_last, join


@dataclass(frozen=True, eq=False)
class Data:
    """A task's examples, prepared for a network.

    Attributes
    ----------
    x, x_test : Inputs
    y, y_test : Tensor of int64, shape (N,)
        On the device. A validation split that comes with the data lies behind the train pool, in `x` and `y`.
    fingerprint : str
        Of the task, for seeds.
    key : hashable
        Of the prepared inputs: the task's data at one shape, standardised in one way.
    head : Head
        Of the task's kind.
    """

    x: Inputs
    y: Tensor
    x_test: Inputs
    y_test: Tensor
    fingerprint: str
    key: Hashable = None
    head: Head = field(default_factory=lambda: head_of(SINGLE_LABEL))


def to_tensor(x: np.ndarray, network: Backbone, device: torch.device) -> Tensor:
    """Return prepared inputs, shape (N, ...): float32, standardised, images in channels-last memory."""
    # torch takes no read-only arrays, such as mapped files.
    return channels_last(network.prepare(torch.as_tensor(np.require(x, requirements="CW"), device=device)))


def to_inputs(x: np.ndarray, network: Backbone, device: torch.device, limit: int) -> Inputs:
    """Hold prepared inputs on the device, or where they take more than `limit` bytes, map the raw ones."""
    return Mapped(x, network, device) if x.size * 4 > limit else Held(to_tensor(x, network, device))


def _pool_inputs(task: Task, network: Backbone, device: torch.device, limit: int) -> Inputs:
    """Hold the train pool, and the given validation split behind it."""
    if task.x_val is None:
        return to_inputs(task.x, network, device, limit)
    both = [to_inputs(part, network, device, limit) for part in (task.x, task.x_val)]
    return join(both, limit)[0]


def prepare(
    network: Backbone, task: Task, device: torch.device, fingerprint: str, limit: int, by: str | None = None
) -> Data:
    """Return a task's data, prepared as `network` expects its inputs.

    Seeds come from `fingerprint`, that of the data as the task gives them: the same examples are drawn
    whatever size images are brought to and whichever task (`by`) has standardised a table.
    """
    return Data(
        x=_pool_inputs(task, network, device, limit),
        y=torch.as_tensor(np.concatenate([task.y, task.y_val]) if task.n_val else task.y, device=device),
        x_test=to_inputs(task.x_test, network, device, limit),
        y_test=torch.as_tensor(task.y_test, device=device),
        fingerprint=fingerprint,
        key=(fingerprint, task.shape, network.mean, network.std, by),
        head=head_of(task.kind),
    )
