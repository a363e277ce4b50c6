"""The files of source models: their places, and whether one still holds what was written (no torch here)."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bench.ledger.records import SourceRecord
from bench.trial import SourceModel


def path_of(folder: Path, model: SourceModel) -> Path:
    """Return where a source model is kept: under its content key."""
    return folder / f"{model.key}.safetensors"


def weights_path(folder: Path, key: str) -> Path:
    """Return where the weights of a source's examples are kept, of a source model or joint trial, beside `folder`."""
    return folder.parent / "weights" / f"{key}.safetensors"


def file_digest(path: Path) -> str:
    """Return the digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:20]


def is_intact(path: Path, record: SourceRecord | None) -> bool:
    """Whether the file is there and holds what its ledger record says was written."""
    try:
        return record is not None and path.is_file() and file_digest(path) == record.file
    except OSError:
        return False
