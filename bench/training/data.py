"""From a task's arrays to inputs that are held ready."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.backbones.base import Backbone
from bench.heads.base import SINGLE_LABEL, Head, head_of
from bench.tasks.base import Task
from bench.tasks.batches import Inputs as Raw
from bench.tasks.batches import Targets
from bench.training.inputs import Held, Inputs, Mapped, channels_last, join, prepared_bytes, to_tensors


@dataclass(frozen=True, eq=False)
class Data:
    """A task's examples, prepared for a network.

    Attributes
    ----------
    x, x_test : Inputs
    y, y_test : Tensor, shape (N, ...), or HeldTargets
        On the device. A validation split that comes with the data lies behind the train pool, in `x` and `y`.
    fingerprint : str
        Of the task, for seeds.
    key : hashable
        Of the prepared inputs: the task's data at one shape, standardised in one way.
    head : Head
        Of the task's kind.
    further : mapping of str to (Inputs, targets)
        The further test sets.
    """

    x: Inputs
    y: Tensor | HeldTargets
    x_test: Inputs
    y_test: Tensor | HeldTargets
    fingerprint: str
    key: Hashable = None
    head: Head = field(default_factory=lambda: head_of(SINGLE_LABEL))
    further: Mapping[str, tuple[Inputs, Any]] = field(default_factory=dict)


def to_tensor(x: Raw, network: Backbone, device: torch.device) -> Any:
    """Return prepared inputs, shape (N, ...): float32, standardised, images in channels-last memory."""
    return channels_last(network.prepare(to_tensors(x, device)))


def to_inputs(x: Raw, network: Backbone, device: torch.device, limit: int) -> Inputs:
    """Hold prepared inputs on the device, or where they take more than `limit` bytes, map the raw ones."""
    return Mapped(x, network, device) if prepared_bytes(x) > limit else Held(to_tensor(x, network, device))


class HeldTargets:
    """Targets that are mappings of tensors, one an example; they take indices as a tensor of targets does."""

    def __init__(self, examples: Sequence[Mapping[str, Tensor]], device: torch.device):
        self.examples, self.device = examples, device

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: Tensor) -> HeldTargets:
        """Return the targets at `index`, of one axis."""
        return HeldTargets(self.take(index), self.device)

    def take(self, index: Tensor) -> list[Mapping[str, Tensor]]:
        """Return the targets at `index`, shape (n,), in a list."""
        return [self.examples[i] for i in index.tolist()]


def to_targets(y: Any, device: torch.device) -> Tensor | HeldTargets:
    """Hold targets on the device."""
    if isinstance(y, Targets):
        made = [{name: torch.as_tensor(part, device=device) for name, part in example.items()} for example in y]
        return HeldTargets(made, device)
    return torch.as_tensor(y, device=device)


def _pool_targets(task: Task) -> Any:
    """Return the targets of the train pool, and of the given validation split behind it."""
    if not task.n_val:
        return task.y
    return Targets([*task.y, *task.y_val]) if isinstance(task.y, Targets) else np.concatenate([task.y, task.y_val])


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
        y=to_targets(_pool_targets(task), device),
        x_test=to_inputs(task.x_test, network, device, limit),
        y_test=to_targets(task.y_test, device),
        fingerprint=fingerprint,
        key=(fingerprint, task.shape, network.mean, network.std, by),
        head=head_of(task.kind),
        further={
            name: (to_inputs(x, network, device, limit), to_targets(y, device)) for name, (x, y) in task.further.items()
        },
    )
