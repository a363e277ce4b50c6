"""What several tests need: small suites that run in this process, and the shared data folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Train on one thread, as workers do: the tests' numbers then do not depend on the machine's cores."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _nothing_stays_registered():
    """Take out again what a test registers, so that none depends on which others ran before it in its process."""
    from bench import registry

    kinds = [found for found in vars(registry).values() if isinstance(found, registry.Registry)]
    before = [set(kind._entries) for kind in kinds]
    yield
    for kind, known in zip(kinds, before, strict=True):
        for name in [name for name, entry in kind._entries.items() if name not in known and not entry.built_in]:
            del kind._entries[name]


@pytest.fixture(scope="session")
def small_suite() -> dict:
    """A suite that runs in a second or two: one pair and its noisy twin, one small network."""
    return {
        "name": "small",
        "backbones": [{"backbone": "cnn", "channels": [4, 4], "name": "cnn"}],
        "strategies": ["feature-extraction", "fine-tune"],
        "target_sizes": [20, 40],
        "seeds": 2,
        "image_size": 8,
        "tasks": {
            "source": {"task": "printed-digits", "n": 200, "n_test": 50},
            "noisy": {"task": "source", "label_noise": 0.5},
        },
        "pairs": [{"target": "digits", "sources": ["source", "noisy"]}],
        "recipe": {"steps": 6, "learning_rates": [0.05, 0.2], "checkpoints": 2},
        "source_recipe": {"steps": 10},
    }
