"""The kinds of record that a ledger holds, each with the form that it must have.

A checksum tells that a line is as it was written, not who wrote it: a ledger may come from somebody else.
What is checked is what this package itself reads; more is allowed, so that later versions can add to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bench.trial import Card, named_shapes

MAX_SECONDS = 1e10  # three centuries
MAX_WHOLE = 2**63  # what a table's column of whole numbers holds


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


# The key of a record names files too: it has no separator and no leading dot.
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Whole = Annotated[int, Field(ge=-MAX_WHOLE, lt=MAX_WHOLE)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Number = Whole | Finite
Seconds = Annotated[float, Field(ge=0, lt=MAX_SECONDS)]
State = Literal["ok", "failed"]
_STRICT = ConfigDict(strict=True, extra="allow")


class Record(BaseModel):
    """A record of a kind that this version does not know: it need have nothing but the name of its kind."""

    model_config = _STRICT
    kind: str


class _Outcome(BaseModel):
    model_config = ConfigDict(strict=True)
    status: State
    seconds: Seconds


def _demand_outcome(row: dict[str, Any]) -> dict[str, Any]:
    _Outcome.model_validate(row)
    if not all(-MAX_WHOLE <= value < MAX_WHOLE for value in row.values() if type(value) is int):
        raise ValueError("a whole number is too large for a table")  # and would pass as a float
    return row


class Detail(BaseModel):
    """What is kept of a trial beside its row; each part is missing where there is none."""

    model_config = _STRICT
    traceback: str | None = None
    correct: str | None = None
    curve: list[list[Number | None]] | None = None
    by_class: dict[str, list[Number | None]] | None = None


class TrialRecord(Record):
    """A trial that finished or failed."""

    key: Key
    version: Whole = Field(0, alias="schema")
    row: Annotated[dict[str, str | int | Finite | None], AfterValidator(_demand_outcome)]
    detail: Detail = Detail()
    predictions: Key | None = None

    @property
    def ok(self) -> bool:
        """Whether it finished."""
        return self.row["status"] == "ok"

    @property
    def seconds(self) -> float:
        """What it took."""
        return self.row["seconds"]

    @property
    def error(self) -> str | None:
        """Why it failed."""
        return self.row.get("error")

    @property
    def traceback(self) -> str | None:
        """Where it failed."""
        return self.detail.traceback


class FinishedTrial(NamedTuple):
    """No more of a trial that finished than what planning needs."""

    key: str
    seconds: float


class SourceRecord(Record):
    """A source model that was trained, or could not be."""

    key: Key
    status: State
    source: str
    backbone: str
    weighting: str
    source_seed: Whole
    seconds: Seconds
    file: str | None = None
    meta: dict[str, Any] | None = None
    error: str | None = None
    traceback: str | None = None
    source_accuracy: Number | None = None
    val_accuracy: Number | None = None
    learning_rate: Number | None = None
    steps: Number | None = None
    best_step: Number | None = None

    @property
    def ok(self) -> bool:
        """Whether it was trained."""
        return self.status == "ok"


class SimilarityRecord(Record):
    """How near a source is to a target, by each measure that could be taken."""

    key: Key
    source: str
    target: str
    backbone: str
    weighting: str
    source_seed: Whole
    values: dict[str, Number | None]
    versions: dict[str, Whole] = {}
    near: dict[str, Literal["low", "high"]] = {}
    error: str | None = None
    traceback: str | None = None

    @property
    def ok(self) -> bool:
        """Whether all of them could."""
        return self.error is None


_WHOLES, _TEXTS = (TypeAdapter(list[of], config=ConfigDict(strict=True)) for of in (Whole, str))


def _demand_card(values: dict[str, Any]) -> dict[str, Any]:
    """Demand that a task's card can be built from its values, and that its parts fit each other."""
    try:
        card = Card.from_json(values)
        named = named_shapes(card.shape)
        sizes = [size for part in named.values() for size in part] if named else card.shape
        pairs = (*card.inputs, *card.further)
        counts = (card.n_train, card.n_test, card.n_harmful, card.n_domains, card.n_val, card.n_groups, card.version)
        _WHOLES.validate_python([*counts, *sizes, *card.class_counts, *card.test_counts, *(n for _, n in pairs)])
        texts = [card.name, card.fingerprint, card.kind, *card.classes, *card.notes, *named, *(t for t, _ in pairs)]
        said = card.measured
        _TEXTS.validate_python(texts if said is None else [*texts, said])
        alike = list(dict(card.inputs)) == list(named)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("no card can be built from it") from error
    if not alike or not (said is None or ((len(said),) == card.shape and set(said) <= {"0", "1"})):
        raise ValueError("parts of it do not fit each other")
    return values


class TaskRecord(Record):
    """What is known of a task, under the digest of what asks for it."""

    key: Key
    card: Annotated[dict[str, Any], AfterValidator(_demand_card)]


class ModelRecord(Record):
    """The digest of a handed-in model's file."""

    key: Key
    content: Key
    name: str


class RunRecord(Record):
    """The provenance of one time that a suite was run."""

    suite: str
    config: dict[str, Any] = {}
    layout: Literal["cpu", "cuda"] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the record as it stands in the ledger."""
        return self.model_dump(exclude_unset=True)


_KINDS: dict[str, type[Record]] = {
    "trial": TrialRecord, "source": SourceRecord, "similarity": SimilarityRecord, "task": TaskRecord,
    "model": ModelRecord, "run": RunRecord,
}  # fmt: skip


def record_of(values: Mapping[str, Any] | None) -> Record | None:
    """Return a JSON object as a record of its kind; None if it lacks what its kind needs."""
    kind = (values or {}).get("kind")
    try:
        return _KINDS.get(kind, Record).model_validate(values) if isinstance(kind, str) else None
    except (ValidationError, RecursionError):
        return None


def is_well_formed(values: Mapping[str, Any]) -> bool:
    """Whether a JSON object has what a record of its kind needs."""
    return record_of(values) is not None
