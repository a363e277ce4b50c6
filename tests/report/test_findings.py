import re

import numpy as np
import pandas as pd
import pytest
from synthetic_suite import DISTANCE, synthetic_rows

from bench.report.findings import findings
from bench.schema import COMPARISON, conform, empty
from bench.stats.gap import negative_transfer


@pytest.fixture(scope="module")
def comparisons():
    return negative_transfer(synthetic_rows())


def test_there_are_five_sentences_and_they_end(comparisons):
    said = findings(comparisons)
    assert len(said) == 5
    assert all(sentence.endswith(".") and "nan" not in sentence for sentence in said)


def test_shares_are_those_of_the_frame(comparisons):
    first = findings(comparisons)[0]
    counts = comparisons["verdict"].value_counts()
    total = len(comparisons)
    assert f"Of {total} comparisons (9 sources, 14 strategies and depths, 2 target sizes; 5 seeds each)" in first
    for verdict in ("negative", "positive"):
        assert f"{counts[verdict]} ({counts[verdict] / total:.0%})" in first
    found = [int(n) for n in re.findall(r"(\d+) \(\d+%\)", first)]
    assert sum(found) == total


def test_extremes_are_those_of_the_frame_with_their_intervals(comparisons):
    second = findings(comparisons)[1]
    worst = comparisons.loc[comparisons["ntg"].idxmax()]
    best = comparisons.loc[comparisons["ntg"].idxmin()]
    for row in (worst, best):
        assert f"{row['source']} -> digits" in second
        low, high = 100 * row["ntg_low"], 100 * row["ntg_high"]
        assert f"{100 * row['ntg']:+.1f} points [{low:+.1f}, {high:+.1f}], {row['verdict']}" in second
    assert second.index(worst["source"]) < second.index("the largest gain")


def test_where_there_are_several_weightings_extremes_name_theirs(comparisons):
    other = comparisons.assign(weighting="l2rw", ntg=comparisons["ntg"] - 1)
    second = findings(pd.concat([comparisons, other], ignore_index=True))[1]
    harm, gain = second.split("; the largest gain ")
    assert " under uniform weights with " in harm
    assert " under l2rw weights with " in gain
    assert "weights" not in findings(comparisons)[1]


def test_best_and_worst_strategy_are_means_over_the_same_places(comparisons):
    third = findings(comparisons)[2]
    by = comparisons.groupby(["strategy", "transfer_depth", "frozen_depth"])["ntg"].mean()
    name, _, _ = by.idxmin()
    assert f"safest is {name}" in third
    assert f"mean gap {100 * by.min():+.1f} points" in third
    assert f"mean gap {100 * by.max():+.1f} points" in third
    assert "of 18 comparisons" in third


def test_a_strategy_that_only_near_sources_have_is_not_called_safest(comparisons):
    only_near = ~((comparisons["strategy"] == "zero-shot") & (comparisons["frechet_distance"] > 5))
    third = findings(comparisons[only_near].assign(ntg=lambda t: t["ntg"].where(t["strategy"] != "zero-shot", -0.9)))[2]
    assert "zero-shot" not in third
    assert "1 strategy or depth left out, not run on every pair" in third


def test_depth_is_told_for_the_far_half(comparisons):
    fourth = findings(comparisons)[3]
    far = comparisons[comparisons["source"].isin(list(DISTANCE)[5:]) & (comparisons["strategy"] == "layer-transfer")]
    mean = far.groupby("transfer_depth")["ntg"].mean()
    assert fourth.startswith("For the 4 pairs that are surely far by Fréchet distance, ")
    tuned = comparisons[comparisons["source"].isin(list(DISTANCE)[5:]) & (comparisons["strategy"] == "fine-tune")]
    spread = {"layer-transfer": np.ptp(mean), "fine-tune": np.ptp(tuned.groupby("frozen_depth")["ntg"].mean())}
    assert f"depth matters most in {max(spread, key=spread.get)}: best at f=0" in fourth
    assert "worst at f=3" in fourth
    assert "worse in 8 of 8 comparisons" in fourth


