import numpy as np
import pytest
from scipy import stats
from trial_rows import frame, scratch, transfer

from bench.errors import DataError
from bench.stats.advice import textbook

RNG = np.random.default_rng(3)
SEEDS = 8
ENDS = {"": 1.0, "_low": 0.8, "_high": 1.2}
ARMS = {
    "feature-extraction": (("feature-extraction", 4, 4),),
    "layer-transfer": (("layer-transfer", 1, 1), ("layer-transfer", 2, 2)),
    "fine-tune": (("fine-tune", 4, 0), ("fine-tune", 4, 1)),
}


def rows(gain, rng=RNG):
    """Rows of two sizes and two sources; `gain[size, source, arm]` over scratch."""
    parts = []
    for size in (20, 200):
        base = 0.7 + rng.normal(0, 0.01, SEEDS)
        parts.append(scratch(base, target_size=size))
        for distance, source in enumerate(("near", "far")):
            for arm, points in ARMS.items():
                for i, (strategy, n, f) in enumerate(points):
                    values = base + gain.get((size, source, arm), 0.0) + rng.normal(0, 0.002, SEEDS) - 0.003 * i
                    changes = {"strategy": strategy, "transfer_depth": n, "frozen_depth": f, "target_size": size}
                    near = {f"frechet_distance{end}": distance + at for end, at in ENDS.items()}
                    part = transfer(values, source=source, **near, **changes)
                    parts.append([row | {"val_accuracy": 0.5, "val_loss": 0.1 + i} for row in part])
    return frame(*parts)


def cell(table, size, source):
    return table[(table["target_size"] == size) & (table["source"] == source)].iloc[0]


GAIN = {
    (20, "near", "feature-extraction"): 0.1,
    (20, "far", "layer-transfer"): -0.1,
    (200, "near", "fine-tune"): 0.05,
    (200, "far", "feature-extraction"): -0.2,
}


def test_every_corner_gets_its_advice_and_its_outcome():
    table = textbook(rows(GAIN))
    assert len(table) == 4
    found = {(size, source): cell(table, size, source) for size in (20, 200) for source in ("near", "far")}
    assert {place: row["advised"] for place, row in found.items()} == {
        (20, "near"): "feature-extraction",
        (20, "far"): "layer-transfer",
        (200, "near"): "fine-tune everything",
        (200, "far"): found[200, "far"]["advised"],
    }
    assert found[200, "far"]["advised"] in ("fine-tune everything", "scratch")
    assert {place: row["outcome"] for place, row in found.items()} == {
        (20, "near"): "held", (20, "far"): "failed", (200, "near"): "held", (200, "far"): "held",
    }  # fmt: skip
    assert found[20, "near"]["winner"] == "feature-extraction"
    assert found[20, "near"]["win_share"] == 1.0
    assert found[20, "near"]["shortfall"] == 0.0
    assert found[20, "far"]["shortfall"] == pytest.approx(0.1, abs=0.01)


def test_a_cells_numbers_are_those_of_paired_seeds():
    given = rows(GAIN)
    row = cell(textbook(given), 20, "far")

    def values(strategy, f):
        part = given[(given["target_size"] == 20) & (given["strategy"] == strategy) & (given["frozen_depth"] == f)]
        part = part[part["source"].isna() | (part["source"] == "far")]
        return part.sort_values("seed")["test_accuracy"].to_numpy()

    # The validation losses choose the first depth of each strategy.
    arms = {
        "scratch": values("scratch", 0), "feature-extraction": values("feature-extraction", 4),
        "layer-transfer": values("layer-transfer", 1), "fine-tune": values("fine-tune", 0),
        "fine-tune everything": values("fine-tune", 0),
    }  # fmt: skip
    assert row["n_arms"] == 5
    best = max(arms, key=lambda arm: round(arms[arm].mean(), 12))
    assert row["winner_accuracy"] == pytest.approx(arms[best].mean())
    d = arms[row["winner"]] - arms["layer-transfer"]
    assert row["shortfall"] == pytest.approx(d.mean())
    low, high = stats.ttest_1samp(d, 0).confidence_interval()
    assert (row["shortfall_low"], row["shortfall_high"]) == pytest.approx((low, high))


