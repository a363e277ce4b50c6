"""Disks that are full, fail or may not be written, and files that are not what was written to them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.ledger.file import LEDGER

from .inject import flip
from .study import ROOT, Outcome, Study, damage, finished, several, table

NOBODY = 65534


def file_too_large(study: Study, tries: int) -> Outcome:
    """A write that fails half-way, at a random size, as on a disk that fills up."""
    largest = max(path.stat().st_size for path in study.whole.rglob("*") if path.is_file())

    def once() -> Outcome:
        out = study.fresh()
        ended = study.run(out, largest=study.rng.randrange(1, largest))
        return _resumed(study, out, ended.code, ended.said)

    return several(tries, once)


def full_disk(study: Study, tries: int) -> Outcome:
    """A file system of a few kilobytes that really fills up; needs leave to mount one in a name space."""
    whole = sum(path.stat().st_size for path in study.whole.rglob("*") if path.is_file())

    def once() -> Outcome:
        out, small = study.fresh(), study.fresh()
        small.mkdir()
        size = study.rng.randrange(8_192, whole)
        script = (
            f"mount -t tmpfs -o size={size} none '{small}' && '{sys.executable}' -m tests.reliability.disks "
            f"'{small}/run'; code=$?; cp -a '{small}/run' '{out}' 2>&1; exit $code"
        )
        done = subprocess.run(["unshare", "-rm", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True)
        out.mkdir(exist_ok=True)
        return _resumed(study, out, done.returncode, done.stderr)

    return several(tries, once)


def can_mount() -> bool:
    """Whether this user may mount a small file system in a name space of its own."""
    try:
        done = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    except OSError:
        return False
    return done.returncode == 0


def sync_fails(study: Study, tries: int) -> Outcome:
    """A disk that takes what is written and then says that it has not."""

    def once() -> Outcome:
        out = study.fresh()
        ended = study.run(out, faults=["sync"])
        return _resumed(study, out, ended.code, ended.said)

    return several(tries, once)


def _resumed(study: Study, out: Path, code: int, said: str) -> Outcome:
    """Judge a run that may have failed, after the same command has gone on where it stopped."""
    if code == 0:
        shutil.rmtree(out, ignore_errors=True)
        return Outcome()
    assert code == 2, said
    assert "Traceback" not in said, said
    assert "cannot write" in said or "cannot read" in said, said
    stored = finished(out)
    study.finish(out)
    outcome = study.judge(out, stored)
    outcome.tried = 1
    outcome.wrong += len(damage(out))  # what could not be written was cut off again, so nothing is damaged
    shutil.rmtree(out)
    return outcome


def read_only_folder(study: Study, tries: int) -> Outcome:
    """A finished folder that may be read and not written: it is said, and nothing changes."""

    def once() -> Outcome:
        out = study.copy()
        cut(out, study.rng.randrange(2, len(lines(out))))
        stored, before = finished(out), _content(out)
        user = NOBODY if os.geteuid() == 0 else None
        _forbid(out, user)
        try:
            ended = study.run(out, user=user)
            assert ended.code == 2, ended.said
            assert "cannot write" in ended.said, ended.said
            unread = _content(out) != before or len(table(out)) != len(stored)
        finally:
            _allow(out)
        study.finish(out)
        outcome = study.judge(out, stored)
        outcome.tried, outcome.wrong = 1, outcome.wrong + unread
        shutil.rmtree(out)
        return outcome

    return several(tries, once)


def _forbid(out: Path, user: int | None) -> None:
    for path in [out, *out.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if user is not None:  # who shall be able to get there, and no further
        for path in out.parents:
            if path.stat().st_uid == os.geteuid() and not path.stat().st_mode & 0o001:
                path.chmod(path.stat().st_mode | 0o011)


def _allow(out: Path) -> None:
    for path in [out, *out.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def _content(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


# --- ledgers ------------------------------------------------------------------------------------------


def lines(out: Path) -> list[bytes]:
    """Return the lines of a ledger."""
    return (out / LEDGER).read_bytes().splitlines(keepends=True)


def cut(out: Path, count: int) -> None:
    """Leave so many lines of a ledger."""
    (out / LEDGER).write_bytes(b"".join(lines(out)[:count]))


def torn_line(study: Study, tries: int) -> Outcome:
    """A last line that was not written to its end."""

    def tear(out: Path) -> None:
        cut(out, study.rng.randrange(2, len(lines(out)) + 1))
        last = lines(out)[-1]
        (out / LEDGER).write_bytes((out / LEDGER).read_bytes()[: -study.rng.randrange(1, len(last))])

    return several(tries, lambda: _damaged(study, tear))


def line_cut_amid(study: Study, tries: int) -> Outcome:
    """A line in the middle that lacks bytes, the next one following at once."""

    def tear(out: Path) -> None:
        content = (out / LEDGER).read_bytes()
        start = study.rng.randrange(len(content) - 200)
        (out / LEDGER).write_bytes(content[:start] + content[start + study.rng.randrange(1, 200) :])

    return several(tries, lambda: _damaged(study, tear))


def zeros_at_the_end(study: Study, tries: int) -> Outcome:
    """Zeros in place of what was written last, as a loss of power leaves them on some file systems."""

    def tear(out: Path) -> None:
        content = (out / LEDGER).read_bytes()
        lost = study.rng.randrange(1, 4_000)
        (out / LEDGER).write_bytes(content[:-lost] + bytes(lost))

    return several(tries, lambda: _damaged(study, tear))


def flipped_bit(study: Study, tries: int) -> Outcome:
    """One bit of the ledger that is not what was written."""
    return several(tries, lambda: _damaged(study, lambda out: flip(out / LEDGER, study.rng)))


def _damaged(study: Study, spoil: Callable[[Path], object]) -> Outcome:
    """Judge a ledger that was spoilt, after the same command has gone on."""
    out = study.copy()
    before = {line for line in lines(out) if b'"kind":"trial"' in line}
    spoil(out)
    after = {line.rstrip(b"\n") + b"\n" for line in lines(out)}
    untouched = {line.split(b'"key":"', 1)[1][:20].decode() for line in before & after}
    noticed = bool(damage(out)) or not lines(out)[-1].endswith(b"\n")
    kept = finished(out)
    study.finish(out)
    outcome = study.judge(out, kept)
    outcome.tried = 1
    outcome.lost += len(untouched - kept)  # damage costs its own line alone
    outcome.wrong += not noticed  # nothing is ignored in silence
    shutil.rmtree(out)
    return outcome


# --- source models ------------------------------------------------------------------------------------


def truncated_model(study: Study, tries: int) -> Outcome:
    """A source model's file that ends too early."""

    def spoil(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: study.rng.randrange(path.stat().st_size)])

    return several(tries, lambda: _spoilt(study, spoil))


