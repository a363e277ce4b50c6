import numpy as np
import pytest
from trial_rows import frame, scratch, transfer

from bench.errors import BenchError, UnknownName
from bench.stats import paired
from bench.stats.family import MAP
from bench.stats.gap import negative_transfer, options_of

RNG = np.random.default_rng(4)
A = [0.80, 0.82, 0.78, 0.81, 0.79, 0.80, 0.83, 0.77, 0.80, 0.81]
GAPS = {"a": 0.04, "b": 0.02, "c": 0.0, "d": -0.01}


def rows(n=10, sizes=(20,)):
    parts = []
    for size in sizes:
        parts.append(scratch(A[:n], target_size=size))
        for source, gap in GAPS.items():
            for f in (0, 2):
                values = np.array(A[:n]) - gap - RNG.normal(0, 0.02, n)
                parts.append(transfer(values, source=source, target_size=size, frozen_depth=f))
    return frame(*parts)


ROWS = rows()


def holm(p):
    order, corrected, running = np.argsort(p), np.empty(len(p)), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = running
    return corrected


def test_named_contrasts_are_a_family_of_their_own():
    contrasts = {"a harms": {"source": "a", "frozen_depth": 0}, "far ones": {"source": ["c", "d"], "frozen_depth": 2}}
    table = negative_transfer(ROWS, contrasts=contrasts, correction="fdr_bh")
    named = table[table["contrast"].notna()]
    assert dict(named.groupby("contrast").size()) == {"a harms": 1, "far ones": 2}
    assert named["correction"].unique().tolist() == ["holm"]
    assert named["p_holm"].to_numpy() == pytest.approx(holm(named["p_value"].to_numpy()))
    others = table[table["contrast"].isna()]
    assert others["correction"].unique().tolist() == ["fdr_bh"]
    p = others["p_value"].to_numpy()
    ranked = np.sort(p) * len(p) / np.arange(1, len(p) + 1)
    assert np.sort(others["p_holm"]) == pytest.approx(np.minimum(1, np.minimum.accumulate(ranked[::-1])[::-1]))
    assert options_of(table)["correction"] == "fdr_bh"


def test_contrasts_cross_targets_and_sizes_but_no_suites():
    both = rows(sizes=(20, 50))
    contrasts = {"a": {"source": "a", "frozen_depth": 0}}
    table = negative_transfer(both, contrasts=contrasts)
    named = table[table["contrast"] == "a"]
    assert named["target_size"].tolist() == [20, 50]
    assert named["p_holm"].to_numpy() == pytest.approx(holm(named["p_value"].to_numpy()))


def test_a_contrast_that_nothing_fits_is_said():
    table = negative_transfer(ROWS, contrasts={"x": {"source": "zebra", "strategy": "fine-tune"}})
    assert table["contrast"].isna().all()
    assert 'The contrast "x" (source = zebra, strategy = fine-tune) fits no comparison.' in table.attrs["warnings"]


@pytest.mark.parametrize(
    ("contrasts", "error", "message"),
    [
        ({"x": {"sorce": "a"}}, UnknownName, 'unknown column in contrast "x" "sorce"; did you mean "source"'),
        ({"x": {}}, BenchError, 'contrast "x" must be a table'),
        ({"x": "a"}, BenchError, 'contrast "x" must be a table'),
        ({"x": {"source": {"a": 1}}}, BenchError, "source must be a value or a list"),
    ],
)
def test_contrasts_that_cannot_be_read_are_refused(contrasts, error, message):
    with pytest.raises(error, match=message):
        negative_transfer(ROWS, contrasts=contrasts)


def test_a_map_is_one_family():
    table = negative_transfer(ROWS, correction="fdr_bh", family=MAP)
    for _, part in table.groupby("source"):
        p = np.sort(part["p_value"])
        expected = [min(1.0, 2 * p[0], p[1]), p[1]]
        assert np.sort(part["p_holm"]) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "expected"), [(5, "t"), (7, "t"), (8, "t"), (9, "sign-flip"), (10, "sign-flip")])
def test_auto_flips_signs_where_that_can_decide_a_family_of_eight(n, expected):
    # 2 / 2^9 * 8 = 0.03, 2 / 2^8 * 8 = 0.06
    table = negative_transfer(rows(n), test="auto")
    assert len(table) == 8
    assert table["test"].unique().tolist() == [expected]
    alone = negative_transfer(rows(n), test=expected)
    assert alone["n_seeds"].unique().tolist() == [n]


def test_auto_takes_the_p_values_of_the_test_it_names():
    few = {"one": {"source": "a", "frozen_depth": 0}}
    table = negative_transfer(rows(7), test="auto", contrasts=few)
    assert table.loc[table["contrast"].notna(), "test"].tolist() == ["sign-flip"]
    assert table.loc[table["contrast"].isna(), "test"].unique().tolist() == ["t"]
    part = ROWS[(ROWS["source"] == "a") & (ROWS["frozen_depth"] == 0)].sort_values("seed")
    d = (np.array(A) - part["test_accuracy"].to_numpy())[:, None]
    row = negative_transfer(ROWS, test="auto").query("source == 'a' and frozen_depth == 0").iloc[0]
    assert row["p_value"] == paired.sign_flip_test(d)[0]
    assert row["p_equivalence"] == paired.sign_flip_equivalence(d, 0.01)[0]
