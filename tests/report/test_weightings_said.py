"""What a run's report says of weightings."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_suite import synthetic_rows

from bench.report.weightings import sentences, share_tables, weighted
from bench.report.write import write_report
from bench.stats.won_back import won_back


@pytest.fixture(scope="module")
def rows():
    import pandas as pd

    plain = synthetic_rows(sources=("noise",), points=[("fine-tune", 4, 0)], sizes=(20,), seeds=6)
    plain = plain.assign(seconds=1.0, source_seconds=1.0)
    rng = np.random.default_rng(0)
    parts = [plain]
    for name, gain, cost, auroc in (("oracle", 0.2, 1.0, 1.0), ("learned", 0.1, 5.0, 0.93)):
        part = plain[plain["source"].notna()].assign(weighting=name, source_seconds=cost, weight_auroc=auroc)
        parts.append(part.assign(test_accuracy=part["test_accuracy"] + gain + rng.normal(0, 0.002, len(part))))
    return pd.concat(parts, ignore_index=True)


def test_a_sentence_says_what_a_weighting_found_won_and_cost(rows):
    (said,) = sentences(won_back(rows))
    assert said.startswith("learned finds planted harm with an AUROC of 0.93, is surely better")
    assert "in 1 of 1 comparisons, worse in 0" in said
    assert "wins back 50 % of what the oracle gains" in said
    assert said.endswith("and takes 3.0 x uniform's time.")


def test_a_run_with_weightings_says_so_in_its_folder_and_others_do_not(rows, tmp_path):
    write_report(rows, tmp_path / "weighted")
    page = (tmp_path / "weighted" / "report.md").read_text()
    assert "## Weighting the source's examples\n\n- learned finds" in page
    assert (tmp_path / "weighted" / "weightings.csv").read_text().startswith("suite,")
    plain = rows[rows["weighting"].isna() | (rows["weighting"] == "uniform")]
    assert weighted(plain) is None
    write_report(plain, tmp_path / "plain")
    assert not (tmp_path / "plain" / "weightings.csv").exists()
    assert "Weighting the source" not in (tmp_path / "plain" / "report.md").read_text()


def test_a_table_for_each_source_and_size_holds_shares_with_their_intervals(rows):
    found = won_back(rows)
    text = share_tables(found)
    row = found.iloc[0]
    assert "| noise -> digits, 20 labels" in text
    cell = f"{100 * row.share:.0f} % [{100 * row.share_low:.0f}, {100 * row.share_high:.0f}]"
    assert f"| learned | 0.93 [0.93, 0.93] | {cell} |" in text
    nothing = found.assign(share=np.nan, share_low=np.nan, share_high=np.nan)
    assert f"| (+{100 * row.won:.1f} [" in share_tables(nothing)
