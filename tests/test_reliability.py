"""Faults and what they cost, each tried a few times; ``python -m tests.reliability`` tries them more often."""

from __future__ import annotations

import csv

import pytest

from tests.reliability.__main__ import FAULTS, main, studies, write
from tests.reliability.disks import can_mount, flip, full_disk, lines
from tests.reliability.study import Outcome, damage

# What takes long is tried by the command alone: workers import torch before they do anything. What trials do to
# their workers is tested in tests/launch/test_isolation.py.
SLOW = ("kill -9 of a worker", "kill -9 of the driver of two workers", "full file system")
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
    from bench.store import decode, encode

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
