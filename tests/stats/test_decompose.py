import numpy as np
import pytest
from scipy import stats
from trial_rows import frame, scratch, transfer

from bench.errors import DataError
from bench.stats.decompose import decomposition
from bench.stats.gap import negative_transfer

RNG = np.random.default_rng(2)
BASE = 0.8 + RNG.normal(0, 0.02, 6)
LEVEL = {"AnB": -0.06, "AnB+": 0.03, "BnB": -0.02, "BnB+": 0.01}


def arm(name, depth):
    values = BASE + LEVEL[name] * depth + RNG.normal(0, 0.005, 6)
    tuned = name.endswith("+")
    strategy = {"strategy": "layer-transfer-tuned" if tuned else "layer-transfer"}
    depths = {"transfer_depth": depth, "frozen_depth": 0 if tuned else depth}
    return transfer(values, source="A" if name[0] == "A" else "B2", **strategy, **depths)


ROWS = frame(scratch(BASE), *(arm(name, depth) for name in LEVEL for depth in (1, 2)))


def values(name, depth):
    source, frozen = ("A" if name[0] == "A" else "B2"), (0 if name.endswith("+") else depth)
    here = (ROWS["source"] == source) & (ROWS["transfer_depth"] == depth) & (ROWS["frozen_depth"] == frozen)
    return ROWS[here].sort_values("seed")["test_accuracy"].to_numpy()


@pytest.mark.parametrize("depth", [1, 2])
def test_each_component_is_its_paired_difference(depth):
    table = decomposition(ROWS, "A", "B2").query("depth == @depth").set_index("component")
    expected = {
        "co-adaptation": (BASE, values("BnB", depth)),
        "specificity": (values("BnB", depth), values("AnB", depth)),
        "lingering benefit": (values("AnB+", depth), BASE),
        "lingering benefit over BnB+": (values("AnB+", depth), values("BnB+", depth)),
    }
    for component, (more, less) in expected.items():
        row, test = table.loc[component], stats.ttest_rel(more, less)
        low, high = test.confidence_interval()
        assert row["value"] == pytest.approx(np.mean(more - less))
        assert (row["low"], row["high"]) == pytest.approx((low, high))
        assert row["p_value"] == pytest.approx(test.pvalue)
        assert row["n_seeds"] == 6


def test_co_adaptation_and_specificity_add_up_to_the_gap():
    table = decomposition(ROWS, "A", "B2")
    gaps = negative_transfer(ROWS).query("source == 'A' and strategy == 'layer-transfer'")
    both = table[table["component"].isin(["co-adaptation", "specificity"])].groupby("depth")["value"].sum()
    assert both.tolist() == pytest.approx(gaps.sort_values("transfer_depth")["ntg"].tolist())


def test_p_values_are_corrected_over_the_components_and_depths_of_a_setting():
    table = decomposition(ROWS, "A", "B2")
    assert len(table) == 8
    assert table["p_holm"].min() == pytest.approx(8 * table["p_value"].min())


def test_points_have_other_names_in_other_suites_but_paths_are_not_points():
    renamed = ROWS.assign(strategy=ROWS["strategy"].str.replace(r"layer-transfer(-tuned)?", "triangle", regex=True))
    assert decomposition(renamed, "A", "B2")["value"].tolist() == decomposition(ROWS, "A", "B2")["value"].tolist()
    path = frame(*[transfer(BASE, source=s, strategy="gradual-unfreezing") for s in ("A", "B2")], scratch(BASE))
    with pytest.raises(DataError, match="no depth has what is needed"):
        decomposition(path, "A", "B2")


def test_a_missing_source_is_named():
    with pytest.raises(DataError, match='no trial has the control "B22"; did you mean "B2"'):
        decomposition(ROWS, "A", "B22")
    alone = ROWS[(ROWS["source"] != "A") | (ROWS["transfer_depth"] == 0)]
    with pytest.raises(DataError, match='no trial has the source "A"'):
        decomposition(alone, "A", "B2")


def test_depths_that_an_arm_lacks_are_left_out():
    part = ROWS[~((ROWS["source"] == "B2") & (ROWS["transfer_depth"] == 2))]
    table = decomposition(part, "A", "B2")
    assert table[table["depth"] == 2]["component"].tolist() == ["lingering benefit"]