def arms_of(given, size, source):
    """Accuracies by seed of the arms of a cell: validation losses choose the first depth of each strategy."""
    block = given[(given["target_size"] == size) & (given["source"].isna() | (given["source"] == source))]

    def values(strategy, f):
        part = block[(block["strategy"] == strategy) & (block["frozen_depth"] == f)]
        return part.sort_values("seed")["test_accuracy"].to_numpy()

    places = {"scratch": 0, "feature-extraction": 4, "layer-transfer": 1, "fine-tune": 0}
    arms = {strategy: values(strategy, f) for strategy, f in places.items()}
    return arms | {"fine-tune everything": arms["fine-tune"]}


def contested():
    """Rows of which some cells are clear, and others are not."""
    gain = {
        (20, "near", "layer-transfer"): 0.009, (200, "near", "feature-extraction"): 0.009,
        (20, "far", "fine-tune"): 0.009, (200, "far", "layer-transfer"): 0.004,
    }  # fmt: skip
    given = rows(gain, np.random.default_rng(8))
    return given.assign(test_accuracy=given["test_accuracy"] + np.random.default_rng(58).normal(0, 0.004, len(given)))


def test_outcomes_follow_from_holm_over_all_arms_and_from_one_sided_tests():
    given = contested()
    table = textbook(given)
    assert set(table["outcome"]) == {"failed", "held", "undecided"}
    raw, margin_p = {}, {}
    for row in table.itertuples():
        arms = arms_of(given, row.target_size, row.source)
        either = {"scratch", "fine-tune everything"} if (row.target_size, row.source) == (200, "far") else set()
        spared = {row.advised} | either
        ahead = {arm: values - arms[row.advised] for arm, values in arms.items() if arm not in spared}
        for arm, d in ahead.items():
            raw[row.Index, arm] = stats.ttest_1samp(d, 0).pvalue if d.mean() > 1e-12 else 1.0
        varied = [stats.ttest_1samp(d, 0.01, alternative="less").pvalue for d in ahead.values() if np.ptp(d) > 1e-9]
        margin_p[row.Index] = max(varied)
    running, least = 0.0, {}
    for k, ((cell_, _), p) in enumerate(sorted(raw.items(), key=lambda item: item[1])):
        running = max(running, min(1.0, (len(raw) - k) * p))
        least.setdefault(cell_, running)
    assert table["p_holm"].tolist() == pytest.approx([least[i] for i in table.index])
    expected = ["failed" if least[i] <= 0.05 else "held" if margin_p[i] <= 0.05 else "undecided" for i in table.index]
    assert table["outcome"].tolist() == expected


def test_leads_and_shares_of_wins_are_those_of_the_seeds():
    given, rng = contested(), np.random.default_rng(0)
    for row in textbook(given).itertuples():
        arms = arms_of(given, row.target_size, row.source)
        test = stats.ttest_rel(arms[row.winner], arms[row.runner_up])
        low, high = test.confidence_interval()
        lead = np.mean(arms[row.winner] - arms[row.runner_up])
        if row.winner != "fine-tune":  # which is the same as fine-tune everything here
            assert (row.lead, row.lead_low, row.lead_high) == pytest.approx((lead, low, high))
        drawn = rng.integers(0, SEEDS, (4000, SEEDS))
        means = np.array([values[drawn].mean(axis=1) for values in arms.values()])
        wins = (means[list(arms).index(row.winner)] >= means.max(axis=0) - 1e-12).mean()
        assert row.win_share == pytest.approx(wins, abs=0.03)


def test_noise_decides_nothing():
    noisy = rows({})
    noisy["test_accuracy"] += np.random.default_rng(8).normal(0, 0.1, len(noisy))
    assert set(textbook(noisy)["outcome"]) == {"undecided"}


def test_what_has_no_corners_is_refused():
    given = rows(GAIN)
    with pytest.raises(DataError, match="has 1 and 2"):
        textbook(given[given["target_size"] == 20])
    with pytest.raises(DataError, match="leep was measured for no pair"):
        textbook(given, measure="leep")
