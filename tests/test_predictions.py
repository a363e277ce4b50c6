"""What trials predicted is kept beside their rows, whatever befalls a run, and is what the rows were made from."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

import bench
from bench.errors import StoreError
from bench.launch.merge import merge
from bench.ledger.file import LEDGER, Ledger, encode, read_records
from bench.ledger.predictions import PREDICTIONS, KeptPredictions, prediction_tables, save_predictions
from bench.suite import Plan, load_suite
from bench.tasks.build import build_task

SUITE = {
    "name": "skewed",
    "backbones": [{"backbone": "cnn", "channels": [4, 4], "name": "cnn"}],
    "strategies": ["zero-shot", "fine-tune"],
    "target_sizes": [20],
    "seeds": 2,
    "image_size": 8,
    "measures": [],
    "tasks": {"source": {"task": "printed-digits", "n": 200, "n_test": 50}},
    "pairs": [{"target": "digits", "source": "source"}],
    "recipe": {"steps": 4, "learning_rates": [0.1], "checkpoints": 1},
    "source_recipe": {"steps": 5},
}


def run(out, suite=SUITE, **options):
    return bench.run(suite, out, **{"jobs": 0, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder)


def everything(folder):
    """Predicted labels and rounded log probabilities of every trial."""
    kept = KeptPredictions(folder)
    found = {key: kept.read(key) for key in bench.load_results(folder)["key"]}
    return {key: (part.predicted.tolist(), part.log_probabilities.tolist()) for key, part in found.items()}


def test_the_rows_are_what_was_predicted(whole):
    folder, rows = whole
    table = pd.concat(prediction_tables(KeptPredictions(folder), rows))
    suite = load_suite(SUITE)
    task = build_task(Plan(suite).tasks["digits"], suite.root())
    assert len(table) == len(rows) * len(task.y_test)
    one = table[table["key"] == rows["key"].iloc[0]]
    assert one["example"].tolist() == list(range(len(task.y_test)))
    assert one["label"].tolist() == [task.classes[y] for y in task.y_test]
    by_trial = table.groupby("key")
    rows = rows.set_index("key")
    right = (table["label"] == table["predicted"]).groupby(table["key"]).mean()
    assert (right[rows.index].astype(np.float32) == rows["test_accuracy"].astype(np.float32)).all()
    assert (by_trial["predicted"].nunique()[rows.index] == rows["classes_predicted"]).all()
    columns = [f"p_{name}" for name in task.classes]
    assert list(table.columns[-len(columns) :]) == columns
    assert table[columns].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-3)
    own = np.take_along_axis(table[columns].to_numpy(float), table["label"].astype(int).to_numpy()[:, None], 1)
    losses = pd.Series(-np.log(own[:, 0])).groupby(table["key"].to_numpy()).mean()
    assert losses[rows.index].to_numpy() == pytest.approx(rows["test_loss"].to_numpy(), rel=1e-3)


def test_a_constant_prediction_is_judged_by_the_class_that_training_shows_most(tmp_path):
    """70 % "a" in training, 40 % in the test set: always "a" scores 0.4, and nothing in training says "b"."""
    x, y, y_test = np.zeros((20, 3), np.float32), np.repeat([0, 1], [14, 6]), np.repeat([0, 1], [4, 6])
    x[:, 0] = y
    np.savez(tmp_path / "skew.npz", x=x, y=y, x_test=np.zeros((10, 3), np.float32), y_test=y_test)
    suite = {**SUITE, "tasks": {"mine": {"npz": str(tmp_path / "skew.npz")}}, "image_size": None, "target_sizes": [10]}
    suite |= {"backbones": [{"backbone": "mlp", "widths": [4]}], "strategies": ["fine-tune"]}
    rows = run(tmp_path / "out", suite | {"pairs": [{"target": "mine", "source": "mine"}]})
    assert (rows["majority_accuracy"] == 0.4).all()
    assert (rows["classes_predicted"] == 1).all()  # the test set shows one input alone
    (card,) = [record["card"] for record in read_records(tmp_path / "out") if record["kind"] == "task"]
    assert (card["class_counts"], card["test_counts"]) == ([14, 6], [4, 6])


def test_processes_and_merged_shards_keep_the_same(whole, tmp_path):
    expected = everything(whole[0])
    run(tmp_path / "processes", jobs=1)
    assert everything(tmp_path / "processes") == expected
    shards = [tmp_path / "1", tmp_path / "2"]
    for number, shard in enumerate(shards, 1):
        run(shard, shard=f"{number}/2")
    merge(tmp_path / "merged", shards[::-1])
    assert everything(tmp_path / "merged") == expected
    # The same trials, some of which ran beside others: their files differ, and what they hold agrees.
    run(tmp_path / "part", where=["seed=1"])
    merge(tmp_path / "merged", [tmp_path / "part", whole[0]])
    assert everything(tmp_path / "merged") == expected


def test_a_record_never_names_a_file_that_is_not_there(whole, tmp_path, monkeypatch):
    """The run ends between a unit's files and its records: they are made again, and nothing is missing."""
    append = Ledger.append

    def full(ledger, *records):
        if any(record["kind"] == "trial" for record in records) and len(list(read_records(tmp_path))) > 4:
            raise StoreError("No space left on device")
        append(ledger, *records)

    monkeypatch.setattr(Ledger, "append", full)
    with pytest.raises(StoreError):
        run(tmp_path)
    monkeypatch.undo()
    named = {record["predictions"] for record in read_records(tmp_path) if record["kind"] == "trial"}
    files = {path.stem for path in (tmp_path / PREDICTIONS).iterdir()}
    assert named < files
    run(tmp_path)
    assert everything(tmp_path) == everything(whole[0])


