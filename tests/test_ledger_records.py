"""Records of a ledger: each kind has a class, and what lacks its form is none."""

from __future__ import annotations

import pytest

from bench.ledger.records import RunRecord, SimilarityRecord, SourceRecord, TrialRecord, is_well_formed, record_of

ROW = {"status": "ok", "seconds": 1, "seed": 2**62, "test_loss": 0.5, "source": None, "target": "digits"}
TRIAL = {"kind": "trial", "key": "a", "schema": 2, "row": ROW}
SOURCE = {
    "kind": "source", "key": "a", "status": "failed", "source": "noise", "backbone": "cnn", "weighting": "uniform",
    "source_seed": 0, "seconds": 1.5, "error": "diverged", "traceback": "here",
}  # fmt: skip
SIMILARITY = {
    "kind": "similarity", "key": "a", "source": "noise", "target": "digits", "backbone": "cnn",
    "weighting": "uniform", "source_seed": 0, "values": {"leep": -1.5, "mmd": None}, "near": {"leep": "high"},
}  # fmt: skip


def row(**values):
    return {**TRIAL, "row": {**ROW, **values}}


def test_a_trial_is_read_as_it_stands():
    trial = record_of({**TRIAL, "detail": {"curve": [[1, 0.5, None]], "correct": "AA==", "more": 3}, "later": [1]})
    assert isinstance(trial, TrialRecord)
    assert (trial.ok, trial.seconds, trial.error, trial.traceback, trial.version) == (True, 1, None, None, 2)
    assert trial.row == ROW
    assert {name: type(value) for name, value in trial.row.items()} == {n: type(v) for n, v in ROW.items()}
    assert (trial.detail.curve, trial.detail.correct, trial.detail.by_class) == ([[1, 0.5, None]], "AA==", None)


def test_what_failed_says_why_whatever_it_is():
    trial = record_of({**row(status="failed", error="diverged"), "detail": {"traceback": "here"}})
    source = record_of(SOURCE)
    similarity = record_of({**SIMILARITY, "error": "diverged", "traceback": "here"})
    assert [type(record) for record in (trial, source, similarity)] == [TrialRecord, SourceRecord, SimilarityRecord]
    for record in (trial, source, similarity):
        assert (record.ok, record.error, record.traceback) == (False, "diverged", "here")
    assert record_of(SIMILARITY).ok


def test_a_run_keeps_all_that_it_says():
    said = {"kind": "run", "suite": "s", "versions": {"torch": "2"}, "commit": None}
    run = record_of(said)
    assert isinstance(run, RunRecord)
    assert run.to_json() == said


@pytest.mark.parametrize(
    "values",
    [
        {"kind": 3}, {"kind": []}, {}, None, {"kind": "trial"}, {**TRIAL, "key": "a\n"}, {**TRIAL, "key": ".a"},
        {**TRIAL, "key": "a" * 101}, {**TRIAL, "key": 1}, {**TRIAL, "schema": True}, {**TRIAL, "row": None},
        {**TRIAL, "detail": None}, {**TRIAL, "detail": {"curve": 3}}, {**TRIAL, "detail": {"correct": 3}},
        {**TRIAL, "detail": {"by_class": {"f1": ["x"]}}}, {**TRIAL, "predictions": "../a"}, row(status="done"),
        row(seconds=-1), row(seconds="1"), row(seconds=True), row(seconds=1e10), row(seconds=float("inf")),
        row(seed=2**63), row(seed=10**400), row(seed=True), row(test_loss=float("inf")), row(target=["digits"]),
        {**SOURCE, "source_seed": 1.0}, {**SOURCE, "meta": []}, {**SOURCE, "error": 3}, {**SOURCE, "source": None},
        {**SIMILARITY, "values": {"leep": "x"}}, {**SIMILARITY, "near": {"leep": "far"}},
        {**SIMILARITY, "versions": {"leep": 1.5}}, {"kind": "run", "suite": 3}, {"kind": "run"},
        {"kind": "run", "suite": "s", "layout": "tpu"}, {"kind": "model", "key": "a", "content": "/b", "name": "m"},
    ],
    ids=str,
)  # fmt: skip
def test_what_lacks_the_form_of_its_kind_is_no_record(values):
    assert record_of(values) is None


def test_kinds_of_later_versions_need_nothing_but_a_name():
    assert is_well_formed({"kind": "of another version", "key": 3})
