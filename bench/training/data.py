"""From a task's arrays to tensors that are held ready on the device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bench.backbones.base import Backbone
from bench.tasks.base import Task
from bench.training.fit import Data


def to_tensor(x: np.ndarray, network: Backbone, device: torch.device) -> Tensor:
    """Return prepared inputs, shape (N, ...): float32, standardised, images in channels-last memory."""
    tensor = network.prepare(torch.as_tensor(np.ascontiguousarray(x), device=device))
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def prepare(network: Backbone, task: Task, device: torch.device, fingerprint: str) -> Data:
    """Return a task's tensors, prepared as `network` expects its inputs.

    Seeds come from `fingerprint`, that of the data as the task gives them: the same examples are drawn
    whatever size images are brought to.
    """
    if task.is_image:
        network.to(memory_format=torch.channels_last)
    return Data(
        x=to_tensor(task.x, network, device),
        y=torch.as_tensor(task.y, device=device),
        x_test=to_tensor(task.x_test, network, device),
        y_test=torch.as_tensor(task.y_test, device=device),
        fingerprint=fingerprint,
    )
