"""Faults and what they cost, each tried a few times; ``python -m tests.reliability`` tries them more often."""

from __future__ import annotations

import csv
from contextlib import nullcontext

import pytest

from tests.reliability.__main__ import FAULTS, NEEDS, WORKER_FAULTS, main, studies, write
from tests.reliability.disks import can_mount, flip, full_disk, lines
from tests.reliability.study import Outcome, damage

# What takes long is tried by the command alone: workers import torch before they do anything. What trials do to
# their workers is tested in tests/launch/test_isolation.py, and a cluster's node dies in tests/launch/test_cluster.py.
SLOW = (
    "kill -9 of a worker", "kill -9 of the driver of two workers", "full file system", "node of a Ray cluster dies",
)  # fmt: skip
OFTEN = {"flipped bit in the ledger": 3, "kill -9 of the run": 2}


@pytest.fixture(scope="module")
def study_of():
    with studies() as found:
        yield found


@pytest.mark.parametrize("fault", [name for name in FAULTS if name not in SLOW])
def test_a_fault_costs_nothing(fault, study_of):
    make, _ = FAULTS[fault]
    tries = OFTEN.get(fault, 1)
    assert make(study_of(fault), tries) == Outcome(tried=tries)


def test_a_file_system_that_fills_up_costs_nothing(study_of):
    if not can_mount():
        pytest.skip("this user may not mount a small file system in a name space")
    assert full_disk(study_of("full file system"), 1) == Outcome(tried=1)


def test_what_is_lost_twice_or_wrong_is_counted(study_of):
    """A judge that finds nothing proves nothing."""
    study = study_of("stale lock")
    out = study.copy()
    trials = [line for line in lines(out) if b'"kind":"trial"' in line]
    others = [line for line in lines(out) if b'"kind":"trial"' not in line]
    ledger = out / "ledger.jsonl"
    ledger.write_bytes(b"".join([*others, *trials[3:]]))
    assert study.judge(out) == Outcome(lost=3)
    ledger.write_bytes(b"".join([*others, *trials, trials[0]]))
    assert study.judge(out) == Outcome(duplicated=1)
    from bench.ledger.file import decode, encode

    changed = decode(trials[0])
    changed["row"]["test_accuracy"] += 2**-53
    ledger.write_bytes(b"".join([*others, encode(changed), *trials[1:]]))
    assert study.judge(out) == Outcome(wrong=1)
    flip(ledger, study.rng)
    assert damage(out)


def test_the_table_of_faults_is_kept_row_by_row(tmp_path):
    path = tmp_path / "new" / "faults.csv"
    write({"b": Outcome(2)}, path, ["a", "b"])
    write({"a": Outcome(1, 0, 0, 1)}, path, ["a", "b"])
    with path.open() as file:
        assert list(csv.reader(file)) == [
            ["fault", "tried", "lost", "duplicated", "wrong"], ["a", "1", "0", "0", "1"], ["b", "2", "0", "0", "0"]
        ]  # fmt: skip
    with pytest.raises(SystemExit):
        main(["no such fault"])


def test_what_cannot_be_made_here_is_said_and_not_tried(tmp_path, monkeypatch, capsys):
    assert set(NEEDS) <= set(FAULTS) | set(WORKER_FAULTS)
    monkeypatch.setattr("tests.reliability.__main__.studies", lambda: nullcontext(None))
    for name in NEEDS:
        monkeypatch.setitem(NEEDS, name, (lambda: False, "for a reason"))
        assert main([name, "--folder", str(tmp_path)]) == 0
        assert capsys.readouterr().out == f"{name}: NOT TRIED: for a reason\n"
    assert not list(tmp_path.iterdir())
