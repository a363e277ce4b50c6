"""In which precision products are computed, and that equal work gives equal numbers on a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def computing(precision: str, device: torch.device) -> Iterator[None]:
    """Compute in "float32", "tf32" or "bf16" within this context.

    "float32" means it: left to itself, cuDNN convolves in TF32. "bf16" is torch's autocast, whose weights
    are cast anew in every pass, since they change between passes. On a GPU, kernels are chosen that give
    the same sums each time.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
        yield
