"""Predictions for every test example: a file a unit of work, and tables of them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.atomic_write import write_whole
from bench.errors import StoreError
from bench.ledger.file import ledgers, parse_record, read_records
from bench.ledger.records import TrialRecord
from bench.ledger.results import unpack

if TYPE_CHECKING:
    import pandas as pd

PREDICTIONS = "predictions"
SUFFIX = ".npz"
# What names a trial in a table of predictions.
PLACE = (
    "key", "source", "target", "backbone", "strategy", "transfer_depth", "frozen_depth", "weighting", "target_size",
    "seed",
)  # fmt: skip
CHUNK = 2**18  # examples of a table that are in memory at once


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one trial predicted of its target's test set, of N examples and C classes, labels or regressed values.

    Attributes
    ----------
    classes : tuple of str
    labels : array
        What is true, in the order of the task's test set: classes, integers of shape (N,); whether each label is
        there, bools of shape (N, C); or values, floats of shape (N, C).
    predicted : array
        The same of what is predicted. Classes are as the row's accuracy counts them: where rounded probabilities
        are equal, this tells which was the largest.
    log_probabilities : float16 array, shape (N, C), or None
        Natural logarithms: rounded to 1 in 2,000 of themselves, so that neither 0.0001 nor 0.9999 is lost. None of
        values.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    log_probabilities: np.ndarray | None

    @property
    def probabilities(self) -> np.ndarray | None:
        """Probabilities, float32, shape (N, C); of classes a row adds up to 1 within 0.001."""
        return None if self.log_probabilities is None else np.exp(self.log_probabilities.astype(np.float32))


def save_predictions(
    folder: Path,
    predictions: Mapping[str, tuple[np.ndarray, np.ndarray]],
    labels: np.ndarray,
    classes: Sequence[str],
) -> str:
    """Keep what trials of one target predicted in one compressed file, whole or not at all; return its name.

    It is named by its content, so that files of several run folders lie beside each other.

    Parameters
    ----------
    folder : Path
        That exists.
    predictions : mapping of trial key to (predicted, log_probabilities)
        As :class:`Predictions` has them.

    Raises
    ------
    StoreError
        When it cannot be written.
    """
    kept = {"b": np.bool_, "f": np.float64}.get(labels.dtype.kind, np.min_scalar_type(max(len(classes) - 1, 0)))
    parts = {"labels": labels.astype(kept), "classes": np.array(list(classes), dtype=np.str_)}
    for key, (predicted, log_probabilities) in predictions.items():
        parts[f"{key}.predicted"] = predicted.astype(np.float32 if labels.dtype.kind == "f" else kept)
        if labels.dtype.kind != "f":
            parts[f"{key}.log_probabilities"] = log_probabilities.astype(np.float16)
    content = io.BytesIO()
    np.savez_compressed(content, **parts)
    name = _digest(content.getvalue())
    write_whole(folder / f"{name}{SUFFIX}", content.getvalue())
    return name


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=10).hexdigest()


class KeptPredictions:
    """The predictions that a run folder keeps, by trial.

    Parameters
    ----------
    folder : path
        Of a run; committed results hold none.

    Raises
    ------
    StoreError
        When there is no such folder, or it is none of a run.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._names: dict[str, str] = {}
        self._correct: dict[str, str] = {}
        self._open: tuple[str, np.lib.npyio.NpzFile] | None = None
        if self.folder.is_dir() and not ledgers(self.folder):
            raise StoreError(f"{folder} keeps no predictions: a run folder does, which has a ledger.jsonl")
        for record in read_records(self.folder, read=parse_record):
            match record:
                case TrialRecord(ok=True, predictions=str(name)):
                    self._names[record.key] = name
                    self._correct[record.key] = record.detail.correct

    def __contains__(self, key: str) -> bool:
        return key in self._names

    def read(self, key: str) -> Predictions:
        """Return what a trial predicted.

        Raises
        ------
        StoreError
            When the file is gone or damaged, or is not what the trial's row was made from.
        """
        path = self.folder / PREDICTIONS / f"{self._names[key]}{SUFFIX}"
        try:
            parts = self._parts(path)
            name = f"{key}.log_probabilities"
            found = Predictions(
                tuple(parts["classes"].tolist()),
                parts["labels"], parts[f"{key}.predicted"], parts.get(name),
            )  # fmt: skip
            self._demand_whole(key, found)
        except Exception as error:
            # A damaged archive shows as any of zipfile's, zlib's and numpy's errors.
            what = "is gone" if not path.exists() else f"is damaged ({error})"
            raise StoreError(
                f"trial {key}: the file of its predictions, {path}, {what}. To have them again, run the trial again: "
                "ntbench run SUITE --out DIR, with another folder"
            ) from error
        return found

    def _demand_whole(self, key: str, found: Predictions) -> None:
        """Raise ValueError for predictions whose parts do not fit each other, or the trial's record."""
        logs, wide = found.log_probabilities, (len(found.labels), len(found.classes))
        single = found.labels.dtype.kind not in "bf"
        if (logs is not None and logs.shape != wide) or (logs is None and single):
            raise ValueError("its parts have different lengths")
        if not single:
            if not found.labels.shape == found.predicted.shape == wide:
                raise ValueError("its parts have different lengths")
        elif not np.array_equal(found.predicted == found.labels, unpack(self._correct[key], len(found.labels))):
            raise ValueError("other examples are right in it than in the trial's record")

    def _parts(self, path: Path) -> np.lib.npyio.NpzFile:
        """Open a file, whose content its name tells; its arrays are read when they are asked for."""
        if self._open is None or self._open[0] != path.stem:
            content = path.read_bytes()
            if _digest(content) != path.stem:
                raise ValueError("its content is not what was written")
            self._open = path.stem, np.load(io.BytesIO(content), allow_pickle=False)
        return self._open[1]