def test_they_are_not_kept_where_the_suite_says_so_and_keys_are_the_same(whole, tmp_path, capfd):
    rows = run(tmp_path, {**SUITE, "predictions": False}, seeds=[0])
    assert set(rows["key"]) < set(whole[1]["key"])
    assert not any((tmp_path / PREDICTIONS).iterdir())
    code, _, said = export(capfd, tmp_path)
    assert code == 2
    assert "predictions = false" in said
    run(tmp_path)
    code, out, said = export(capfd, tmp_path)
    assert code == 0
    assert f"{len(rows)} of {len(whole[1])} finished trials kept no predictions" in said
    table = pd.read_parquet(out[-1])
    assert set(table["key"]) == set(whole[1]["key"]) - set(rows["key"])
    assert merge(tmp_path / "merged", [tmp_path, whole[0]]).known > 0  # whether they are kept makes no other suite


def test_much_room_is_announced(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.launch.driver.MUCH", 1000)
    notes = _Notes()
    run(tmp_path, progress=notes, seeds=[0])
    (said,) = [text for text in notes.said if "predictions of every test example" in text]
    assert str(tmp_path / PREDICTIONS) in said
    assert "predictions = false" in said


def export(capfd, folder, *options):
    from bench.cli import main

    capfd.readouterr()
    with pytest.raises(SystemExit) as done:
        main(["export", str(folder), "--out", str(folder / "out"), "--predictions", *options])
    out, err = capfd.readouterr()
    return done.value.code, out.splitlines(), err


def test_they_are_exported_as_either_kind_of_file(whole, tmp_path, capfd):
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    code, out, _ = export(capfd, tmp_path)
    assert (code, out[-1]) == (0, str(tmp_path / "out" / "predictions-digits.parquet"))
    code, out, _ = export(capfd, tmp_path, "--format", "csv")
    assert (code, out[-1]) == (0, str(tmp_path / "out" / "predictions-digits.csv"))
    parquet = pd.read_parquet(tmp_path / "out" / "predictions-digits.parquet")
    csv = pd.read_csv(out[-1], dtype={"label": str, "predicted": str})
    assert list(csv.columns) == list(parquet.columns)
    assert (csv["predicted"] == parquet["predicted"]).all()
    assert csv["p_3"].to_numpy() == pytest.approx(parquet["p_3"].to_numpy(), rel=1e-4)
    assert set(csv["source"].fillna("scratch")) == {"scratch", "source"}
    assert [path.name for path in (tmp_path / "out").glob("*.part")] == []


@pytest.mark.parametrize("harm", ["gone", "cut short", "another's"])
def test_a_file_that_is_gone_damaged_or_anothers_is_said_with_its_trial(whole, tmp_path, capfd, harm):
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    first, *_, other = (tmp_path / PREDICTIONS).iterdir()
    if harm == "gone":
        first.unlink()
    elif harm == "cut short":
        first.write_bytes(first.read_bytes()[:-100])
    else:
        shutil.copy(other, first)
    code, _, said = export(capfd, tmp_path)
    keys = [record["key"] for record in read_records(tmp_path) if record.get("predictions") == first.stem]
    assert code == 2
    assert any(f"trial {key}: the file of its predictions, {first}, is " in said for key in keys)
    assert "run the trial again" in said


def test_a_record_of_other_predictions_or_of_a_path_is_refused(whole, tmp_path):
    records = list(read_records(whole[0]))
    trial = next(record for record in records if record["kind"] == "trial")
    wrong = np.full(trial["row"]["n_test"], 0), np.zeros((trial["row"]["n_test"], 2), np.float16)
    labels = np.arange(trial["row"]["n_test"]) % 2
    (tmp_path / PREDICTIONS).mkdir()
    name = save_predictions(tmp_path / PREDICTIONS, {trial["key"]: wrong}, labels, ["a", "b"])
    (tmp_path / LEDGER).write_bytes(encode({**trial, "predictions": name}))
    with pytest.raises(StoreError, match=f"trial {trial['key']}.*other examples are right"):
        KeptPredictions(tmp_path).read(trial["key"])
    (tmp_path / LEDGER).write_bytes(encode({**trial, "predictions": "../../elsewhere"}))
    assert list(read_records(tmp_path)) == []


def test_what_is_rounded_alike_was_not_predicted_alike(tmp_path):
    """Two probabilities that are one in float16: the label is the one that was the larger, as the row counts it."""
    logs = np.log(np.array([[0.49999, 0.50001]])).astype(np.float16)
    assert logs[0, 0] == logs[0, 1]
    name = save_predictions(tmp_path, {"k": (np.array([1]), logs)}, np.array([1]), ["a", "b"])
    with np.load(tmp_path / f"{name}.npz", allow_pickle=False) as kept:
        assert kept["k.predicted"].tolist() == [1]
    again = save_predictions(tmp_path, {"k": (np.array([1]), logs)}, np.array([1]), ["a", "b"])
    assert again == name  # equal content, equal name
    assert [path.stem for path in tmp_path.iterdir()] == [name]


def test_ledgers_of_before_are_read_resumed_and_merged(whole, tmp_path):
    """An earlier version counted no test examples of each class, and said neither column: all of it goes on."""
    old = tmp_path / "old"
    old.mkdir()
    for record in read_records(whole[0]):
        for later in ("majority_accuracy", "classes_predicted"):
            record.get("row", {}).pop(later, None)
        record.get("card", {}).pop("test_counts", None)
        record.get("config", {}).pop("predictions", None)
        record.pop("predictions", None)
        with (old / LEDGER).open("ab") as file:
            file.write(encode(record))
    shutil.copytree(whole[0] / "sources", old / "sources")
    rows = bench.load_results(old)
    assert rows["majority_accuracy"].isna().all()
    assert len(bench.negative_transfer(rows)) == len(bench.negative_transfer(whole[1]))
    notes = _Notes()
    again = run(old, progress=notes)
    assert set(again["key"]) == set(rows["key"])
    assert not [text for text in notes.said if "are not those of the stored rows" in text]
    assert merge(tmp_path / "merged", [old, whole[0]]).known > 0


class _Notes:
    def __init__(self):
        self.said = []

    def stage(self, name, total):
        pass

    def advance(self, record):
        pass

    def note(self, text):
        self.said.append(text)
