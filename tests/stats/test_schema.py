import numpy as np
import pandas as pd
import pytest

from bench.errors import DataError
from bench.schema import COMPARISON, TRIAL, conform, empty, similarity_columns


@pytest.mark.parametrize("columns", [TRIAL, COMPARISON])
def test_an_empty_table_has_every_column_with_its_type(columns):
    table = empty(columns)
    assert list(table.columns) == [column.name for column in columns]
    assert [str(dtype) for dtype in table.dtypes] == [column.dtype for column in columns]
    assert len(table) == 0
    assert all(column.meaning for column in columns)


def test_records_with_gaps_get_the_types_of_the_schema():
    table = conform([{"source": None, "seed": 1, "steps": None, "test_accuracy": 0.5}, {"source": "", "seed": 2}])
    assert table.dtypes[: len(TRIAL)].equals(empty().dtypes)
    assert table["source"].isna().all()
    assert table["seed"].tolist() == [1, 2]
    assert table["steps"].isna().all()
    assert table["test_accuracy"].tolist()[0] == 0.5
    assert np.isnan(table["test_accuracy"].tolist()[1])


def test_csv_and_parquet_come_back_as_they_were(tmp_path):
    rows = [{"source": None, "seed": 0, "test_accuracy": 0.1, "key": "00"}, {"source": "a", "seed": 1, "key": "1e5"}]
    table = conform(rows)
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(conform(pd.read_csv(tmp_path / "t.csv", dtype={"key": str})), table)
    pd.testing.assert_frame_equal(conform(pd.read_parquet(tmp_path / "t.parquet")), table)


def test_a_value_that_does_not_fit_is_named_with_its_place():
    with pytest.raises(DataError, match=r'column "seed", row 1: 1\.5 is not a whole number'):
        conform([{"seed": 1}, {"seed": 1.5}])
    with pytest.raises(DataError, match=r'column "test_accuracy", row 0: \'high\' is not a number'):
        conform([{"test_accuracy": "high"}])


def test_a_measure_of_ones_own_is_kept_and_found():
    table = conform([{"seed": 1, "hausdorff": 2}, {"seed": 2, "hausdorff": None}, {"seed": 3}])
    assert str(table["hausdorff"].dtype) == "float64"
    assert similarity_columns(table) == ["proxy_a_distance", "frechet_distance", "leep", "hausdorff"]


def test_notes_and_chosen_depths_are_no_measures():
    table = conform([{"seed": 1, "remark": "x", "chosen_frozen_depth": 2, "flag": True}])
    assert similarity_columns(table) == ["proxy_a_distance", "frechet_distance", "leep"]


def test_conform_keeps_the_attributes_and_leaves_its_argument_alone():
    given = pd.DataFrame({"seed": [1, 2]}, index=[5, 6])
    given.attrs["warnings"] = ["w"]
    table = conform(given)
    assert table.attrs == {"warnings": ["w"]}
    assert table.index.tolist() == [0, 1]
    assert list(given.columns) == ["seed"]
    assert given.index.tolist() == [5, 6]
