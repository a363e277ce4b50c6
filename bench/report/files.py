"""Files that replace their old selves in one step."""

from __future__ import annotations

import os
from pathlib import Path

from bench.errors import StoreError


def write_file(path: Path, content: bytes | str) -> Path:
    """Write a file beside `path`, sync it and move it into place: an interruption leaves the old one.

    Text is written as UTF-8. Returns `path`.

    Raises
    ------
    StoreError
        When the disk is full or the folder cannot be written.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error.strerror}") from error
    return path
