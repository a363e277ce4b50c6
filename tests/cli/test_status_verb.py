"""``ntbench status`` while a run goes on, after it was killed, and for programs."""

from __future__ import annotations

import json
import shutil
import threading
import time
from typing import NotRequired, get_args, get_origin, get_type_hints

import pytest

from bench.cli import state
from bench.cli.wording import printable
from bench.launch.published import Load, Published
from bench.ledger.file import LEDGER, decode, encode, open_ledger
from bench.ledger.lock import LIVE, read_live
from bench.trial import Group, Trial

WORKER = {
    "worker": "0", "node": "n1", "busy": True, "units": 3, "keys": ["abcdefghijkl", "b", "c"], "seconds": 4.0, "done": 7
}  # fmt: skip
LIVE_NOW = {
    "suite": "small", "launcher": "processes", "jobs": 2, "per_second": 0.5,
    "stage": {"name": "trials", "total": 40, "done": 10, "failed": 2, "seconds": 20.0},
    "workers": [WORKER, {**WORKER, "worker": "1", "node": "n2", "busy": False, "keys": [], "units": 1}],
}  # fmt: skip


@pytest.fixture
def folder(finished, tmp_path):
    copied = tmp_path / "run"
    shutil.copytree(finished[1], copied)
    return copied


def say(folder, **values):
    who = {"pid": 1234, "host": "n1", "since": "2026-01-01T00:00:00+00:00", "updated": "2026-01-01T00:01:00+00:00"}
    (folder / LIVE).write_text(json.dumps(who | values))


def fits(value, shape):
    """Whether a value has a shape of bench/cli/state.py, to its depth."""
    if hasattr(shape, "__required_keys__"):
        hints = get_type_hints(shape)
        written = get_type_hints(shape, include_extras=True)
        required = {name for name, hint in written.items() if get_origin(hint) is not NotRequired}
        return (
            isinstance(value, dict)
            and required <= set(value) <= set(hints)
            and all(fits(value[name], hint) for name, hint in hints.items() if name in value)
        )
    if arguments := get_args(shape):
        origin = getattr(shape, "__origin__", None)
        if origin is list:
            return isinstance(value, list) and all(fits(entry, arguments[0]) for entry in value)
        if origin is dict:
            return isinstance(value, dict) and all(fits(entry, arguments[1]) for entry in value.values())
        return any(fits(value, option) for option in arguments)
    return shape is state.Any or isinstance(value, (int, float) if shape is float else shape)


def test_the_shape_for_programs_is_as_documented(folder, ntbench):
    resting = json.loads(ntbench("status", folder, "--json").out)
    assert fits(resting, state.FolderState)
    assert (resting["version"], resting["running"], resting["now"], resting["killed"]) == (1, False, None, None)
    with open_ledger(folder):
        say(folder, **LIVE_NOW)
        running = json.loads(ntbench("status", folder, "--json").out)
    assert fits(running, state.FolderState)
    assert running["now"]["stage"] == LIVE_NOW["stage"]
    assert running["now"]["workers"][0] == WORKER
    assert running["now"]["nodes"] == [
        {"node": "n1", "workers": 1, "busy": 1, "done": 7}, {"node": "n2", "workers": 1, "busy": 0, "done": 7}
    ]  # fmt: skip
    assert running["now"]["seconds_left"] == 0.0  # the suite lacks nothing


def test_a_run_is_shown_with_its_stage_rate_and_workers(folder, ntbench):
    with open_ledger(folder):
        say(folder, **{**LIVE_NOW, "suite": "another"})
        out = ntbench("status", folder).out
    assert "process 1234 on n1, since 2026-01-01" in out
    assert "trials: 10 of 40, 2 failed, 30/min, about 1 min left" in out
    assert "n2: 0 of 1 worker busy, 7 units done" in out
    assert "worker 0 on n1: abcdefghij and 2 more since 4.0 s" in out
    assert "worker 1 on n2: idle" in out


@pytest.mark.parametrize(
    "said", [{"stage": {"name": 5}}, {"workers": [{"worker": []}], "jobs": "many"}, {"per_second": "fast", "suite": []}]
)
def test_what_is_no_word_of_a_run_is_not_shown(said, folder, ntbench):
    with open_ledger(folder):
        say(folder, **said)
        found = json.loads(ntbench("status", folder, "--json").out)
        assert ntbench("status", folder).code == 0
    assert fits(found, state.FolderState)
    assert found["now"]["stage"] is None
    assert found["now"]["workers"] == []
    (folder / LIVE).write_text("[1]")
    assert json.loads(ntbench("status", folder, "--json").out)["killed"] is None


def test_a_run_that_was_killed_is_named(folder, ntbench):
    say(folder)
    done = ntbench("status", folder)
    assert "the last run (process 1234 on n1) was killed after 2026-01-01T00:01:00" in done.out


