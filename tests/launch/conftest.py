"""What tests of launching share."""

from __future__ import annotations

import pytest

from bench import runner


@pytest.fixture(autouse=True)
def _no_plug_in_left(monkeypatch):
    """Take out again what plug-ins replace in this process."""
    monkeypatch.setattr(runner.Runner, "run_trials", runner.Runner.run_trials)
