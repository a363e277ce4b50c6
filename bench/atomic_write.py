"""Files and folders that take their place in one step: whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench.errors import StoreError


def write_whole(
    path: Path, content: bytes | str | Callable[[Path], object], *, shared: bool = False, sync: bool = True
) -> Path:
    """Write a file or folder beside its place and move it there: an interruption leaves the old one.

    Parameters
    ----------
    content : bytes, str or callable
        What the file holds, text as UTF-8; or what writes it to the path that it is given.
    shared : bool
        Whether other processes may write to the same place at the same time. Where none does, what a killed one
        left beside it is removed.
    sync : bool
        Whether the file is on the disk when this returns, so that a power cut does not lose it either.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    StoreError
        When the disk is full or the folder cannot be written.
    """
    from safetensors import SafetensorError

    temporary = path.with_name(f".{path.name}.{os.getpid()}.part" if shared else f"{path.name}.part")
    try:
        _remove(temporary)
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        if sync and temporary.is_file():  # a folder holds what a run needs only while it lasts
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
        if sync:
            sync_folder(path.parent)
    except (OSError, SafetensorError) as error:
        # An OSError of the same kind may come again here, and would hide the first.
        with suppress(OSError):
            _remove(temporary)
        raise StoreError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error
    return path


def sync_folder(folder: Path) -> None:
    """Have a folder's new names on the disk, where the system can; files sync what they hold themselves."""
    with suppress(OSError):
        place = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
