"""A disk that is full, wherever it is met: one message, nothing stored lost, and the same command goes on."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

import bench
from bench.atomic_write import write_whole
from bench.errors import BenchError, StoreError
from bench.launch import process
from bench.launch.folder import RunFolder
from bench.launch.units import Done
from bench.ledger.file import open_ledger, read_records
from bench.trial import Group, Trial


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "model.safetensors"
    write_whole(path, lambda place: place.write_text("old"))

    def half(place):
        place.write_text("ne")
        full()

    with pytest.raises(StoreError, match=r"cannot write .*model\.safetensors: No space left on device"):
        write_whole(path, half)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
    with pytest.raises(StoreError, match="No such file"):
        write_whole(tmp_path / "nowhere" / "x", lambda place: place.write_text("new"))


def test_a_folder_too_is_written_whole_or_not_at_all(tmp_path):
    """A task is a folder: neither a failed move nor a killed run leaves half of one that is in the way later."""

    def fill(place):
        place.mkdir()
        (place / "x.npy").write_text("new")

    path = tmp_path / "task"
    path.mkdir()
    (path / "x.npy").write_text("old")  # a folder that is not empty cannot be replaced
    with pytest.raises(StoreError, match="cannot write"):
        write_whole(path, fill)
    assert [p.name for p in tmp_path.iterdir()] == ["task"]
    assert (path / "x.npy").read_text() == "old"
    (tmp_path / "other.part").mkdir()
    (tmp_path / "other.part" / "half").write_text("left by a kill")
    write_whole(tmp_path / "other", fill)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["other", "task", "x.npy", "x.npy"]


def test_what_another_process_writes_to_the_same_place_is_left_alone(tmp_path):
    others = [tmp_path / name for name in (".x.txt.1.part", "x.txt.part")]
    for beside in others:
        beside.write_text("half of its own")
    path = tmp_path / "x.txt"
    assert write_whole(path, "é\n", shared=True, sync=False) == path
    assert path.read_bytes() == "é\n".encode()
    assert sorted(tmp_path.iterdir()) == sorted([*others, path])
    assert write_whole(path, b"\x00", shared=True).read_bytes() == b"\x00"


@pytest.mark.parametrize("place", ["bench.tasks.build.write_whole", "bench.sources.write_whole"])
def test_a_full_disk_ends_the_run_and_is_no_failure_of_a_trial(place, small_suite, tmp_path, monkeypatch):
    calls = []

    def sometimes(path, write):
        calls.append(path)
        write_whole(path, full if len(calls) == 2 else write)

    with monkeypatch.context() as patched:
        patched.setattr(place, sometimes)
        with pytest.raises(StoreError, match="No space left on device"):
            bench.run(small_suite, tmp_path, jobs=0)
    records = list(read_records(tmp_path))
    assert not [r for r in records if r["kind"] == "trial"]
    assert not [r for r in records if r.get("status") == "failed"]
    rows = bench.run(small_suite, tmp_path, jobs=0)
    assert (rows.status == "ok").all()
    assert len(rows) > 0


UNIT = Group((Trial("k1", None, "digits", 0, 0, 20, 0),))
SAID = Done(UNIT, [{"kind": "note"}], log="epoch 1\n")


def test_a_log_that_cannot_be_written_is_said_and_leaves_no_half_of_it(tmp_path, monkeypatch):
    real = Path.write_bytes

    def half(path, content):
        real(path, content[:3])
        full()

    with open_ledger(tmp_path) as ledger:
        folder = RunFolder(ledger)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "write_bytes", half)
            with pytest.raises(StoreError, match=r"cannot write .*k1\.log: No space left on device"):
                folder.keep([SAID])
        assert not list((tmp_path / "logs").iterdir())
        assert not list(read_records(tmp_path))  # no record without what it says
        folder.keep([SAID])
        assert (tmp_path / "logs" / "k1.log").read_text() == "epoch 1\n"
        folder.keep([Done(UNIT, [{"kind": "note"}])])
    assert not list((tmp_path / "logs").iterdir())  # the later try said nothing
    assert len(list(read_records(tmp_path))) == 2


def test_a_log_is_not_written_through_a_link_that_lies_in_its_place(tmp_path):
    """A run folder may come from somebody else."""
    (tmp_path / "own").write_text("mine")
    logs = tmp_path / "run" / "logs"
    logs.mkdir(parents=True)
    for name in ("k1.log", "k1.log.part"):
        (logs / name).symlink_to(tmp_path / "own")
    with open_ledger(tmp_path / "run") as ledger:
        RunFolder(ledger).keep([SAID])
    assert (tmp_path / "own").read_text() == "mine"
    assert (logs / "k1.log").read_text() == "epoch 1\n"


@pytest.mark.parametrize("what", ["the folder", "its output", "the process"])
def test_a_worker_process_that_the_system_refuses_is_said(what, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    place = {"the folder": (Path, "mkdir"), "its output": (Path, "open"), "the process": (process.subprocess, "Popen")}
    monkeypatch.setattr(*place[what], refuse)
    with pytest.raises(BenchError, match="cannot start a worker process: Cannot allocate memory"):
        process.Worker(tmp_path / "worker")
