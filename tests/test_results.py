"""The table of a ledger: the short way of reading must give what reading every line in full gives."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import DataError
from bench.ledger.file import LEDGER, encode, read_records
from bench.ledger.records import record_of
from bench.ledger.results import load_results
from bench.ledger.rows import CHUNK, Row, Rows, read_row
from bench.ledger.stored import read_stored
from bench.schema import TRIAL, conform
from bench.scores import with_scores
from bench.trial import SCHEMA_VERSION

PLACE = [
    "suite", "source", "target", "backbone", "strategy", "transfer_depth", "frozen_depth", "weighting",
    "target_size", "seed",
]  # fmt: skip
MODEL = ["source", "target", "backbone", "weighting", "source_seed"]
ORDER = ["suite", "target", "backbone", "source", "weighting", "target_size", "strategy", "transfer_depth",
         "frozen_depth", "seed"]  # fmt: skip

number = st.floats(allow_nan=False, allow_infinity=False)
few = st.integers(0, 2)
# Text that looks like the structure of a line, and text that JSON must escape.
awkward = st.sampled_from(["plain", 'a "status":"ok" in quotes', '","detail":{', "é\u2028\\", '"seconds":1}'])


@st.composite
def trials(draw):
    source = draw(st.sampled_from([None, "near", "far"]))
    ok = draw(st.booleans())
    row = {
        "suite": draw(st.sampled_from(["one", "two"])), "source": source, "target": "digits", "backbone": "cnn",
        "strategy": "fine-tune", "transfer_depth": 2, "frozen_depth": draw(st.integers(0, 1)),
        "weighting": "uniform" if source else None,
        "target_size": 20, "seed": draw(st.sampled_from([0, 2**63 - 1])), "source_seed": draw(few) if source else None,
        "validation": "cut 0.2", "context": draw(st.sampled_from(["old", "new"])),
        "key": draw(st.sampled_from("abcdef")), "status": "ok" if ok else "failed",
    }  # fmt: skip
    if ok:
        row |= {"test_accuracy": draw(number), "steps": draw(few), "learning_rate": draw(st.sampled_from([1, 0.05]))}
    else:
        row |= {"error": draw(awkward)}
    row["seconds"] = draw(st.floats(0, 1e9))
    detail = {"curve": [[0.1, 5, 1.0, 1.0, 1.0]], "correct": "gA=="} if ok else {"traceback": draw(awkward)}
    schema = draw(st.sampled_from([SCHEMA_VERSION] * 5 + [SCHEMA_VERSION - 1]))
    record = {"kind": "trial", "key": row["key"], "schema": schema, "row": row, "detail": detail}
    # A ledger from elsewhere may order its names otherwise.
    return dict(sorted(record.items())) if draw(st.integers(0, 4)) == 0 else record


@st.composite
def similarities(draw):
    values = draw(st.dictionaries(st.sampled_from(["leep", "proxy_a_distance", "mine"]), number))
    source = draw(st.sampled_from(["near", "far"]))
    return {
        "kind": "similarity", "key": "k", "source": source, "target": "digits", "backbone": "cnn",
        "weighting": "uniform", "source_seed": draw(few), "values": values,
    }  # fmt: skip


def in_full(records: list[dict]) -> tuple[pd.DataFrame, int]:
    """Build the table the plain way; return it and how many rows of an earlier context it leaves out."""
    rows, values, latest = {}, {}, {}
    good = {r["key"] for r in records if r.get("schema") == SCHEMA_VERSION and r["row"]["status"] == "ok"}
    for record in records:
        if record["kind"] == "trial" and record["row"]["status"] != "ok" and record["key"] in good:
            continue
        if record["kind"] == "similarity":
            values[tuple(record[name] for name in MODEL)] = record["values"]
        elif record["schema"] == SCHEMA_VERSION:
            row = dict(record["row"])
            row["traceback"] = record["key"] if record["detail"].get("traceback") else None
            latest[row["suite"]] = row["context"]
            rows[tuple(row[name] for name in PLACE)] = row
    kept = [row for row in rows.values() if row["context"] == latest[row["suite"]]]
    for row in kept:
        row |= values.get(tuple(row[name] for name in MODEL), {})
    frame = with_scores(conform(kept, TRIAL)).sort_values(ORDER, kind="stable", na_position="first", ignore_index=True)
    return frame, len(rows) - len(kept)


@settings(max_examples=60, deadline=None)
@given(st.lists(trials() | similarities(), max_size=30))
def test_the_short_way_gives_what_the_long_way_gives(tmp_path_factory, records):
    folder = tmp_path_factory.mktemp("run")
    (folder / LEDGER).write_bytes(b"".join(map(encode, records)))
    found = load_results(folder)
    wanted, stale = in_full(records)
    if "mine" not in wanted.columns and "mine" in found.columns:
        assert found.pop("mine").isna().all()  # measured for sources of which no row is there
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)
    assert any(f"{stale} rows of an earlier" in line for line in found.attrs["warnings"]) == (stale > 0)
    old = sum(r.get("schema", SCHEMA_VERSION) != SCHEMA_VERSION for r in records)
    assert any(f"{old} rows of schema version" in line for line in found.attrs["warnings"]) == (old > 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(trials(), max_size=30))
def test_resuming_knows_what_reading_in_full_knows(tmp_path_factory, records):
    folder = tmp_path_factory.mktemp("run")
    (folder / LEDGER).write_bytes(b"".join(map(encode, records)))
    stored = read_stored(folder)
    done, failed = {}, {}
    for record in read_records(folder):
        key, seconds = record["key"], record["row"]["seconds"]
        if record["row"]["status"] == "ok":
            done[key] = seconds
            failed.pop(key, None)
        elif key not in done:
            failed[key] = seconds
    assert (stored.done, stored.failed) == (done, failed)


def line(**changes) -> bytes:
    row = {"suite": "s", "source": None, "target": "t", "backbone": "b", "strategy": "scratch", "transfer_depth": 0,
           "frozen_depth": 0, "weighting": None, "target_size": 20, "seed": 0, "context": "c", "key": "k",
           "status": "ok"} | changes  # fmt: skip
    return encode({"kind": "trial", "key": "k", "schema": SCHEMA_VERSION, "row": row, "detail": {}})


def test_a_column_that_the_schema_lacks_is_kept(tmp_path):
    (tmp_path / LEDGER).write_bytes(line(seed=0) + line(seed=1, mine=3))
    rows = load_results(tmp_path)
    assert rows["mine"].isna().tolist() == [True, False]
    assert rows["seed"].tolist() == [0, 1]
    assert rows.columns[-1] == "mine"


def test_a_value_that_does_not_fit_is_named(tmp_path):
    (tmp_path / LEDGER).write_bytes(line(seed=0) + line(seed="many"))
    with pytest.raises(DataError, match=r'column "seed".*many.*whole number'):
        load_results(tmp_path)


def test_the_short_way_is_taken():
    record = json.loads(b"{" + line()[18:])
    assert isinstance(read_row(line()[18:].rstrip()), Row)
    new = {"kind": "new", "key": "x"}
    assert read_row(json.dumps(new).encode()[1:]) == record_of(new)
    assert json.loads(read_row(line()[18:].rstrip()).text) == record["row"]


def test_rows_of_several_chunks_come_in_order():
    rows, text = Rows(), read_row(line()[18:].rstrip()).text
    for index in range(CHUNK + 3):
        rows.add(Row(text.replace(b'"seed":0', b'"seed":%d' % index), index == CHUNK))
    frame = rows.frame()
    assert frame["seed"].tolist() == list(range(CHUNK + 3))
    assert frame.index[frame["traceback"].notna()].tolist() == [CHUNK]