def prediction_tables(kept: KeptPredictions, rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the predictions of trials of one target as tables, some hundred thousand examples at a time.

    Parameters
    ----------
    rows : DataFrame
        One row a trial, columns as in :data:`bench.schema.TRIAL`; all of one target, and in `kept`.

    Yields
    ------
    DataFrame
        One row a trial and test example: what names the trial (:data:`PLACE`), `example` (its place in the
        test set, from 0), `label` and `predicted` (names of classes), and ``p_<class>`` for every class
        (float32). Of several labels or values, ``label_<name>`` and ``predicted_<name>`` for each.

    Raises
    ------
    StoreError
        See :meth:`KeptPredictions.read`; also when trials tell different classes apart.
    """
    classes: tuple[str, ...] | None = None
    found: list[Predictions] = []
    begin = 0
    for end, key in enumerate(rows["key"], 1):
        found.append(kept.read(key))
        classes = classes or found[-1].classes
        if found[-1].classes != classes:
            raise StoreError(f"trial {key} tells other classes apart than the trials before it: its target has changed")
        if sum(len(part.labels) for part in found) >= CHUNK or end == len(rows):
            yield _table(rows.iloc[begin:end], found)
            found, begin = [], end


def _table(rows: pd.DataFrame, found: Sequence[Predictions]) -> pd.DataFrame:
    import pandas as pd

    sizes = [len(part.labels) for part in found]
    table = rows[list(PLACE)].take(np.repeat(np.arange(len(rows)), sizes)).reset_index(drop=True)
    names = np.array(found[0].classes, dtype=object)
    table["example"] = np.concatenate([np.arange(size) for size in sizes])
    beside = []
    for column in ("label", "predicted"):
        values = np.concatenate([part.labels if column == "label" else part.predicted for part in found])
        if values.ndim == 1:
            table[column] = pd.Series(names[values], dtype="string")
        else:
            beside.append(pd.DataFrame(values, columns=[f"{column}_{name}" for name in names]))
    if found[0].log_probabilities is not None:
        probabilities = np.concatenate([part.probabilities for part in found])
        beside.append(pd.DataFrame(probabilities, columns=[f"p_{name}" for name in names]))
    return pd.concat([table, *beside], axis=1)
