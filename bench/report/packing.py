"""Tables as compact data for a page: columns, repeated text as codes, floats no longer than they need be."""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 6  # significant ones of a float; the full number is in the rows


def pack_columns(frame: pd.DataFrame, names: Iterable[str]) -> dict[str, Any]:
    """Return columns of a table as JSON-able values.

    Returns
    -------
    dict
        ``{"n": rows, "columns": {name: [...]} or {name: {"d": [texts], "c": [codes]}}}``: numbers as they
        are, None where missing; texts as codes into their sorted list, -1 where missing.
    """
    from pandas.api.types import is_numeric_dtype

    columns = {}
    for name in names:
        values = frame[name]
        columns[name] = _numbers(values) if is_numeric_dtype(values) else _codes(values)
    return {"n": len(frame), "columns": columns}


def _numbers(values: pd.Series) -> list[float | int | None]:
    return [None if missing else short(value) for value, missing in zip(values, values.isna(), strict=True)]


def short(value: float) -> float | int | None:
    """Return a number at its six significant digits, whole where it is whole; None where it is not finite."""
    number = float(value)
    if not math.isfinite(number):
        return None
    if number == int(number) and abs(number) < 2**53:
        return int(number)
    return float(f"{number:.{DIGITS}g}")


def _codes(values: pd.Series) -> dict[str, list]:
    import pandas as pd

    codes, texts = pd.factorize(values.astype("string"), sort=True, use_na_sentinel=True)
    return {"d": [str(text) for text in texts], "c": codes.tolist()}


def to_json(value: Any) -> str:
    """Write JSON that can stand within a script element: nothing in it ends or opens one."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def squeeze(text: str) -> str:
    """Compress text to base64 of gzip, the same for the same text."""
    return base64.b64encode(gzip.compress(text.encode("utf-8"), compresslevel=6, mtime=0)).decode("ascii")
