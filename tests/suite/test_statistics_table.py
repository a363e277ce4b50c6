"""What a suite may say of how its comparisons are judged, down to the contrasts that it names."""

import pytest

from bench.errors import SuiteError
from bench.stats.gap import negative_transfer
from bench.suite import load_suite

BASE = {"target_sizes": [20], "pairs": [{"target": "digits", "sources": ["noise"]}]}
CONTRAST = {"noise harms": {"source": "noise", "transfer_depth": [1, 2]}}


def test_what_a_suite_says_is_what_judges(tmp_path):
    said = {"test": "auto", "correction": "fdr_bh", "family": ["source", "target_size"], "contrasts": CONTRAST}
    options = load_suite(BASE | {"statistics": said}).statistics.model_dump()
    from bench.schema import empty

    table = negative_transfer(empty(), **options)
    assert table.attrs["test"] == "auto"
    assert table.attrs["family"] == ["source", "target_size"]
    assert (
        'The contrast "noise harms" (source = noise, transfer_depth = (1, 2)) fits no comparison.'
        in (table.attrs["warnings"])
    )


def test_a_suite_that_says_nothing_is_judged_as_ever():
    options = load_suite(BASE).statistics.model_dump()
    assert options == {
        "margin": 0.01, "alpha": 0.05, "test": "t", "correction": "holm", "family": ("target", "target_size"),
        "contrasts": {}, "interval": "t",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        ({"contrasts": {"x": {"sorce": "noise"}}}, "sorce"),
        ({"contrasts": {"x": {}}}, "must say which comparisons it means"),
        ({"contrasts": {"x": {"transfer_depth": "deep"}}}, "transfer_depth"),
        ({"family": ["seed"]}, "family"),
        ({"test": "z"}, "test"),
    ],
)
def test_mistakes_are_found_before_anything_runs(statistics, message):
    with pytest.raises(SuiteError, match=message):
        load_suite(BASE | {"statistics": statistics})