def wider(comparisons, by):
    """The same distances, known less well."""
    value = comparisons["frechet_distance"]
    return comparisons.assign(frechet_distance_low=value - by, frechet_distance_high=value + by)


def test_what_intervals_do_not_tell_apart_is_called_neither_near_nor_far(comparisons):
    some = findings(wider(comparisons, 12))  # patches, the last of the nearer half, reaches those that follow
    assert some[3].startswith("For the 2 pairs that are surely far by Fréchet distance, ")
    none = findings(wider(comparisons, 90))
    assert none[3].startswith("For all 9 pairs (none is surely far by Fréchet distance, whose intervals overlap), ")
    assert none[4].endswith("the same for all 9 pairs to digits, as far as intervals tell.")


def test_distances_without_intervals_order_nothing(comparisons):
    bare = comparisons.drop(columns=["frechet_distance_low", "frechet_distance_high"])
    said = findings(bare)
    assert "was measured without intervals, which leaves open which is far" in said[3]
    assert "whether farther sources harm more is left open" in said[4]
    assert "Kendall" not in " ".join(said)


def test_size_and_distance_are_those_of_the_frame(comparisons):
    fifth = findings(comparisons)[4]
    mean = 100 * comparisons.groupby("target_size")["ntg"].mean()
    assert f"From 20 to 100 target examples the mean gap goes from {mean[20]:+.1f} to {mean[100]:+.1f} points" in fifth
    # Of 50,000 random orders none is as clear as this one, either way round.
    assert f"farther sources harm more (Kendall tau = +1.00, p = {2 / 50001:.2g}, 9 pairs to digits" in fifth


def test_a_score_that_is_high_for_near_sources_is_read_the_right_way(comparisons):
    ends = {"leep_low": -comparisons["frechet_distance_high"], "leep_high": -comparisons["frechet_distance_low"]}
    scored = comparisons.assign(leep=-comparisons["frechet_distance"], **ends, frechet_distance=None)
    assert "by LEEP, farther sources harm more (Kendall tau = +1.00" in findings(conform(scored, COMPARISON))[4]


def test_no_relation_is_said_plainly(comparisons):
    places = dict(zip(DISTANCE, [5, 1, 8, 3, 9, 2, 7, 4, 6], strict=True))
    mixed = wider(comparisons.assign(frechet_distance=comparisons["source"].map(places).astype(float)), 0.4)
    assert "by Fréchet distance, no clear relation" in findings(mixed)[4]


def test_few_pairs_are_not_correlated():
    few = negative_transfer(synthetic_rows(sources=tuple(DISTANCE)[:3], sizes=(20,)))
    assert findings(few)[-1] == "3 pairs to digits are too few to relate the gap to Fréchet distance."


def test_one_seed_is_said_to_decide_nothing():
    said = findings(negative_transfer(synthetic_rows(seeds=1)))
    assert "One seed allows no verdict" in said[0]
    assert "one seed, no interval" in said[1]


def test_no_harm_is_not_called_harm():
    near = negative_transfer(synthetic_rows(sources=("printed-digits",), points=(("fine-tune", 4, 0),), sizes=(20,)))
    assert "No mean gap is above zero" in findings(near)[1]


def test_nothing_to_say():
    assert findings(empty(COMPARISON)) == ["No comparison has a result yet."]


def test_order_of_the_comparisons_decides_nothing(comparisons):
    shuffled = comparisons.sample(frac=1, random_state=1)
    shuffled.attrs = comparisons.attrs
    assert findings(shuffled) == findings(comparisons)


def test_targets_are_told_apart():
    both = pd.concat([synthetic_rows(seeds=2), synthetic_rows(seeds=2, sources=("noise",), target="letters")])
    said = findings(negative_transfer(both))
    assert "9 pairs to digits" in said[4]
