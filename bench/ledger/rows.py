"""Parse a ledger's lines to a table's columns, without a Python object for every value of a million rows."""

from __future__ import annotations

import io
import json
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

from bench.ledger.file import TRIAL_START, parse_record
from bench.ledger.records import Record, TrialRecord, is_well_formed, read_object
from bench.schema import MEASURES, TRIAL
from bench.trial import SCHEMA_VERSION

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

CHUNK = 32_768  # rows parsed at once
_ROW, _DETAIL, _TRACEBACK = b',"row":', b',"detail":', b'"traceback":"'
_SCHEMA = f',"schema":{SCHEMA_VERSION}'.encode()
# What a row itself holds; the rest is added from elsewhere in the ledger.
_TEXTS = ("key", "status", "suite", "target", "backbone", "strategy")
_NEEDED = (*_TEXTS, "transfer_depth", "frozen_depth", "target_size", "seed")
_COLUMNS = [column for column in TRIAL if column not in MEASURES and column.name != "traceback"]


class Row(NamedTuple):
    """A trial's row as its ledger has it.

    Attributes
    ----------
    text : bytes
        A JSON object.
    traced : bool
        Whether a traceback is kept with it.
    """

    text: bytes
    traced: bool


def read_row(body: bytes) -> Row | Record | None:
    """Read what the checksum of a ledger's line covers: a trial of this schema's version as a row, else a record.

    A quote within a JSON string is escaped, so the bytes that are looked for can only be the names they
    look like. Lines in another order than the store's are read the long way.
    """
    if body.startswith(TRIAL_START):
        start = body.find(_ROW)
        end = body.find(_DETAIL, start)
        if end > start > 0 and body.endswith(_SCHEMA, 0, start):
            return Row(body[start + len(_ROW) : end], body.find(_TRACEBACK, end) > 0)
    match record := parse_record(body):
        case TrialRecord(version=version) if version == SCHEMA_VERSION:
            return Row(json.dumps(record.row).encode(), bool(record.traceback))
    return record


class Rows:
    """Gathers rows; :meth:`frame` gives the table.

    Attributes
    ----------
    malformed : int
        Rows that are none, as a ledger by another hand may hold them: left out.
    """

    def __init__(self) -> None:
        self.malformed = 0
        self._texts: list[bytes] = []
        self._traced: list[bool] = []
        self._parts: list[pd.DataFrame] = []

    def add(self, row: Row) -> None:
        """Take one row in."""
        self._texts.append(row.text)
        self._traced.append(row.traced)
        if len(self._texts) == CHUNK:
            self._parse()

    def frame(self) -> pd.DataFrame:
        """Return the table of all rows in the order in which they came, columns typed as far as they fit."""
        import pandas as pd

        if self._texts or not self._parts:
            self._parse()
        return pd.concat(self._parts, ignore_index=True) if len(self._parts) > 1 else self._parts[0]

    def _parse(self) -> None:
        import pandas as pd

        frame = _frame(self._texts)
        if frame is None:
            sound = [_is_row(text) for text in self._texts]
            self.malformed += sound.count(False)
            self._texts = list(compress(self._texts, sound))
            self._traced = list(compress(self._traced, sound))
            frame = _slowly(self._texts)
        frame["traceback"] = frame["key"].where(pd.Series(self._traced, dtype=bool), None)
        self._parts.append(frame)
        self._texts, self._traced = [], []


def _is_row(text: bytes) -> bool:
    row = read_object(text)
    if row is None or not all(isinstance(row.get(name), str) for name in _TEXTS):
        return False
    if any(row.get(name) is None for name in _NEEDED):
        return False
    return is_well_formed({"kind": "trial", "key": row["key"], "row": {"seconds": 0, **row}})


def _frame(texts: list[bytes]) -> pd.DataFrame | None:
    """Parse rows; None where some have a column or a type that the schema does not foresee, or are no rows."""
    import pyarrow as pa
    import pyarrow.json

    schema = _schema()
    if not texts:
        return _to_pandas(schema.empty_table())
    options = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    try:
        table = pa.json.read_json(io.BytesIO(b"\n".join(texts)), parse_options=options)
    except pa.ArrowInvalid:
        return None
    known = len(table) == len(texts) and not any(table[name].null_count for name in _NEEDED)
    return _to_pandas(table) if known else None


def _schema() -> pa.Schema:
    import pyarrow as pa

    types = {"string": pa.string(), "Int64": pa.int64(), "float64": pa.float64()}
    return pa.schema([(column.name, types[column.dtype]) for column in _COLUMNS])


def _slowly(texts: list[bytes]) -> pd.DataFrame:
    """Parse rows by Python, whatever their columns; :func:`bench.schema.conform` judges them."""
    import pandas as pd

    names = _schema().names
    frame = pd.DataFrame([json.loads(text) for text in texts])
    return frame.reindex(columns=[*names, *frame.columns.difference(names, sort=False)])


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    # Whole numbers as such even where some are missing: a seed may be larger than a float can tell apart.
    types = {pa.int64(): pd.Int64Dtype(), pa.string(): pd.StringDtype()}
    return table.to_pandas(types_mapper=types.get)
