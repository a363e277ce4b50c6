"""Shards: a division that follows from the suite, and one folder of many again."""

from __future__ import annotations

import itertools
import shutil

import pytest

import bench
from bench.errors import BenchError, StoreError
from bench.launch.driver import Silent
from bench.launch.merge import merge
from bench.launch.shards import Part, Shard
from bench.ledger.file import LEDGER, encode, read_records
from bench.schema import SCORES
from bench.suite.packing import pack_trials

SUITE = {
    "name": "divided",
    "backbones": [{"backbone": "cnn", "channels": [4, 4], "norm": "batch", "name": "cnn"}],
    "strategies": ["zero-shot", "feature-extraction", "fine-tune"],
    "target_sizes": [20, 40],
    "seeds": 3,
    "image_size": 8,
    "lanes": 2,
    "measures": ["leep"],
    "weighting": ["uniform", "loss"],
    "tasks": {"source": {"task": "printed-digits", "n": 200, "n_test": 50, "label_noise": 0.3}},
    "pairs": [{"target": "digits", "sources": ["source", "noise"]}],
    "recipe": {"steps": 4, "learning_rates": [0.1], "checkpoints": 2},
    "source_recipe": {"steps": 5},
}
TIMINGS = ["seconds", "source_seconds"]


def same(a, b):
    return a.drop(columns=TIMINGS).equals(b.drop(columns=TIMINGS))


def run(out, **options):
    bench.run(SUITE, out, jobs=0, **options)
    return bench.load_results(out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    rows = run(folder)
    assert (rows.status == "ok").all()
    return folder, rows


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    paths = [folder / f"{index}-of-3" for index in (1, 2, 3)]
    for index, path in enumerate(paths, 1):
        run(path, shard=f"{index}/3")
    return paths


@pytest.mark.parametrize("n", [1, 2, 3, 7, 60])
def test_every_trial_is_in_one_shard_and_no_group_is_divided(whole, n):
    plan = bench.plan(SUITE, whole[0])
    parts = [Shard(index, n).keys(plan) for index in range(1, n + 1)]
    every = [trial.key for trial in plan.trials()]
    assert sorted(itertools.chain(*parts)) == sorted(every)
    of = {key: index for index, part in enumerate(parts) for key in part}
    for group in pack_trials(plan, plan.trials()):
        assert len({of[trial.key] for trial in group.members}) == 1
    again = bench.plan(SUITE, whole[0])
    assert Shard(n, n).keys(again) == parts[-1]
    if n <= 3:
        assert max(map(len, parts)) <= 1.5 * len(every) / n  # of about equal size
    assert [t.key for t in Part(plan).trials()] == every


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "1/2/3", "-1/2", ""])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(BenchError, match="write i/n, such as 2/8"):
        Shard.parse(text)


def test_shards_merged_in_any_order_are_the_whole_run(whole, shards, tmp_path):
    folder, rows = whole
    assert sum(len(bench.load_results(path)) for path in shards) == len(rows)
    ledgers = set()
    for number, order in enumerate(itertools.permutations(shards)):
        out = tmp_path / str(number)
        merged = merge(out, order)
        assert merged.notes == []
        assert same(bench.load_results(out), rows)
        ledgers.add((out / LEDGER).read_bytes())
        for kind in ("sources", "weights"):
            of_whole = {path.name: path.read_bytes() for path in (folder / kind).iterdir()}
            assert {path.name: path.read_bytes() for path in (out / kind).iterdir()} == of_whole
    assert len(ledgers) == 1
    before = (out / LEDGER).read_bytes()
    assert merge(out, shards).added == 0
    assert (out / LEDGER).read_bytes() == before
    trained = _Stages()
    assert same(run(out, progress=trained), rows)
    assert trained.names == ["reading data"]


class _Stages(Silent):
    def __init__(self):
        self.names = []

    def stage(self, name, total):
        self.names.append(name)


def test_shards_are_merged_as_they_finish_and_what_is_missing_is_said(whole, shards, tmp_path):
    first = merge(tmp_path, [shards[2]])
    assert first.notes == ["not among them: shard 1/3, 2/3"]
    assert merge(tmp_path, [shards[0]]).notes == ["not among them: shard 2/3"]
    assert same(run(tmp_path), whole[1])  # one machine finishes what others did not begin
    assert merge(tmp_path, [shards[0]]).notes == []  # and nothing is missing now
    assert merge(tmp_path, shards).notes == []
    assert same(bench.load_results(tmp_path), whole[1])


