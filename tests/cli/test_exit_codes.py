"""How the command ends: messages without tracebacks, codes, broken pipes, bugs."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

import bench.cli
from bench.errors import StoreError


def test_version(ntbench):
    import bench as package

    done = ntbench("--version")
    assert (done.code, done.out) == (0, f"ntbench {package.__version__}\n")


def test_no_arguments_print_the_help(ntbench):
    done = ntbench()
    assert done.code in (0, 2)  # typer's own choice, which has changed between versions
    for verb in (
        "run",
        "plan",
        "table",
        "report",
        "export",
        "diff",
        "reproduce",
        "status",
        "show",
        "list",
        "check",
        "new",
    ):
        assert f"\n  {verb} " in done.out + done.err


def test_help_says_what_exit_codes_mean(ntbench):
    said = " ".join(ntbench("--help").out.split())
    for code in ("0 success", "1 failed", "2 bad input", "3 missing rows", f"{bench.cli.BUG} a bug", "130 interrupted"):
        assert code in said
    for verb in ("run", "diff", "reproduce", "debug", "check"):
        assert "Exit codes: 0 " in " ".join(ntbench(verb, "--help").out.split())


def test_an_unknown_verb_gets_the_nearest(ntbench):
    done = ntbench("rn")
    assert done.code == 2
    assert "No such command 'rn'" in done.err


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (StoreError("cannot write x"), 2, "error: cannot write x\n"),
        (OSError(errno.ENOSPC, "No space left on device", "x.csv"), 2, "error: x.csv: No space left on device\n"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 2, "error: x: Permission denied\n"),
        (StoreError("no \x1b[2J luck\nin two lines"), 2, "error: no ?[2J luck\nin two lines\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_is_no_bug_is_one_line(ntbench, monkeypatch, raised, code, said):
    def fail(*_):
        raise raised

    monkeypatch.setattr("bench.cli.listing._print_names", fail)
    done = ntbench("list")
    assert (done.code, done.err) == (code, said)


@pytest.mark.parametrize("raised", [ZeroDivisionError("oops"), OSError(errno.EBADF, "Bad file descriptor")])
def test_a_bug_keeps_its_traceback(ntbench, monkeypatch, raised):
    def fail(*_):
        raise raised

    monkeypatch.setattr("bench.cli.listing._print_names", fail)
    done = ntbench("list")
    assert done.code == bench.cli.BUG == 70
    assert "Traceback (most recent call last)" in done.err
    assert "this is a bug in ntbench" in done.err


def test_a_reader_that_leaves_is_no_error():
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench", "list", "tasks"], stdout=write, stderr=subprocess.PIPE, timeout=120
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_output_that_cannot_be_written_is_said():
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "bench", "list"], stdout=full, stderr=subprocess.PIPE, timeout=120)
    assert done.returncode == 2
    assert done.stderr.endswith(b"No space left on device\n")
    assert b"Traceback" not in done.stderr
