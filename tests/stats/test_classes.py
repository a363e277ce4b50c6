import numpy as np
import pandas as pd
import pytest
from scipy import stats
from trial_rows import frame, scratch, transfer

from bench.stats.classes import per_class_gap

N = 5
RNG = np.random.default_rng(6)
SCORES = {arm: RNG.random((N, 3)) for arm in "st"}  # seed x class
ROWS = frame(scratch([0.8] * N), transfer([0.6] * N)).assign(key=[f"{arm}{i}" for arm in "st" for i in range(N)])


def values(**changes):
    rows = [
        {"key": f"{arm}{i}", "metric": "balanced-accuracy", "class": name, "value": SCORES[arm][i, k]}
        for arm in "st"
        for i in range(N)
        for k, name in enumerate(("zero", "one", "two"))
    ]
    return pd.DataFrame(rows).assign(**changes)


def test_each_class_has_its_own_gap():
    table = per_class_gap(ROWS, values())
    assert table["class"].tolist() == ["zero", "one", "two"]
    for k, row in enumerate(table.itertuples()):
        one, two = SCORES["s"][:, k], SCORES["t"][:, k]
        test = stats.ttest_rel(one, two)
        assert (row.scratch_value, row.transfer_value) == pytest.approx((one.mean(), two.mean()))
        assert (row.ntg, row.p_value) == pytest.approx(((one - two).mean(), test.pvalue))
        assert (row.ntg_low, row.ntg_high) == pytest.approx(tuple(test.confidence_interval()))
    assert table["p_holm"].min() == pytest.approx(min(1, 3 * table["p_value"].min()))


def test_metrics_are_families_of_their_own_and_undefined_values_are_left_out():
    other = values(metric="macro-f1")
    other.loc[other["key"] == "s0", "value"] = np.nan
    table = per_class_gap(ROWS, pd.concat([values(), other]))
    assert table.groupby("class_metric")["n_seeds"].unique().map(list).to_dict() == {
        "balanced-accuracy": [N], "macro-f1": [N - 1]
    }  # fmt: skip
    alone = per_class_gap(ROWS, values())
    assert table[table["class_metric"] == "balanced-accuracy"]["p_holm"].tolist() == alone["p_holm"].tolist()


def test_without_values_of_both_sides_there_is_no_gap():
    assert not len(per_class_gap(ROWS, values()[lambda table: table["key"].str.startswith("t")]))
    assert not len(per_class_gap(frame(scratch([0.5] * 2)).assign(key=["a", "b"]), values()))
