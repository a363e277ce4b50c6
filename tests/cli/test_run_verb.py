"""``ntbench run``: resuming, failures, interruption, selections, and how it says so."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import pytest
from cli_suite import SUITE, TRIALS

from bench.cli.options import spread_where
from bench.cli.progress import Lines, Live, watch
from bench.ledger.file import LEDGER, open_ledger
from bench.ledger.results import load_results

BROKEN = '''
import bench


@bench.strategy("broken")
def broken(depth):
    """Diverge."""
    yield bench.Strategy("broken", depth, (bench.Phase(0, lr=1e50),))
'''


def run(ntbench, suite, out, *options):
    return ntbench("run", suite, "--out", out, "--jobs", 0, "--device", "cpu", *options)


def test_a_whole_run(finished):
    _, out, code = finished
    assert code == 0
    rows = load_results(out)
    assert len(rows) == TRIALS
    assert (rows.status == "ok").all()
    for name in ("report.md", "results.csv", "results.parquet", "comparisons.csv", "table.md", "gap_map.png"):
        assert (out / name).stat().st_size > 0


def test_a_measure_that_raises_is_said_and_can_be_tried_again(tmp_path, suite, ntbench):
    plugin, switch = tmp_path / "mine.py", tmp_path / "mended"
    plugin.write_text(
        "import bench, pathlib\n@bench.measure('mine')\ndef mine(view):\n"
        f"    return 1.0 if pathlib.Path({str(switch)!r}).exists() else 1 / 0\n"
    )
    suite.write_text('measures = ["mine"]\n' + SUITE)
    out, options = tmp_path / "out", ("--plugin", plugin, "--where", "source=near", "strategy=zero-shot")
    for _ in range(2):  # a second time it is not tried, and not forgotten either
        done = run(ntbench, suite, out, *options)
        assert done.code == 1
        assert '2 measurements of similarity failed (measure "mine": ZeroDivisionError: division by zero' in done.err
    switch.touch()
    done = run(ntbench, suite, out, *options, "--retry-failed")
    assert done.code == 0
    assert "measurements" not in done.err
    assert load_results(out).mine.dropna().unique().tolist() == [1.0]


def test_running_again_trains_nothing_and_prints_the_results(finished, ntbench):
    suite, out, _ = finished
    before = (out / LEDGER).read_bytes()
    done = run(ntbench, suite, out)
    assert done.code == 0
    assert (out / LEDGER).read_bytes()[len(before) :].count(b"\n") == 1  # who ran it
    assert f"{TRIALS} done, 0 missing" in done.err
    assert "Findings" in done.out
    assert "Scratch" in done.out
    for line in ("report.md", "results.parquet", "gap_map.png"):
        assert str(out / line) in done.out


def test_what_is_no_terminal_gets_lines_without_control_characters(finished, ntbench):
    suite, out, _ = finished
    done = run(ntbench, suite, out)
    control = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x1b]")
    assert not control.search(done.out + done.err)
    header = done.err.splitlines()[0]
    assert "suite small" in header
    assert "cpu, in this process" in header
    assert "reading data: done" in done.err


def test_a_part_then_the_rest(suite, tmp_path, ntbench):
    out = tmp_path / "out"
    first = run(ntbench, suite, out, "--seeds", "0", "--where", "pair=near->digits", "strategy=fine-tune")
    assert first.code == 0
    rows = load_results(out)
    assert set(rows.seed) == {0}
    assert set(rows.strategy) == {"scratch", "fine-tune"}
    assert set(rows.source.dropna()) == {"near"}
    second = run(ntbench, suite, out, "--where", "source=near", "--where", "seed=0")
    assert second.code == 0
    assert set(load_results(out).strategy) == {"scratch", "fine-tune", "zero-shot", "feature-extraction"}


def test_failed_trials_are_said_with_how_to_see_more_and_can_be_run_again(tmp_path, ntbench):
    (tmp_path / "broken.py").write_text(BROKEN)
    suite = tmp_path / "small.toml"
    suite.write_text(SUITE.replace('"zero-shot", "feature-extraction", "fine-tune"', '"broken", "feature-extraction"'))
    options = ("--plugin", tmp_path / "broken.py", "--where", "source=near", "size=40", "--seeds", "0-1")
    out = tmp_path / "out"
    done = run(ntbench, suite, out, *options)
    assert done.code == 1
    failed = [line for line in done.err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 2
    assert "near -> digits, broken (2, 0), size 40" in failed[0]
    assert "diverged" in failed[0]
    assert "feature" in done.out  # the rest has its table
    key = re.search(r"--traceback (\w+)", done.err)[1]
    shown = ntbench("status", out, "--traceback", key)
    assert "TrialError: training diverged" in shown.out
    again = run(ntbench, suite, out, *options)
    assert again.code == 1
    assert "trials:" not in [line[:7] for line in again.err.splitlines()]  # nothing was tried
    retried = run(ntbench, suite, out, *options, "--retry-failed")
    assert "trials: 2\n" in retried.err


def test_a_second_run_in_the_same_folder_is_refused(finished, ntbench):
    suite, out, _ = finished
    before = (out / LEDGER).read_bytes()
    with open_ledger(out):
        done = run(ntbench, suite, out)
    assert done.code == 2
    assert "another run is writing" in done.err
    assert "Traceback" not in done.err
    assert (out / LEDGER).read_bytes() == before


def test_ctrl_c_stores_what_is_done_and_the_same_command_goes_on(finished, tmp_path, ntbench):
    out = tmp_path / "out"
    suite = tmp_path / "small.toml"
    suite.write_text(SUITE.replace("seeds = 2", "seeds = 12"))
    command = [sys.executable, "-m", "bench", "run", str(suite), "--out", str(out), "--jobs", "0", "--device", "cpu"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and _trials(out) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "finishing trials in flight" in said
    stored = _trials(out)
    missing = int(re.search(r"interrupted: (\d+) trials are missing", said)[1])
    assert "the same command goes on" in said
    assert stored + missing == 6 * TRIALS
    # The seeds of the finished run are done here too, and give the same rows.
    done = run(ntbench, suite, out, "--seeds", "0-1")
    assert done.code == 0
    rows, reference = load_results(out), load_results(finished[1])
    rows = rows[rows.seed < 2].reset_index(drop=True)
    ignored = ["seconds", "source_seconds"]
    assert rows.drop(columns=ignored).equals(reference.drop(columns=ignored))


def _trials(out):
    ledger = out / LEDGER
    return ledger.read_bytes().count(b'"kind":"trial"') if ledger.is_file() else 0


def test_rows_of_the_suite_before_a_change_to_it_are_left_out(suite, tmp_path, ntbench):
    out = tmp_path / "out"
    where = ("--where", "source=near", "size=20", "strategy=feature-extraction")
    run(ntbench, suite, out, *where)
    suite.write_text(SUITE.replace("steps = 5\nlearning", "steps = 6\nlearning"))
    done = run(ntbench, suite, out, *where, "--seeds", "0")
    assert done.code == 0
    assert "2 rows of an earlier recipe" in done.out  # scratch and feature extraction of seed 1
    assert "(1 seed)" in done.out
    assert "(1 seed)" in ntbench("table", out).out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--seeds", "x"), "neither a seed nor a range"),
        (("--where", "strategy=fine-tunes"), 'did you mean "fine-tune"'),
        (("--where", "pair=near-"), "quote"),
        (("--device", "tpu"), "not one of auto, cpu, cuda"),
        (("--jobs", "-1"), "--jobs"),
        (("--plugin", "nowhere.py"), "no plug-in file"),
        (("--out", "/proc/nowhere/out"), "cannot write to /proc/nowhere/out"),
    ],
)
def test_bad_input_ends_with_code_2_and_one_message(suite, tmp_path, ntbench, options, said):
    done = ntbench("run", suite, "--out", tmp_path / "out", "--jobs", 0, *options)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_an_out_folder_that_is_a_file(suite, ntbench):
    done = run(ntbench, suite, suite)
    assert done.code == 2
    assert "is a file, not a folder" in done.err
    planned = ntbench("plan", suite, "--out", suite)
    assert (planned.code, planned.err) == (2, f"error: {suite} is a file, not a folder\n")
    checked = ntbench("check", suite.parent)
    assert (checked.code, "is a folder; check takes" in checked.err) == (2, True)


def test_one_where_takes_several_conditions():
    spread = spread_where(["run", "--where", "pair=a->b", "strategy=x,y", "s.toml", "seed=1", "--jobs=2"])
    assert spread == ["run", "--where", "pair=a->b", "--where", "strategy=x,y", "s.toml", "seed=1", "--jobs=2"]
    assert spread_where(["--where=a=1", "b=2"]) == ["--where=a=1", "--where", "b=2"]
    assert spread_where(["run", "--where", "a=1", "x=y.toml"]) == ["run", "--where", "a=1", "x=y.toml"]


def test_lines_come_at_every_tenth_but_not_in_haste(monkeypatch, capfd):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with Lines() as lines:
        lines.stage("trials", 100)
        for n in range(100):
            clock[0] += 0.5
            lines.advance({"kind": "trial", "row": {"status": "failed" if n == 4 else "ok"}})
        lines.stage("quick", 100)
        for _ in range(50):
            clock[0] += 0.002
            lines.advance({"kind": "trial", "row": {"status": "ok"}})
    said = capfd.readouterr().err.splitlines()
    trials = [line for line in said if line.startswith("trials: ") and "of 100" in line]
    assert len(trials) == 9
    assert trials[0] == "trials: 10 of 100 (10%), 1 failed, 2/s, 45 s left"
    assert "trials: done, 1 failed, 50 s" in said
    assert said[-2:] == ["quick: 100", "quick: stopped at 50 of 100, 0.1 s"]


def test_the_live_display_is_for_terminals_alone(monkeypatch):
    import io

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(watch(), Lines)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    with watch() as live:
        assert isinstance(live, Live)
        live.stage("source models", 2)
        live.advance({"kind": "source", "status": "ok"})
        live.advance({"kind": "source", "status": "failed"})
        live.note("something to know")
        live.stage("trials", 400)
        for _ in range(100):
            live.advance({"kind": "trial", "row": {"status": "ok"}})
        live._display.refresh()
    drawn = sys.stderr.getvalue()
    assert "source models" in drawn
    assert "1 failed" in drawn
    assert "100/400" in drawn
    assert "left" in drawn
    assert "note: something to know" in drawn
