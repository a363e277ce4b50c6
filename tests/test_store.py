"""The ledger under fault: what was stored stays, what is damaged is noticed, nothing else is lost."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import StoreError
from bench.store import LEDGER, Damage, decode, encode, open_ledger, read_records, read_stored

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
records = st.dictionaries(st.text(), plain, max_size=4).map(lambda d: {**d, "kind": "trial"})


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


def test_ledgers_merge_by_concatenation_and_the_last_record_of_a_key_counts(tmp_path):
    fill(tmp_path / "one", "a", "b")
    fill(tmp_path / "two", "b", "c")
    with open_ledger(tmp_path / "one") as ledger:
        ledger.append(row("a", "failed"))
    both = tmp_path / "both"
    both.mkdir()
    content = [(tmp_path / name / LEDGER).read_bytes() for name in ("one", "two")]
    (both / LEDGER).write_bytes(b"".join(content))
    stored = read_stored(both)
    assert (set(stored.done), set(stored.failed)) == ({"b", "c"}, {"a"})
    (both / LEDGER).write_bytes(content[0])
    (both / "machine-2.ledger.jsonl").write_bytes(content[1])
    assert set(read_stored(both).done) == {"b", "c"}


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    script = "import sys; from bench.store import open_ledger\nwith open_ledger(sys.argv[1]): print('in'); input()"
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
