"""Load results from a run folder or from committed tables: rows, values by class, right and wrong examples."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import DataError, StoreError
from bench.ledger.file import Damage, ledgers, parse_record, read_records
from bench.ledger.records import SimilarityRecord, TrialRecord
from bench.ledger.rows import Row, Rows, read_row
from bench.schema import ENDS, OK, TRIAL, conform, declare_near
from bench.scores import with_scores
from bench.trial import SCHEMA_VERSION, UNIFORM

if TYPE_CHECKING:
    import pandas as pd


PARQUET = "results.parquet"
EXAMPLES = "examples.parquet"


def load_results(folder: str | Path) -> pd.DataFrame:
    """Return a run folder's rows as one tidy table.

    Parameters
    ----------
    folder : path
        Of a run; or of committed results, which hold a ``results.parquet`` and no ledger.

    Returns
    -------
    DataFrame
        One row a trial in the order of the suite, columns as :data:`bench.schema.TRIAL` documents
        them: scores of bounded metrics are fractions, `source` is missing for scratch. Of several records for one place
        in the table the last counts, and rows of an earlier recipe or of other target data are left
        out, so that what is compared was made alike. ``attrs["warnings"]`` says what is not there.

    Raises
    ------
    StoreError
        When there is no such folder, or it holds no results.
    """
    folder = Path(folder)
    if not ledgers(folder):
        return _from_parquet(folder)
    damage, left_out = Damage(), Counter()
    rows, similarity = Rows(), _Similarity()
    for record in read_records(folder, damage, read_row):
        match record:
            case Row():
                rows.add(record)
            case SimilarityRecord():
                similarity.add(record)
            case TrialRecord():
                left_out[f"of schema version {record.version} (this is version {SCHEMA_VERSION})"] += 1
    frame, stale = _current(rows.frame())
    if rows.malformed:
        left_out["that are not as a run writes them"] += rows.malformed
    if stale:
        left_out["of an earlier recipe, backbone or version of the target's data"] += stale
    frame = with_scores(conform(similarity.join(frame), TRIAL))
    frame = frame.sort_values(ORDER, kind="stable", na_position="first", ignore_index=True)
    frame.attrs["warnings"] = [str(damage)] if damage.lines else []
    frame.attrs["warnings"] += [f"{count} rows {why} are left out" for why, count in left_out.items()]
    frame.attrs["warnings"] += similarity.stale()
    return frame


def _current(rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Keep of each place the last row, and of those the ones with the last context; return how many that drops.

    A result stands whatever failed with the same key: elsewhere perhaps, so that ledgers merge in any order.
    """
    failed = rows["status"] != OK
    if failed.any():
        rows = rows[~(failed & rows["key"].isin(rows.loc[~failed, "key"]))]
    current = rows["context"] == rows.groupby(list(_CONTEXT), sort=False)["context"].transform("last")
    last = ~rows.duplicated(list(_PLACE), keep="last")
    return rows[last & current], int((last & ~current).sum())