def test_following_ends_with_the_run(folder, monkeypatch, ntbench):
    monkeypatch.setattr("bench.cli.status.EVERY", 0.05)
    monkeypatch.setattr("bench.cli.status.IDLE", 0.0)
    held, let_go = threading.Event(), threading.Event()

    def run():
        with open_ledger(folder) as ledger:
            say(folder, **LIVE_NOW)
            held.set()
            let_go.wait(20)
            ledger.append({"kind": "note"})

    thread = threading.Thread(target=run)
    thread.start()
    assert held.wait(20)
    threading.Timer(1.0, let_go.set).start()
    done = ntbench("status", folder, "--follow", "--json")
    thread.join()
    looks = [json.loads(line) for line in done.out.splitlines()]
    assert len(looks) > 2
    assert [look["running"] for look in looks] == [True] * (len(looks) - 1) + [False]
    once = ntbench("status", folder, "--follow")  # nothing runs: said once
    assert once.code == 0
    assert once.out.count(str(folder)) == 1


def test_where_locks_do_not_tell_a_run_is_known_by_what_it_says(folder, monkeypatch, ntbench):
    """A parallel file system of a cluster may have no locks."""
    monkeypatch.setattr("bench.ledger.lock.is_held", lambda folder: None)
    monkeypatch.setattr("bench.cli.status.EVERY", 0.05)
    monkeypatch.setattr("bench.cli.status.IDLE", 0.0)
    say(folder, **LIVE_NOW)
    out = ntbench("status", folder).out
    assert "running now, unless it was killed after 2026-01-01T00:01:00" in out
    assert "worker 1 on n2: idle" in out
    threading.Timer(1.0, (folder / LIVE).unlink).start()
    looks = [json.loads(line) for line in ntbench("status", folder, "--follow", "--json").out.splitlines()]
    assert len(looks) > 2
    assert [look["now"] is None for look in looks] == [False] * (len(looks) - 1) + [True]
    assert all(fits(look, state.FolderState) for look in looks)


def test_logs_are_found_by_key(folder, ntbench):
    key = next(r["key"] for r in map(decode, (folder / LEDGER).open("rb")) if r["kind"] == "trial")
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "logs" / f"{key}.log").write_text("epoch 1\nall well\n")
    assert ntbench("status", folder, "--log", key[:8]).out == f"{key}:\nepoch 1\nall well\n"
    assert json.loads(ntbench("status", folder, "--json").out)["logs"] == str(folder / "logs")
    (folder / "logs" / f"{key}.log").write_text("50 %\r100 %\n\x1b[2Jgone\n")
    assert ntbench("status", folder, "--log", key).out == f"{key}:\n50 %\n100 %\n?[2Jgone\n"
    missing = ntbench("status", folder, "--log", "zzz")
    assert missing.code == 2
    assert 'starts with "zzz"' in missing.err


def test_what_failed_and_then_succeeded_is_no_failure(folder, ntbench):
    lines = (folder / LEDGER).read_bytes().splitlines(keepends=True)
    trial = next(decode(line) for line in lines if b'"kind":"trial"' in line)
    trial["row"] |= {"status": "failed", "error": "no \x1b[2J luck"}
    for order in ([*lines, encode(trial)], [encode(trial), *lines]):  # whatever came first: ledgers merge in any order
        (folder / LEDGER).write_bytes(b"".join(order))
        found = json.loads(ntbench("status", folder, "--json").out)
        assert (found["errors"], found["stored"]["failed"]) == ([], 0)
    (folder / LEDGER).write_bytes(b"".join(line for line in lines if trial["key"].encode() not in line) + encode(trial))
    assert "1 x no ?[2J luck" in ntbench("status", folder).out
    assert f"{trial['key']}: no ?[2J luck" in ntbench("status", folder, "--traceback", trial["key"]).out


def test_text_cannot_steer_the_terminal():
    assert printable("a\x1b]0;x\x07\nb\té\u202e") == "a?]0;x?\nb\té?"


class Told:
    def __init__(self):
        self.heard = []

    def stage(self, name, total):
        self.heard.append((name, total))

    def advance(self, record):
        self.heard.append(record["kind"])

    def note(self, text):
        self.heard.append(text)


class Launcher:
    def loads(self):
        trial = Trial("k1", None, "digits", 0, 0, 20, 0)
        return [Load("0", "here", Group((trial,)), 1.5, 2), Load("1", "here")]


def test_a_run_says_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.launch.published.EVERY", 0.01)
    told = Told()
    with open_ledger(tmp_path), Published(told, tmp_path, {"suite": "s", "jobs": 2}, Launcher()) as progress:
        progress.stage("trials", 5)
        progress.advance({"kind": "trial", "row": {"status": "ok"}})
        progress.advance({"kind": "trial", "row": {"status": "failed"}})
        progress.note("well")
        end = time.monotonic() + 20
        while (read_live(tmp_path).get("stage") or {}).get("done") != 2 and time.monotonic() < end:
            time.sleep(0.01)
        live = read_live(tmp_path)
    assert told.heard == [("trials", 5), "trial", "trial", "well"]
    stage = live["stage"]
    assert (stage["name"], stage["total"], stage["done"], stage["failed"]) == ("trials", 5, 2, 1)
    assert live["workers"][0] == {
        "worker": "0", "node": "here", "busy": True, "units": 1, "keys": ["k1"], "seconds": 1.5, "done": 2
    }  # fmt: skip
    assert live["workers"][1]["busy"] is False
    assert read_live(tmp_path) is None  # a run that ends well takes its word back
