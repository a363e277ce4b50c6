"""The ledger under fault: what was stored stays, what is damaged is noticed, nothing else is lost."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import StoreError
from bench.ledger.file import LEDGER, Damage, decode, encode, open_ledger, read_records
from bench.ledger.lock import is_held, read_live
from bench.ledger.records import is_well_formed
from bench.ledger.stored import read_stored

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
records = st.dictionaries(st.text(), plain, max_size=4).map(lambda d: {**d, "kind": "of another version"})


@settings(deadline=None)
@given(records)
def test_what_is_written_is_read_back(record):
    line = encode(record)
    assert line.count(b"\n") == 1
    assert decode(line) == json.loads(json.dumps(record))


@settings(deadline=None, max_examples=200)
@given(records, st.data())
def test_any_damaged_byte_is_noticed(record, data):
    line = encode(record)
    place = data.draw(st.integers(0, len(line) - 2))
    value = data.draw(st.integers(0, 255).filter(lambda b: b != line[place]))
    damaged = line[:place] + bytes([value]) + line[place + 1 :]
    assert decode(damaged) is None
    assert decode(line[:place]) is None


def row(key, status="ok", seconds=1.0):
    return {"kind": "trial", "key": key, "row": {"status": status, "seconds": seconds}, "detail": {}}


def fill(folder, *keys):
    with open_ledger(folder) as ledger:
        for key in keys:
            ledger.append(row(key))


def test_a_torn_last_line_costs_that_line_alone(tmp_path):
    fill(tmp_path, "a", "b", "c")
    path = tmp_path / LEDGER
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    stored = read_stored(tmp_path)
    assert set(stored.done) == {"a", "b"}
    assert "1 line of the ledger (3) cut short by an interruption" in str(stored.damage)
    fill(tmp_path, "c", "d")
    stored = read_stored(tmp_path)
    assert set(stored.done) == {"a", "b", "c", "d"}
    assert stored.damage.lines == [3]


def test_a_flipped_bit_costs_that_line_alone(tmp_path):
    fill(tmp_path, "a", "b", "c")
    path = tmp_path / LEDGER
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    damage = Damage()
    assert {r["key"] for r in read_records(tmp_path, damage)} == {"a", "c"}
    assert "2" in str(damage)
    assert "damaged" in str(damage)


def test_ledgers_merge_by_concatenation_and_a_result_stands_whatever_failed_elsewhere(tmp_path):
    fill(tmp_path / "one", "a", "b")
    fill(tmp_path / "two", "b", "c")
    with open_ledger(tmp_path / "one") as ledger:
        ledger.append(row("b", "failed"))
        ledger.append(row("d", "failed"))
    both = tmp_path / "both"
    both.mkdir()
    content = [(tmp_path / name / LEDGER).read_bytes() for name in ("one", "two")]
    for order in (content, content[::-1]):
        (both / LEDGER).write_bytes(b"".join(order))
        stored = read_stored(both)
        assert (set(stored.done), set(stored.failed)) == ({"a", "b", "c"}, {"d"})
    (both / LEDGER).write_bytes(content[0])
    (both / "machine-2.ledger.jsonl").write_bytes(content[1])
    assert set(read_stored(both).done) == {"a", "b", "c"}


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    script = (
        "import sys; from bench.ledger.file import open_ledger\nwith open_ledger(sys.argv[1]): print('in'); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "in\n"
    with pytest.raises(StoreError, match="another run is writing"), open_ledger(tmp_path):
        pass
    holder.kill()
    holder.wait()
    fill(tmp_path, "a")  # a lock dies with its holder
    holder.stdin.close()
    holder.stdout.close()


def test_a_full_disk_loses_nothing_that_was_stored(tmp_path, monkeypatch):
    fill(tmp_path, "a")
    with open_ledger(tmp_path) as ledger:
        real = os.fsync

        def full(descriptor):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match=r"No space left on device; everything finished before is stored"):
            ledger.append(row("b"))
        monkeypatch.setattr(os, "fsync", real)
        ledger.append(row("c"))
    stored = read_stored(tmp_path)
    assert set(stored.done) == {"a", "c"}
    assert not stored.damage.lines


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full to stand for a full disk")
def test_a_really_full_device_is_said(tmp_path):
    (tmp_path / LEDGER).symlink_to("/dev/full")
    with pytest.raises(StoreError, match="No space left on device"), open_ledger(tmp_path) as ledger:
        ledger.append(row("a"))


def test_a_record_after_one_that_could_not_be_cut_off_is_not_swallowed(tmp_path, monkeypatch):
    fill(tmp_path, "a")

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    with open_ledger(tmp_path) as ledger:
        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", fail)
            broken.setattr(os, "ftruncate", fail)
            with pytest.raises(StoreError, match="Input/output error"):
                ledger.append(row("b"))
        ledger.append(row("c"))
    assert {"a", "c"} <= set(read_stored(tmp_path).done)


def test_whoever_holds_the_folder_is_named(tmp_path):
    with open_ledger(tmp_path):
        live = read_live(tmp_path)
        assert (live["pid"], is_held(tmp_path)) == (os.getpid(), True)
        said = rf"writing to .* \(process {os.getpid()} on .*, since 20"
        with pytest.raises(StoreError, match=said), open_ledger(tmp_path):
            pass
    assert (read_live(tmp_path), is_held(tmp_path)) == (None, False)


def test_looking_whether_a_folder_is_held_stands_in_nobodys_way(tmp_path):
    fill(tmp_path, "a")
    with (tmp_path / ".lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.3, lambda: fcntl.flock(file, fcntl.LOCK_UN)).start()
        fill(tmp_path, "b")
    assert set(read_stored(tmp_path).done) == {"a", "b"}


def test_a_run_folder_without_a_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="has no name"), open_ledger(""):
        pass
    assert not list(tmp_path.iterdir())


CARD = {
    "name": "moons", "fingerprint": "f", "version": 1, "classes": ["a", "b"], "shape": [2], "n_train": 9, "n_test": 9,
    "class_counts": [5, 4],
}  # fmt: skip


@pytest.mark.parametrize(
    "record",
    [
        {"kind": "trial"},
        {"kind": "trial", "key": "k", "row": None},
        {"kind": "trial", "key": "../../k", "row": {"status": "ok", "seconds": 1.0}},
        {"kind": "trial", "key": "k", "row": {"status": "ok", "seconds": "long"}},
        {"kind": "trial", "key": "k", "row": {"status": "ok", "seconds": 10**400}},
        {"kind": "trial", "key": "k", "row": {"status": "ok", "seconds": 1.0, "target": ["digits"]}},
        {"kind": "trial", "key": "k", "row": {"status": "ok", "seconds": 1.0}, "detail": {"curve": [5]}},
        {"kind": "source", "key": "k"},
        {"kind": "similarity", "key": "k", "values": [1]},
        {"kind": "task", "key": "k", "card": {"name": "digits"}},
        {"kind": "task", "key": "k", "card": {**CARD, "measured": "1"}},
        {"kind": "task", "key": "k", "card": {**CARD, "measured": ["1", "0"]}},
        {"kind": "run", "suite": "s", "config": "x"},
        {"kind": ["trial"]},
    ],
)  # fmt: skip
def test_a_sound_checksum_does_not_make_a_record(record, tmp_path):
    fill(tmp_path, "a")
    with (tmp_path / LEDGER).open("ab") as file:
        file.write(encode(record))
    fill(tmp_path, "b")
    damage = Damage()
    assert [good["key"] for good in read_records(tmp_path, damage)] == ["a", "b"]
    assert damage.lines == [2]
    assert {"a", "b"} <= set(read_stored(tmp_path).done)  # which reads no more of a finished trial than it needs


def test_a_card_may_say_which_columns_are_measured():
    assert is_well_formed({"kind": "task", "key": "k", "card": {**CARD, "measured": "10"}})
    assert is_well_formed({"kind": "task", "key": "k", "card": CARD})


def test_a_line_without_end_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.ledger.file.MAX_LINE", 2**12)
    fill(tmp_path, "a")
    with (tmp_path / LEDGER).open("ab") as file:
        file.write(b"x" * 10**6 + b"\n")
    fill(tmp_path, "b")
    damage = Damage()
    tracemalloc.start()
    assert [record["key"] for record in read_records(tmp_path, damage)] == ["a", "b"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert damage.lines == [2]
    assert peak < 2**19


def test_a_folder_that_is_a_file_and_one_that_cannot_be_written_are_said(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(StoreError, match="is a file, not a folder"), open_ledger(file):
        pass
    with pytest.raises(StoreError, match=r"cannot write to .*give another --out"), open_ledger(file / "below"):
        pass


def test_a_missing_folder_is_empty_for_a_plan_and_an_error_for_a_reader(tmp_path):
    assert not read_stored(tmp_path / "none").done
    with pytest.raises(StoreError, match="no run folder"):
        list(read_records(tmp_path / "none"))


def test_what_json_cannot_say_is_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        encode({"kind": "trial", "loss": float("nan")})
