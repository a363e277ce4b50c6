"""What reads files from somebody else, fed with anything: a clear error or a result, never a traceback.

``python -m tests.reliability.fuzz TARGET [SECONDS] [FOLDER]`` drives one by coverage, from FOLDER's files on
where one is given; it needs atheris (``pip install atheris``). tests/test_fuzz.py does the same by
hypothesis, within the tests.
"""

from __future__ import annotations

import contextlib
import io
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

PATIENCE = 60  # s until something hangs: far more than the slowest takes


@contextlib.contextmanager
def no_hang() -> Iterator[None]:
    """Raise where what stands within does not come to its end."""

    def late(number: int, frame: object) -> None:
        raise TimeoutError(f"no end after {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _demand_brief(error: Exception) -> None:
    if len(str(error)) > 50_000:
        raise AssertionError("an error that nobody can read") from error


def read_suite(content: bytes, folder: Path) -> bool:
    """Load a suite file and count its trials; whether it is one."""
    from bench.errors import BenchError
    from bench.suite import load_suite
    from bench.suite.count import count
    from bench.suite.plan import Plan

    path = folder / "suite.toml"
    path.write_bytes(content)
    with no_hang():
        try:
            suite = load_suite(path)
            count(Plan(suite))
        except BenchError as error:
            _demand_brief(error)
            return False
    return True


def read_ledger(content: bytes, folder: Path) -> bool:
    """Read a ledger by every way that there is; whether its table could be made."""
    from bench.cli.gather import gather
    from bench.cli.state import read_folder_once, state_of
    from bench.cli.status import text_of
    from bench.cli.stored import comparisons_of
    from bench.errors import BenchError
    from bench.ledger.example_weights import load_weights
    from bench.ledger.file import LEDGER
    from bench.ledger.results import load_correctness, load_results
    from bench.ledger.stored import read_stored
    from bench.report.html_data import data_blocks, meta

    (folder / LEDGER).write_bytes(content)
    ways: list[Callable[[], object]] = [
        lambda: read_stored(folder), lambda: load_results(folder), lambda: load_correctness(folder),
        lambda: load_weights(folder), lambda: comparisons_of(folder),
        lambda: text_of(state_of(folder, *read_folder_once(folder))),
        lambda: [(meta(found), data_blocks(found)) for found in [gather(folder)]],
    ]  # fmt: skip
    done = []
    with no_hang(), warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore", RuntimeWarning)  # of means over values that are as they may be
        for way in ways:
            try:
                way()
                done.append(True)
            except BenchError:
                done.append(False)
    return done[1]


def read_checkpoint(content: bytes, folder: Path, suffixes: tuple[str, ...] = (".pt", ".safetensors")) -> bool:
    """Load a state dict as each kind of file, into a network; whether one fits."""
    from bench.backbones.base import build
    from bench.backbones.weights import load_into, load_state_dict_file
    from bench.errors import BenchError

    fits = False
    for suffix in suffixes:
        path = folder / f"model{suffix}"
        path.write_bytes(content)
        with no_hang():
            try:
                network = build("cnn", (1, 8, 8), 10, 0, 0, channels=[4, 4])
                load_into(network, load_state_dict_file(path), blocks_only=True, adapt=True)
                fits = True
            except BenchError as error:
                _demand_brief(error)
    return fits


TARGETS: dict[str, Callable[[bytes, Path], bool]] = {
    "suite": read_suite, "ledger": read_ledger, "checkpoint": read_checkpoint,
}  # fmt: skip


def ledger_lines(content: bytes) -> bytes:
    """Give each line of JSON the checksum that makes it a line of a ledger: else nothing gets past that."""
    import zlib

    bodies = [line.strip()[1:] for line in content.splitlines() if line.strip().startswith(b"{")]
    return b"".join(b'{"crc":"%08x",%s\n' % (zlib.crc32(body), body) for body in bodies)


def main(argv: list[str]) -> None:
    """Drive one target until it fails or the time is over."""
    name, seconds, *corpus = [*argv[1:2], *(argv[2:] or ["60"])]
    try:
        import atheris
    except ImportError:
        sys.exit("this needs atheris: pip install atheris")
    read = ["bench.suite", "bench.ledger.file", "bench.ledger.rows", "bench.ledger.records", "tomllib"]
    with atheris.instrument_imports(include=read):
        TARGETS[name](b"", Path(tempfile.mkdtemp()))  # imports what it needs
    folder = Path(tempfile.mkdtemp())

    def once(content: bytes) -> None:
        TARGETS[name](ledger_lines(content) if name == "ledger" else content, folder)

    atheris.Setup([argv[0], f"-max_total_time={seconds}", "-rss_limit_mb=4096", "-max_len=65536", *corpus], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
