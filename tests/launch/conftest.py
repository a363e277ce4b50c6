"""What tests of launching share."""

from __future__ import annotations

import pytest

from bench import runner
from bench.registry import STRATEGIES


@pytest.fixture(autouse=True)
def _no_plug_in_left(monkeypatch):
    """Take out again what plug-ins register and replace in this process."""
    monkeypatch.setattr(runner.Runner, "run_trials", runner.Runner.run_trials)
    yield
    for name in [name for name, entry in STRATEGIES._entries.items() if not entry.built_in]:
        del STRATEGIES._entries[name]
