"""A disk that is full, wherever it is met: one message, nothing stored lost, and the same command goes on."""

from __future__ import annotations

import errno

import pytest

import bench
from bench.errors import StoreError
from bench.store import read_records, write_whole


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