def test_a_shard_that_was_cut_short_goes_on_with_its_own_trials_alone(shards, tmp_path):
    lines = (shards[0] / LEDGER).read_bytes().splitlines(keepends=True)
    (tmp_path / LEDGER).write_bytes(b"".join(lines[: len(lines) * 2 // 3]) + lines[-1][:30])
    assert same(run(tmp_path, shard="1/3"), bench.load_results(shards[0]))


def changed(folder, to, change):
    """Copy a run folder, each record changed."""
    shutil.copytree(folder, to)
    records = list(read_records(folder))
    (to / LEDGER).write_bytes(b"".join(encode(change(record) or record) for record in records))
    return to


def test_results_that_disagree_are_refused_with_both_places(whole, shards, tmp_path):
    def other(record):
        if record["kind"] == "trial" and record["row"]["strategy"] == "fine-tune":
            record["row"]["test_accuracy"] += 0.001

    wrong = changed(whole[0], tmp_path / "wrong", other)
    said = r"disagree on the trial \w+: row\.test_accuracy .* One of them must be wrong"
    with pytest.raises(StoreError, match=said) as e:
        merge(tmp_path / "out", [*shards, wrong])
    assert str(wrong) in str(e.value)
    assert any(str(shard) in str(e.value) for shard in shards)
    assert not (tmp_path / "out").exists()

    def later(record):
        for values in (record, record.get("row", {})):
            for name in TIMINGS:
                if values.get(name):
                    values[name] += 1.0

    timed = changed(whole[0], tmp_path / "timed", later)
    assert same(merge_rows(tmp_path / "out", [timed, *shards]), whole[1])


def test_a_folder_of_before_there_were_metrics_is_merged(whole, shards, tmp_path):
    def older(record):
        if record["kind"] == "trial":
            record["row"] = {name: value for name, value in record["row"].items() if name not in SCORES}
            record["detail"].pop("by_class", None)
        elif record["kind"] == "run":
            record["config"].pop("metric")

    old = changed(shards[0], tmp_path / "old", older)
    rows = merge_rows(tmp_path / "out", [old, *shards[1:]])
    beside = [name for name in SCORES if name.startswith("test_") and name != "test_score"]
    assert same(rows.drop(columns=beside), whole[1].drop(columns=beside))
    merge(tmp_path / "out", shards)  # nor do the two disagree


def merge_rows(out, shards):
    merge(out, shards)
    return bench.load_results(out)


def test_weights_that_disagree_are_refused(whole, shards, tmp_path):
    wrong = changed(whole[0], tmp_path / "wrong", lambda record: None)
    path = next((wrong / "weights").iterdir())
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(StoreError, match=f"{path.name}.*disagree"):
        merge(tmp_path / "out", [*shards, wrong])


def test_a_result_stands_against_a_failure(whole, shards, tmp_path):
    def fail(record):
        if record["kind"] == "trial":
            record["row"] |= {"status": "failed", "error": "planted"}

    failed = changed(whole[0], tmp_path / "failed", fail)
    assert same(merge_rows(tmp_path / "out", [failed, *shards]), whole[1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run: run["config"].update(seeds=[0, 1]), r"seeds = \[0, 1, 2\]; \[0, 1\]"),
        (lambda run: run["config"]["recipe"].update(steps=5), "recipe = "),
        (lambda run: run.update(layout="cuda"), 'layout = "cpu"; "cuda"'),
        (lambda run: run.update(suite="another"), "divided; another|another; divided"),
    ],
)
def test_other_suites_and_layouts_are_refused(shards, tmp_path, change, said):
    other = changed(shards[1], tmp_path / "other", lambda record: change(record) if record["kind"] == "run" else None)
    with pytest.raises(StoreError, match=f"hold runs of different suites: .*({said})"):
        merge(tmp_path / "out", [shards[0], other])


def test_what_cannot_be_merged(shards, tmp_path):
    from bench.ledger.lock import hold

    with pytest.raises(StoreError, match="holds no ledger"):
        merge(tmp_path / "out", [tmp_path])
    with pytest.raises(StoreError, match="at least one"):
        merge(tmp_path / "out", [])
    with hold(shards[0]), pytest.raises(StoreError, match="a run is writing to"):
        merge(tmp_path / "out", shards)
