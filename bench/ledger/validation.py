"""The form that records of a ledger must have, so that whoever reads them need not ask again.

A checksum tells that a line is as it was written, not who wrote it: a ledger may come from somebody else.
What is checked is what this package itself reads; more is allowed, so that later versions can add to it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from bench.trial import Card, named_shapes

MAX_SECONDS = 1e10  # three centuries
MAX_WHOLE = 2**63  # what a table's column of whole numbers holds
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
STATES = ("ok", "failed")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def read_object(text: bytes) -> dict[str, Any] | None:
    """Read a JSON object; None for anything else.

    That includes what is nested too deeply, NaN and infinities, and halves of characters, which no file can hold.
    """
    try:
        value = _DECODER.decode(text.decode("utf-8"))
        if b"\\ud" in text or b"\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_key(value: Any) -> bool:
    """Whether a value can be the key of a record: it names files too, so it has no separator and no leading dot."""
    return isinstance(value, str) and _KEY.fullmatch(value) is not None


def is_well_formed(record: Mapping[str, Any]) -> bool:
    """Whether a record has what its kind needs; kinds that are not known need nothing but a name."""
    kind = record.get("kind")
    if not isinstance(kind, str):
        return False
    try:
        return _FORMS.get(kind, _any)(record)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return False


def _any(record: Mapping[str, Any]) -> bool:
    return True


def _trial(record: Mapping[str, Any]) -> bool:
    row, detail = record["row"], record.get("detail", {})
    return (
        is_key(record["key"])
        and _whole(record.get("schema", 0))
        and row["status"] in STATES
        and _seconds(row["seconds"])
        and all(isinstance(value, str | None) or _number(value) for value in row.values())
        and isinstance(detail, dict)
        and isinstance(detail.get("traceback"), str | None)
        and isinstance(detail.get("correct"), str | None)
        and _curve(detail.get("curve"))
        and _curve((detail.get("by_class") or {}).values())
        and (record.get("predictions") is None or is_key(record["predictions"]))
    )


def _source(record: Mapping[str, Any]) -> bool:
    return (
        is_key(record["key"])
        and record["status"] in STATES
        and _texts(record, "source", "backbone", "weighting")
        and _whole(record["source_seed"])
        and _seconds(record["seconds"])
        and _failure(record)
        and isinstance(record.get("meta"), dict | None)
    )


def _similarity(record: Mapping[str, Any]) -> bool:
    return (
        is_key(record["key"])
        and _texts(record, "source", "target", "backbone", "weighting")
        and _whole(record["source_seed"])
        and _failure(record)
        and all(value is None or _number(value) for value in record["values"].values())
        and all(map(_whole, record.get("versions", {}).values()))
        and all(near in ("low", "high") for near in record.get("near", {}).values())
    )


def _task(record: Mapping[str, Any]) -> bool:
    card = Card.from_json(record["card"])
    counts = (card.n_train, card.n_test, card.n_harmful, card.n_domains, card.n_val, card.n_groups)
    named = named_shapes(card.shape)
    sizes = [size for part in named.values() for size in part] if named else card.shape
    pairs = (*card.inputs, *card.further)
    whole = (card.version, *counts, *sizes, *card.class_counts, *card.test_counts, *(number for _, number in pairs))
    texts = (card.name, card.fingerprint, card.kind, *card.classes, *card.notes, *named, *(name for name, _ in pairs))
    said = card.measured
    columns = said is None or (isinstance(said, str) and (len(said),) == card.shape and set(said) <= {"0", "1"})
    alike = list(dict(card.inputs)) == list(named)
    return (
        columns
        and alike
        and is_key(record["key"])
        and all(map(_whole, whole))
        and all(isinstance(t, str) for t in texts)
    )


def _model(record: Mapping[str, Any]) -> bool:
    return is_key(record["key"]) and is_key(record["content"]) and isinstance(record["name"], str)


def _run(record: Mapping[str, Any]) -> bool:
    return (
        isinstance(record["suite"], str)
        and isinstance(record.get("config", {}), dict)
        and record.get("layout") in (None, "cpu", "cuda")
    )


def _texts(record: Mapping[str, Any], *names: str) -> bool:
    return all(isinstance(record[name], str) for name in names)


def _failure(record: Mapping[str, Any]) -> bool:
    return isinstance(record.get("error"), str | None) and isinstance(record.get("traceback"), str | None)


def _number(value: Any) -> bool:
    """Whether a value is a finite number that a table can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else -MAX_WHOLE <= value < MAX_WHOLE


def _whole(value: Any) -> bool:
    return isinstance(value, int) and _number(value)


def _seconds(value: Any) -> bool:
    return _number(value) and 0 <= value < MAX_SECONDS


def _curve(points: Any) -> bool:
    return points is None or all(value is None or _number(value) for point in points for value in point)


_FORMS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "trial": _trial, "source": _source, "similarity": _similarity, "task": _task, "model": _model, "run": _run,
}  # fmt: skip
