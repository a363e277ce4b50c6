"""The command ``ntbench``: verbs only; whatever a verb needs is imported when it runs.

Exit codes: 0 complete, 1 failed trials (of ``diff`` and ``reproduce``: something changed), 2 usage or bad input (a
broken contract included), 3 rows that only one side has (``diff`` and ``reproduce`` too), 70 a bug in ntbench,
130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

BUG = 70
INTERRUPTED = 130
# What the machine refuses is no bug; anything else from the system is.
_REFUSALS = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EMFILE,
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; the process's own by default.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a mark that the terminal cannot write is no reason to stop
    sys.exit(_flushed(_run(arguments)))


def _run(arguments: list[str]) -> int:
    """Run the command and return its exit code; every error that is the user's becomes one message."""
    from bench.cli.app import command
    from bench.cli.options import spread_where
    from bench.errors import BenchError

    streams = sys.stdout, sys.stderr
    try:
        command().main(args=spread_where(arguments), prog_name="ntbench")
    except SystemExit as done:
        if sys.stdout is not streams[0]:
            # The framework puts a stand-in there, and exits, when whoever read the output has had enough.
            sys.stdout, sys.stderr = streams
            return 0
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except BenchError as error:
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    except OSError as error:
        if error.errno not in _REFUSALS:
            return _bug()
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"{where}{error.strerror}", 2)
    except Exception:
        return _bug()
    return 0


def _say(message: str, code: int) -> int:
    from bench.cli.wording import printable

    print(f"error: {printable(message)}", file=sys.stderr)
    return code


def _bug() -> int:
    import traceback

    traceback.print_exc()
    print("error: this is a bug in ntbench (or in a plug-in); the traceback above says where", file=sys.stderr)
    return BUG


def _flushed(code: int) -> int:
    """Write out what is still buffered; a reader that has gone is no error, a full disk is one."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()
    except OSError as error:
        _drop_stdout()
        return _say(f"cannot write the output: {error.strerror}", 2)
    return code


def _drop_stdout() -> None:
    """Let Python's own flush at exit go nowhere, in silence."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
