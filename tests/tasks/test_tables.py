"""Tables as they come: no header, columns by number, text, gaps."""

import numpy as np
import pandas as pd
import pytest

from bench.errors import BenchError, DataError
from bench.registry import TASKS


def make(root, path, **arguments):
    return TASKS.get("table").function(root, path=str(path), **arguments)


def write(path, text):
    path.write_text(text)
    return path.name


def rows(n=40):
    return "".join(f"{k / 7:.4f},{k % 5},{1 + k % 3:.1e}\n" for k in range(n))


def test_a_csv_without_a_header(tmp_path):
    name = write(tmp_path / "a.csv", rows())
    for label in (-1, 2, "2"):
        task = make(tmp_path, name, header=False, label=label, standardise=False)
        assert task.classes == ("1", "2", "3")
        assert task.shape == (2,)
        assert len(task.y) + len(task.y_test) == 40
    assert make(tmp_path, name, header=False, label=-1, drop=0).shape == (1,)
    assert make(tmp_path, name, header=False, label=-1, drop=[-2]).shape == (1,)


def test_mistakes_about_columns_say_what_there_is(tmp_path):
    name = write(tmp_path / "a.csv", rows())
    with pytest.raises(DataError, match="3 of 3 column names are numbers: where the first line is a row, say header"):
        make(tmp_path, name)
    with pytest.raises(DataError, match=r"no column 3; its 3 columns are 0 to 2, or -1 to -3"):
        make(tmp_path, name, header=False, label=3)
    with pytest.raises(DataError, match=r"no column -4 to drop"):
        make(tmp_path, name, header=False, label=-1, drop=-4)
    with pytest.raises(DataError, match=r'no column "site"; columns: 0, 1, 2$'):
        make(tmp_path, name, header=False, label=-1, group="site")
    with pytest.raises(DataError, match="header must be true or false"):
        make(tmp_path, name, header="no", label=-1)
    with pytest.raises(DataError, match="must be different columns, got 2, 2"):
        make(tmp_path, name, header=False, label=-1, group=2)
    pd.DataFrame({"a": range(20), "label": [0, 1] * 10}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="header = false is for CSV"):
        make(tmp_path, "a.parquet", header=False)
    repeated = write(tmp_path / "b.csv", "1,1,0\n" * 10)
    with pytest.raises(DataError, match=r'the column "1" appears more than once.*say header = false'):
        make(tmp_path, repeated)


def test_text_is_named_as_text(tmp_path):
    data = pd.DataFrame({"words": [f"the word {k}" for k in range(60)], "a": range(60), "label": [0, 1] * 30})
    data.to_csv(tmp_path / "a.csv", index=False)
    said = r'"words" is text \(60 different values.*drop = \["words"\].*no tasks on text itself yet'
    with pytest.raises(DataError, match=said):
        make(tmp_path, "a.csv")
    assert make(tmp_path, "a.csv", drop="words").shape == (1,)
    data.assign(words=["?", *map(str, range(59))]).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match=r'"words" is text: it holds numbers and "\?"; where that stands for a gap'):
        make(tmp_path, "a.csv")


def with_gaps():
    """The test rows, known by their part, hold values that no training row has."""
    data = pd.DataFrame({"a": np.arange(40.0), "b": 1.0, "kind": ["x", "y"] * 20, "label": [0, 1, 1, 0] * 10})
    data["part"] = ["train"] * 30 + ["test"] * 10
    data.loc[30:, "a"] = 1000.0
    data.loc[[3, 4, 35], "a"] = np.nan
    data.loc[[3, 7, 36], "kind"] = None
    return data


def test_missing_values_are_an_error_dropped_or_filled(tmp_path):
    data = with_gaps()
    data.to_csv(tmp_path / "a.csv", index=False)
    options = {"split": "part", "one_hot": True, "standardise": False}
    with pytest.raises(DataError, match=r'"a" has 3 missing values, the first in row 4; missing = "drop"'):
        make(tmp_path, "a.csv", **options)
    dropped = make(tmp_path, "a.csv", missing="drop", **options)
    assert (len(dropped.y), len(dropped.y_test)) == (27, 8)
    assert dropped.notes == ('missing values: 5 of 40 rows of a.csv left out (missing = "drop")',)
    filled = make(tmp_path, "a.csv", missing="fill", **options)
    assert (len(filled.y), len(filled.y_test), filled.shape) == (30, 10, (5,))
    median = data["a"][:30].median()
    assert filled.x[[3, 4], 0].tolist() == [median] * 2
    assert filled.x_test[5, 0] == median
    assert filled.x[:, 2:].sum(1).tolist() == [1] * 30  # gaps in words are a category of their own
    assert filled.x[[3, 7], 2].tolist() == [1, 1]
    note = "missing values: 3 filled with the train pool's median of their column (a 3)"
    assert filled.notes == (note, "missing values: 3 given a category of their own (kind 3)")
    with pytest.raises(BenchError, match=r'missing of table "fil"; did you mean "fill"'):
        make(tmp_path, "a.csv", missing="fil")


def test_what_fills_gaps_has_not_seen_the_test_set_that_the_protocol_cuts(tmp_path):
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"a": rng.normal(size=50), "id": np.arange(50.0), "label": np.arange(50) % 2})
    data.to_csv(tmp_path / "whole.csv", index=False)
    test = make(tmp_path, "whole.csv", standardise=False).x_test[:, 1].astype(int)
    pool = np.setdiff1d(np.arange(50), test)
    data.loc[test, "a"] += 1000
    data.loc[[pool[0], test[0]], "a"] = np.nan
    data.to_csv(tmp_path / "a.csv", index=False)
    task = make(tmp_path, "a.csv", missing="fill", standardise=False)
    assert np.array_equal(task.x_test[:, 1].astype(int), test)
    expected = data["a"][pool].median()
    assert task.x[0, 0] == task.x_test[0, 0] == expected
    assert [note.partition(":")[0] for note in task.notes] == ["test set", "missing values"]


def test_a_gap_in_the_label_and_a_column_of_gaps(tmp_path):
    data = with_gaps().drop(columns=["kind", "part"])
    data.assign(label=[None, *[0.0, 1.0, 1.0] * 13]).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match='"label" has 1 missing value,'):
        make(tmp_path, "a.csv", missing="fill")
    assert make(tmp_path, "a.csv", missing="drop").classes == ("0", "1")
    data.assign(b=np.nan).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match='"b" has no value in the train pool'):
        make(tmp_path, "a.csv", missing="fill")
    with pytest.raises(DataError, match="every row has a missing value"):
        make(tmp_path, "a.csv", missing="drop")
