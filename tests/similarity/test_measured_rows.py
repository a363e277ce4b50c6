"""Measured similarity in a run's rows: whose it is, which end is near, and of which version."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
import torch

import bench
from bench.backbones.base import build
from bench.launch.data import read_data
from bench.ledger.file import decode, encode
from bench.ledger.results import PARQUET
from bench.ledger.stored import read_stored
from bench.report.grid import near_to_far
from bench.report.write import write_report
from bench.schema import _DECLARED, near_is_low
from bench.stats.gap import negative_transfer
from bench.suite import Suite
from bench.suite.plan import EVERYTHING

PLUGIN = """
import bench

@bench.measure("sameness", near="high", version={version})
def sameness(view):
    '''How few of the inputs' means differ: 1 less their distance.'''
    return 1 - abs(float(view.source.x.mean() - view.target.x.mean()))
"""


def suite(**parts):
    return {
        "name": "near", "backbones": [{"backbone": "mlp", "widths": [8, 8]}], "seeds": 2, "target_sizes": [40],
        "strategies": ["feature-extraction"], "recipe": {"steps": 5, "learning_rates": [0.1], "checkpoints": 1},
        "source_recipe": {"steps": 5, "learning_rates": [0.1], "checkpoints": 1},
        "tasks": {
            "target": {"task": "moons", "seed": 1}, "one": {"task": "moons", "rotation": 20},
            "two": {"task": "moons", "rotation": 20}, "far": {"task": "moons", "translation": 3.0},
        },
        "pairs": [{"target": "target", "sources": ["one", "two", "far"]}],
    } | parts  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("near")
    plugin = folder / "mine.py"
    plugin.write_text(PLUGIN.format(version=1))
    given = folder / "given.pt"
    torch.save(build("mlp", (2,), 2, 0, 0, widths=[8, 8]).state_dict(), given)
    asked = suite(
        plugins=[str(plugin)], measures=["frechet-distance", "leep", "sameness"],
        models={"given": {"state_dict": str(given), "classes": ["upper", "lower"]}},
        pairs=[{"target": "target", "sources": ["one", "two", "far", "given"]}],
    )  # fmt: skip
    bench.run(asked, folder / "run", jobs=0)
    return folder / "run", asked


def by_source(folder):
    rows = bench.load_results(folder)
    return rows.dropna(subset="source").drop_duplicates("source").set_index("source")


def test_two_sources_with_one_content_both_have_their_values(ran):
    rows = by_source(ran[0])
    columns = ["frechet_distance", "frechet_distance_low", "frechet_distance_high", "leep", "sameness"]
    assert rows.loc["one", columns].notna().all()
    pd.testing.assert_series_equal(rows.loc["one", columns], rows.loc["two", columns], check_names=False)


def test_names_of_one_content_are_not_taken_for_changed_data(ran, tmp_path):
    said = []
    loaded = Suite.model_validate(suite())
    read_data(loaded, read_stored(ran[0]), tmp_path, "cpu", EVERYTHING, said.append, lambda: None)
    assert not any("stored rows" in note for note in said)


def test_every_value_has_an_interval_that_holds_it(ran):
    rows = by_source(ran[0]).loc[["one", "far"]]
    for name in ("frechet_distance", "leep", "sameness"):
        assert (rows[f"{name}_low"] <= rows[name]).all()
        assert (rows[name] <= rows[f"{name}_high"]).all()


def test_a_handed_in_model_gets_what_can_be_measured_and_what_breaks_is_said(ran):
    given = by_source(ran[0]).loc["given"]
    assert given["leep_low"] <= given["leep"] <= given["leep_high"]
    assert pd.isna(given["frechet_distance"])
    records = map(decode, (ran[0] / "ledger.jsonl").read_bytes().splitlines())
    similarity = [r for r in records if r["kind"] == "similarity" and r["source"] == "given"]
    assert 'measure "sameness": AttributeError' in similarity[0]["error"]


def test_the_end_that_is_near_is_known_from_the_rows_alone(ran, tmp_path):
    _DECLARED.pop("sameness", None)
    rows = bench.load_results(ran[0])
    assert not near_is_low("sameness")
    comparisons = negative_transfer(rows)
    measure, sources = near_to_far(comparisons, "sameness")
    values = [source.distance for source in sources if source.distance is not None]
    assert measure == "sameness"
    assert values == sorted(values, reverse=True)
    assert sources[0].low <= sources[0].distance <= sources[0].high
    assert sources[2].name == "far"
    write_report(rows, tmp_path)
    _DECLARED.pop("sameness", None)
    bench.load_results(tmp_path / PARQUET)
    assert not near_is_low("sameness")


def test_a_new_version_is_measured_again_and_old_values_are_not_mixed_in(tmp_path):
    asked, run = suite(measures=["frechet-distance"]), tmp_path / "run"
    new = bench.run(asked, run, jobs=0)
    # The folder as an earlier version left it: similarity without version or interval, under another key.
    ledger = run / "ledger.jsonl"
    records = [decode(line) for line in ledger.read_bytes().splitlines()]
    before = [dict(r, key=f"old{i}", values={"frechet_distance": 7.0}) for i, r in enumerate(records)
              if r["kind"] == "similarity"]  # fmt: skip
    for record in before:
        del record["versions"], record["near"]
    others = [r for r in records if r["kind"] != "similarity"]
    ledger.write_bytes(b"".join(map(encode, others + before)))
    assert set(by_source(run)["frechet_distance"]) == {7.0}
    # Interrupted after the first was measured again: the old ones cannot stand beside it.
    first = next(r for r in records if r["kind"] == "similarity")
    ledger.write_bytes(b"".join(map(encode, [*others, *before, first])))
    rows = bench.load_results(run)
    known = rows[rows["frechet_distance"].notna()]
    assert {(r.source, r.source_seed) for r in known.itertuples()} == {(first["source"], first["source_seed"])}
    assert any("by an earlier version of the measure are left out" in w for w in rows.attrs["warnings"])
    shutil.rmtree(run / "sources")  # what it takes to measure again is made again
    again = bench.run(asked, run, jobs=0)
    pd.testing.assert_series_equal(again["frechet_distance"], new["frechet_distance"])
    pd.testing.assert_series_equal(again["frechet_distance_high"], new["frechet_distance_high"])
    assert not again.attrs["warnings"]