def flipped_model(study: Study, tries: int) -> Outcome:
    """A source model's file with one bit flipped."""
    return several(tries, lambda: _spoilt(study, lambda path: flip(path, study.rng)))


def swapped_model(study: Study, tries: int) -> Outcome:
    """A source model's file with another's content, whole and readable."""

    def swap(path: Path) -> None:
        others = [other for other in sorted(path.parent.iterdir()) if other != path]
        shutil.copy(study.rng.choice(others), path)

    return several(tries, lambda: _spoilt(study, swap))


def lost_model(study: Study, tries: int) -> Outcome:
    """A source model's file that is gone."""
    return several(tries, lambda: _spoilt(study, lambda path: path.unlink()))


def _spoilt(study: Study, spoil: Callable[[Path], object]) -> Outcome:
    """Judge a folder with half of the trials and a spoilt source model, after the same command has gone on."""
    out = study.copy()
    _keep_size(out, 20)
    path = study.rng.choice(sorted((out / "sources").iterdir()))
    stored, before = finished(out), path.read_bytes()
    spoil(path)
    study.finish(out)
    outcome = study.judge(out, stored)
    outcome.tried = 1
    outcome.wrong += path.read_bytes() != before  # trained again, to the bit
    shutil.rmtree(out)
    return outcome


def _keep_size(out: Path, size: int) -> None:
    kept = [line for line in lines(out) if b'"kind":"trial"' not in line or b'"target_size":%d,' % size in line]
    (out / LEDGER).write_bytes(b"".join(kept))


def damaged_while_it_runs(study: Study, tries: int) -> Outcome:
    """Source models that are damaged after the run has found them whole: no row is made from them."""

    def once() -> Outcome:
        out = study.copy()
        _keep_size(out, 20)
        stored = finished(out)
        ended = study.run(out, faults=["damage"])
        assert ended.code in (0, 1), ended.said
        study.finish(out, retry_failed=True)
        outcome = study.judge(out, stored)
        outcome.tried = 1
        shutil.rmtree(out)
        return outcome

    return several(tries, once)


if __name__ == "__main__":
    from .study import SUITE
    from .zygote import run

    sys.exit(run(SUITE, sys.argv[1]))
