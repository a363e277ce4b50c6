import numpy as np
import pytest
from scipy import stats
from trial_rows import frame, scratch, transfer

from bench.errors import DataError
from bench.stats.classes import per_class_gap

N, M = 5, 30
RNG = np.random.default_rng(6)
TRUTH = np.arange(M) % 3
RIGHT = {arm: RNG.random((N, M)) < p for arm, p in (("s", 0.8), ("t", 0.6))}
KEYS = {arm: [f"{arm}{i}" for i in range(N)] for arm in RIGHT}
CORRECT = {key: row for arm in RIGHT for key, row in zip(KEYS[arm], RIGHT[arm], strict=True)}
ROWS = frame(scratch(RIGHT["s"].mean(axis=1)), transfer(RIGHT["t"].mean(axis=1))).assign(key=[*KEYS["s"], *KEYS["t"]])


def test_each_class_has_its_own_gap():
    table = per_class_gap(ROWS, CORRECT, {"t": TRUTH}, {"t": ["zero", "one", "two"]})
    assert table["class"].tolist() == ["zero", "one", "two"]
    assert table["n_examples"].tolist() == [10, 10, 10]
    for row in table.itertuples():
        recalls = []
        for arm in ("s", "t"):
            of_class = [[RIGHT[arm][i][j] for j in range(M) if TRUTH[j] == row.label] for i in range(N)]
            recalls.append([sum(answers) / len(answers) for answers in of_class])
        assert row.ntg == pytest.approx(np.mean(recalls[0]) - np.mean(recalls[1]))
        test = stats.ttest_rel(*recalls)
        assert row.p_value == pytest.approx(test.pvalue)
        assert (row.ntg_low, row.ntg_high) == pytest.approx(tuple(test.confidence_interval()))
    assert table["p_holm"].min() == pytest.approx(min(1, 3 * table["p_value"].min()))


def test_classes_weighted_by_their_size_give_the_gap():
    table = per_class_gap(ROWS, CORRECT, {"t": TRUTH})
    total = (table["ntg"] * table["n_examples"]).sum() / M
    assert total == pytest.approx(RIGHT["s"].mean() - RIGHT["t"].mean())


def test_labels_that_are_missing_or_of_another_length_are_named():
    with pytest.raises(DataError, match='no labels were given for the target "t"'):
        per_class_gap(ROWS, CORRECT, {"u": TRUTH})
    with pytest.raises(DataError, match="t has 29 test labels, but trials have 30 answers"):
        per_class_gap(ROWS, CORRECT, {"t": TRUTH[1:]})
    with pytest.raises(DataError, match="a run's ledger keeps it"):
        per_class_gap(ROWS, {}, {"t": TRUTH})