class _Similarity:
    """Gathers measured similarity: of the unweighted source model of each pair and seed, the last record counts."""

    def __init__(self) -> None:
        self._records: dict[tuple, SimilarityRecord] = {}

    def add(self, record: SimilarityRecord) -> None:
        """Take one record in; one that failed does not undo what an earlier one has."""
        place = tuple(getattr(record, name) for name in _MODEL)
        if record.weighting != UNIFORM or (not record.ok and not record.values and place in self._records):
            return
        self._records[place] = record
        for name, near in record.near.items():
            declare_near(name, near)

    @cached_property
    def _newest(self) -> dict[str, int]:
        """The newest version of each measure."""
        found: dict[str, int] = {}
        for record in self._records.values():
            for name, value in record.values.items():
                if value is not None and not name.endswith(ENDS):
                    found[name] = max(found.get(name, 1), _version(record, name))
        return found

    def _old(self, record: SimilarityRecord) -> list[str]:
        """Name a record's measures that others have in a newer version: the two cannot be compared."""
        return [name for name in record.values if _version(record, name) < self._newest.get(name, 1)]

    def join(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Add to each row the similarity of its source to its target."""
        import pandas as pd

        if not self._records:
            return rows
        values = []
        for record in self._records.values():
            old = {name + end for name in self._old(record) for end in ("", *ENDS)}
            values.append({name: value for name, value in record.values.items() if name not in old})
        keys = pd.DataFrame(list(self._records), columns=list(_MODEL))
        keys = keys.astype({name: rows[name].dtype for name in _MODEL})
        found = pd.DataFrame(values, index=keys.index)
        return rows.merge(pd.concat([keys, found], axis=1), how="left", on=list(_MODEL), sort=False)

    def stale(self) -> list[str]:
        """Say which values of an earlier version of a measure are left out."""
        counts = Counter(name for record in self._records.values() for name in self._old(record))
        return [
            f"{count} values of {name} by an earlier version of the measure are left out; running the suite again "
            "measures them anew"
            for name, count in counts.items()
        ]


def _version(record: SimilarityRecord, name: str) -> int:
    """Return the version of a measure that a record was taken by; ledgers that do not say so are of the first."""
    return record.versions.get(name, 1)


# Where a row stands in the table. A new row for an old place (its source's data changed, say) replaces it.
_PLACE = (
    "suite", "source", "target", "backbone", "strategy", "transfer_depth", "frozen_depth", "weighting",
    "target_size", "seed",
)  # fmt: skip
_CONTEXT = ("suite", "target", "backbone")
_MODEL = ("source", "target", "backbone", "source_seed")

# The ledger's order is that in which trials happened to finish; the table's does not depend on it.
ORDER = [
    "suite", "target", "backbone", "source", "weighting", "target_size", "strategy",
    "transfer_depth", "frozen_depth", "seed", "key",
]  # fmt: skip


def _from_parquet(folder: Path) -> pd.DataFrame:
    import pandas as pd

    path = folder / PARQUET if folder.is_dir() else folder
    if path.suffix != ".parquet" or not path.is_file():
        what = "is no folder" if not folder.exists() else "holds no results (no ledger.jsonl, no results.parquet)"
        raise StoreError(f"{folder} {what}")
    try:
        frame = pd.read_parquet(path)
    except Exception as error:
        # pandas and pyarrow raise a dozen unrelated types over a damaged file.
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise StoreError(f"cannot read {path}: {said}") from error
    score = "test_score" if "metric" in frame.columns else "test_accuracy"
    lacking = [name for name in (*_PLACE, "status", score) if name not in frame.columns]
    if lacking:
        raise StoreError(f"{path} is no table of trials: it lacks the columns {', '.join(lacking)}")
    for name, near in frame.attrs.get("near", {}).items():
        declare_near(name, near)
    try:
        return with_scores(conform(frame, TRIAL))
    except DataError as error:
        raise StoreError(f"{path}: {error}") from error


def load_per_class(folder: str | Path) -> pd.DataFrame:
    """Return what finished trials score on single classes, labels or regressed values.

    Parameters
    ----------
    folder : path
        Of a run; committed results do not keep it.

    Returns
    -------
    DataFrame
        One row a trial, metric and class, in the order of the table: what names the trial, `metric`, `class` and
        `value`: recalls of balanced accuracy, F1 of macro-F1, average precisions, ...; missing where undefined.

    Raises
    ------
    StoreError
        When there is no such folder, or it keeps no values by class.
    """
    import pandas as pd

    from bench.ledger.stored import read_stored

    folder = Path(folder)
    if not ledgers(folder):
        raise StoreError(f"{folder} keeps no values by class: a run folder's ledger does")
    classes = {card["name"]: card.get("classes", ()) for card in read_stored(folder).cards.values()}
    kept = {trial.key: trial.detail.by_class for trial in _trials(folder)}
    rows = load_results(folder)
    rows = rows[(rows["status"] == OK) & rows["key"].isin([key for key, found in kept.items() if found])]
    if rows.empty:
        raise StoreError(f"{folder} keeps no values by class: its trials ran by an earlier version")
    parts = []
    for row in rows[["key", *_PLACE]].to_dict("records"):
        for metric, values in kept[row["key"]].items():
            names = classes.get(row["target"], ())
            names = names if len(names) == len(values) else range(len(values))
            parts += [row | {"metric": metric, "class": str(n), "value": v} for n, v in zip(names, values, strict=True)]
    columns = {name: rows[name].dtype for name in ("key", *_PLACE)} | {"value": "float64"}
    return pd.DataFrame(parts).astype(columns)


def load_correctness(folder: str | Path) -> dict[str, np.ndarray]:
    """Return which test examples each finished trial got right.

    Parameters
    ----------
    folder : path
        Of a run; or of committed results, which keep them in ``examples.parquet``.

    Returns
    -------
    dict of key -> bool array, shape (n_test,)
        For intervals that resample examples as well as seeds.

    Raises
    ------
    StoreError
        When there is no such folder, or it does not say which examples were right.
    """
    folder = Path(folder)
    if folder.is_dir() and not ledgers(folder):
        return _examples(folder / EXAMPLES)
    found = {}
    for trial in _trials(folder):
        if not trial.ok or ("metric" in trial.row and trial.row.get("classes_predicted") is None):
            continue  # failed, or of another kind than single labels: no example is right or wrong
        try:
            found[trial.key] = unpack(trial.detail.correct, trial.row["n_test"])
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{folder}: trial {trial.key} does not say which were right: {error}") from error
    return found


def _trials(folder: Path) -> Iterator[TrialRecord]:
    return (record for record in read_records(folder, read=parse_record) if isinstance(record, TrialRecord))


def correctness_table(correct: Mapping[str, np.ndarray], keys: Iterable[str]) -> pd.DataFrame:
    """Return which test examples were right as a table to keep, one row a trial in the order of `keys`.

    Columns `key`, `n_test` and `correct`: bits, eight examples a byte, the first one highest. Trials that
    `correct` lacks, such as failed ones, are left out.
    """
    import pandas as pd

    known = [key for key in keys if key in correct]
    return pd.DataFrame({
        "key": pd.Series(known, dtype="string"),
        "n_test": pd.Series([len(correct[key]) for key in known], dtype="int64"),
        "correct": pd.Series([np.packbits(correct[key]).tobytes() for key in known], dtype=object),
    })  # fmt: skip


def _examples(path: Path) -> dict[str, np.ndarray]:
    """Read what :func:`correctness_table` gave."""
    import pandas as pd

    if not path.is_file():
        raise StoreError(f"{path.parent} does not say which test examples were right (no ledger.jsonl, no {EXAMPLES})")
    try:
        table = pd.read_parquet(path)
        bits = zip(table["key"], table["n_test"], table["correct"], strict=True)
        return {key: _bits(b, n) for key, n, b in bits}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"cannot read {path}: {type(error).__name__}: {error}") from error


def unpack(text: str, n: int) -> np.ndarray:
    """Return the bool array, shape (n,), that a ledger keeps packed as base64 of bits.

    Raises
    ------
    ValueError
        Where it is no base64, or of another length.
    """
    return _bits(base64.b64decode(text, validate=True), n)


def _bits(packed: bytes, n: int) -> np.ndarray:
    if len(packed) != -(-n // 8):
        raise ValueError(f"{len(packed)} bytes for {n} test examples")
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=n).astype(bool)
