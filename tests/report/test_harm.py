"""How often transfer harms, as the page of a report says it."""

from __future__ import annotations

import pandas as pd
from synthetic_suite import synthetic_rows

from bench.report.harm import harm_table
from bench.schema import COMPARISON, empty
from bench.stats.gap import negative_transfer

ROWS = synthetic_rows(seeds=4, points=[("fine-tune", 4, 0), ("fine-tune", 4, 3), ("feature-extraction", 4, 4)])


def minus(text):
    return text.replace("\N{MINUS SIGN}", "-")


def test_every_strategy_depth_and_size_has_its_share_and_its_worst_pair():
    comparisons = negative_transfer(ROWS)
    table = harm_table(comparisons)
    names = [("feature-extraction", 20), ("feature-extraction", 100), ("fine-tune f=0", 20), ("fine-tune f=0", 100)]
    assert [(row[0], int(row[1])) for row in table["rows"]][:4] == names
    assert len(table["rows"]) == 6
    row = dict(zip(table["columns"], next(r for r in table["rows"] if r[:2] == ["fine-tune f=3", "20"]), strict=True))
    part = comparisons.query("frozen_depth == 3 and target_size == 20")
    worst, negative = part.loc[part["ntg"].idxmax()], int((part["verdict"] == "negative").sum())
    assert (row["pairs"], row["negative"]) == (str(len(part)), str(negative))
    assert row["share"].startswith(f"{100 * negative / len(part):.0f} % [")
    assert minus(row["mean gap"]) == f"{100 * part['ntg'].mean():+.1f}"
    assert row["worst pair"] == f"{worst['source']} \N{RIGHTWARDS ARROW} digits"
    ends = f"[{100 * worst['ntg_low']:+.1f}, {100 * worst['ntg_high']:+.1f}]"
    assert minus(row["its gap"]) == f"{100 * worst['ntg']:+.1f} {ends}, {worst['verdict']}"
    assert "Wilson's 95 % interval" in table["reading"]
    assert "Wilson's 80 % interval" in harm_table(negative_transfer(ROWS, alpha=0.2))["reading"]


def test_weightings_are_counted_apart_and_one_seed_has_no_interval():
    one = ROWS[ROWS["seed"] == 0]
    both = pd.concat([one, one[one["source"].notna()].assign(weighting="learned")], ignore_index=True)
    table = harm_table(negative_transfer(both))
    assert table["columns"][:3] == ["strategy", "weighting", "labels"]
    assert {row[1] for row in table["rows"]} == {"learned", "uniform"}
    assert {row[3] for row in table["rows"]} == {"9"}
    assert not any("[" in row[-1] for row in table["rows"])


def test_depths_that_were_chosen_by_seed_have_their_row():
    chosen = (
        negative_transfer(ROWS).query("strategy == 'feature-extraction'").assign(transfer_depth=None, frozen_depth=None)
    )
    assert [row[0] for row in harm_table(chosen)["rows"]] == ["feature-extraction"] * 2


def test_fewer_than_two_pairs_have_no_share():
    assert harm_table(empty(COMPARISON)) is None
    assert harm_table(negative_transfer(ROWS[ROWS["source"].isna() | (ROWS["source"] == "noise")])) is None
