"""A small suite, its finished run, and the command as a function."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from cli_suite import SUITE


@dataclass
class Result:
    """What a command came to."""

    code: int
    out: str
    err: str


@pytest.fixture
def ntbench(capfd):
    """Run the command in this process."""
    from bench.cli import main

    def run(*arguments):
        capfd.readouterr()
        with pytest.raises(SystemExit) as done:
            main([str(a) for a in arguments])
        return Result(done.value.code, *capfd.readouterr())

    return run


@pytest.fixture
def suite(tmp_path):
    """The small suite's file."""
    path = tmp_path / "small.toml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """(suite file, run folder, exit code) of one whole run."""
    from bench.cli import main

    folder = tmp_path_factory.mktemp("finished")
    path = folder / "small.toml"
    path.write_text(SUITE)
    with pytest.raises(SystemExit) as done:
        main(["run", str(path), "--out", str(folder / "out"), "--jobs", "0", "--device", "cpu"])
    return path, folder / "out", done.value.code
