"""The weights of source examples that a run keeps, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import StoreError
from bench.ledger.file import parse_record, read_records
from bench.ledger.records import SourceRecord, TrialRecord

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

PLACE = ("source", "target", "backbone", "weighting", "target_size", "seed", "source_seed", "joint")


WEIGHTS = "weights"


def keeps_weights(folder: Path) -> bool:
    """Whether a run folder keeps what source examples weighed."""
    return any((folder / WEIGHTS).glob("*.safetensors"))


def load_weights(folder: str | Path, history: bool = False) -> pd.DataFrame:
    """Return what each source example weighed in a run folder's trainings.

    Parameters
    ----------
    folder : path
        Of a run; committed results hold no weights.
    history : bool
        One row for each example and stretch of the training (`interval`, from 0), instead of one with the
        mean over the training.

    Returns
    -------
    DataFrame
        Columns source, target, backbone, weighting, target_size, seed (missing where no target label is
        used), source_seed, joint, example (its place in the source's train pool), label, harmful,
        weight: relative to uniform ones, 1 meaning as much as any other, and loss: the mean cross-entropy
        with which the example was seen, nats. Both are missing where it was never seen, the loss also in
        files that were written before losses were kept.

    Raises
    ------
    StoreError
        When there is no such folder, or a file of weights is damaged.
    """
    import numpy as np
    import pandas as pd

    parts = []
    for place, path in _files(Path(folder)):
        kept = _read(path)
        shape = kept["history"].shape if history else kept["mean"].shape
        columns = {name: np.broadcast_to(kept[name], shape).ravel() for name in ("examples", "labels", "harmful")}
        values = {"example": columns["examples"], "label": columns["labels"], "harmful": columns["harmful"]}
        if history:
            values["interval"] = np.repeat(np.arange(shape[0]), shape[1])
        for column, name in (("weight", "history" if history else "mean"), ("loss", "losses" if history else "loss")):
            values[column] = kept[name].ravel().astype(float) if name in kept else np.full(np.prod(shape), np.nan)
        parts.append(pd.DataFrame({**place, **values}))
    if not parts:
        names = [*PLACE, "example", "label", "harmful", *(["interval"] if history else []), "weight", "loss"]
        return pd.DataFrame({name: [] for name in names})
    return pd.concat(parts, ignore_index=True)


def _files(folder: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """Yield what each kept file belongs to, and the file, in the ledger's order."""
    found: dict[str, dict[str, Any]] = {}
    for record in read_records(folder, read=parse_record):
        match record:
            case SourceRecord(ok=True):
                meta = record.meta or {}
                found[record.key] = {
                    "source": record.source, "target": meta.get("target"), "backbone": record.backbone,
                    "weighting": record.weighting, "target_size": meta.get("size"), "seed": meta.get("seed"),
                    "source_seed": record.source_seed, "joint": False,
                }  # fmt: skip
            case TrialRecord(ok=True):
                found[record.key] = {name: record.row.get(name) for name in PLACE[:-1]} | {"joint": True}
    for key, place in found.items():
        path = folder / WEIGHTS / f"{key}.safetensors"
        if path.is_file():
            yield place, path


def _read(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        kept = load_file(path)
        n = len(kept["examples"])
        if any(kept[name].shape[-1:] != (n,) for name in {*kept, "mean", "history", "harmful", "labels"}):
            raise ValueError("its parts have different lengths")
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise StoreError(f"weights {path} are damaged: {error}; delete the file and its trials' rows") from error
    return kept
