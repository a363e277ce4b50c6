"""Each figure shows the numbers that the statistics give, in the place where a reader looks for them."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats
from synthetic_suite import DISTANCE, synthetic_rows

from bench.errors import DataError, UnknownName
from bench.report.corners import corners
from bench.report.cost import accuracy_against_cost
from bench.report.depth_figure import gap_by_depth
from bench.report.drawing import log_costs
from bench.report.forest import forest
from bench.report.learning import learning_curves
from bench.report.similarity_figure import gap_against_similarity
from bench.report.transfer_map import transfer_map
from bench.report.weights_figure import example_weights
from bench.report.won_back_figure import share_won_back
from bench.schema import COMPARISON, empty
from bench.stats.advice import textbook
from bench.stats.decompose import decomposition
from bench.stats.effective import effective_data
from bench.stats.gap import negative_transfer
from bench.stats.pairs import pair_gaps, rank_correlation
from bench.stats.won_back import won_back

TRIANGLE = [("triangle", n, f) for n in range(1, 4) for f in range(n + 1)]
SOURCES = ("printed-digits", "patches", "noise")


def shown(figure):
    return [axis for axis in figure.axes if axis.get_visible() and axis.get_label() != "<colorbar>"]


def bars(axis):
    """The vertical lines of a panel: where each begins and ends."""
    lines = [line for c in axis.collections if hasattr(c, "get_segments") for line in c.get_segments()]
    return {tuple(np.round(line[:, 1], 9)) for line in lines}


def t_interval(values):
    """The 95 % interval of a mean, rounded as bars are."""
    return tuple(np.round(stats.ttest_1samp(np.asarray(values, dtype=float), 0).confidence_interval(), 9))


def texts(axis):
    return [text.get_text() for text in axis.texts]


@pytest.fixture(scope="module")
def rows():
    table = synthetic_rows(sources=SOURCES, seeds=4)
    return table.assign(val_accuracy=0.5, val_loss=0.5, trainable_parameters=10, seconds=0.5)


def test_the_transfer_map_has_each_gap_at_its_point_and_rings_the_best():
    comparisons = negative_transfer(synthetic_rows(sources=("printed-digits", "noise"), points=TRIANGLE, seeds=4))
    axes = shown(transfer_map(comparisons))
    assert [axis.get_title(loc="left") for axis in axes] == ["printed-digits → digits"] * 2 + ["noise → digits"] * 2
    first = comparisons.query("source == 'printed-digits' and target_size == 20")
    at = {(round(t.get_position()[0]), round(t.get_position()[1])): t.get_text() for t in axes[0].texts[:9]}
    for row in first.itertuples():
        said = at[row.transfer_depth, row.frozen_depth]
        assert float(said.split("\n")[0].replace("\N{MINUS SIGN}", "-")) == pytest.approx(100 * row.ntg, abs=0.051)
    best = first.loc[first["ntg"].idxmin()]
    ring = axes[0].patches[-1]
    assert (ring.get_x() + ring.get_width() / 2, ring.get_y() + ring.get_height() / 2) == pytest.approx(
        (best["transfer_depth"], best["frozen_depth"])
    )
    assert any("4 seeds" in text and "20 labels" in text for text in texts(axes[0]))


def test_the_transfer_map_rings_scratch_where_nothing_helps_and_hatches_what_was_not_run():
    points = [point for point in TRIANGLE if point != ("triangle", 3, 1)]
    axis = shown(transfer_map(negative_transfer(synthetic_rows(sources=("noise",), points=points, seeds=4))))[0]
    ring = axis.patches[-1]
    assert ring.get_x() + ring.get_width() / 2 == pytest.approx(0)
    assert [(p.get_x() + 0.5, p.get_y() + 0.5) for p in axis.patches if p.get_hatch()] == [(3.0, 1.0)]


def test_the_lowest_map_of_every_column_has_its_numbers():
    rows = synthetic_rows(sources=("printed-digits", "noise", "patches"), points=TRIANGLE, seeds=2)
    axes = shown(transfer_map(negative_transfer(rows)))  # four columns: the third and fourth have one map
    assert len(axes) == 6
    numbered = [axis.xaxis.get_tick_params()["labelbottom"] for axis in axes]
    assert numbered == [False, False, True, True, True, True]
    assert [bool(axis.get_xlabel()) for axis in axes] == numbered


def test_a_deep_triangle_keeps_marks_where_numbers_do_not_fit():
    deep = [("triangle", n, f) for n in range(1, 13) for f in range(n + 1)]
    comparisons = negative_transfer(synthetic_rows(sources=("printed-digits", "letters"), points=deep, seeds=3))
    figure = transfer_map(comparisons)
    written = [text for text in texts(shown(figure)[0]) if text]
    assert not any("+" in text for text in written)
    assert sum(text in "✗✓=·" for text in written) == len(deep)


def test_a_transfer_map_needs_points():
    rows = synthetic_rows(points=[("fine-tune", 4, 0), ("gradual-unfreezing", 4, 0)], seeds=2)
    with pytest.raises(DataError, match="at least 3 points"):
        transfer_map(negative_transfer(rows))


def test_gap_by_depth_draws_frozen_and_tuned_copies(rows):
    axes = shown(gap_by_depth(rows))
    assert len(axes) == len(SOURCES) * 2
    gaps = negative_transfer(rows).query("source == 'printed-digits' and target_size == 20")
    frozen = gaps[gaps["strategy"].isin(["layer-transfer", "feature-extraction"])].sort_values("transfer_depth")
    line = next(line for line in axes[0].lines if line.get_label() == "AnB")
    assert line.get_ydata() == pytest.approx(frozen["ntg"].to_numpy())
    assert np.round(line.get_xdata()).tolist() == [1, 2, 3, 4]
    assert set(map(tuple, frozen[["ntg_low", "ntg_high"]].round(9).to_numpy())) <= bars(axes[0])


def test_gap_by_depth_splits_the_gap_where_there_is_a_control():
    halves = synthetic_rows(sources=("letters", "patches"), seeds=4)
    halves["source"] = halves["source"].replace({"letters": "A", "patches": "digits-other"})
    axes = shown(gap_by_depth(halves))
    assert len(axes) == 4
    parts = decomposition(halves, "A", "digits-other").query("component == 'specificity' and target_size == 20")
    bars = next(c for c in axes[2].containers if c.get_label() == "specificity")
    assert [bar.get_height() for bar in bars] == pytest.approx(parts["value"].tolist())
    with pytest.raises(DataError, match="no source was transferred at two depths"):
        gap_by_depth(halves[halves["strategy"].isin(["scratch", "zero-shot"])])


def test_the_similarity_figure_has_a_point_a_pair_and_says_the_rank_correlation():
    rows = synthetic_rows(seeds=3)
    rows["leep"] = -rows["frechet_distance"]
    rows["leep_low"], rows["leep_high"] = -rows["frechet_distance_high"], -rows["frechet_distance_low"]
    figure = gap_against_similarity(rows)
    axes = shown(figure)
    assert [axis.get_xlabel().split(" (")[0] for axis in axes] == ["Fréchet distance", "LEEP"]
    assert axes[1].xaxis_inverted()
    pairs = pair_gaps(rows).query("target_size == 20")
    drawn = next(line for line in axes[0].lines if line.get_marker() == "o")
    assert drawn.get_ydata() == pytest.approx(pairs["ntg"].to_numpy())
    assert set(map(tuple, pairs[["ntg_low", "ntg_high"]].round(9).to_numpy())) <= bars(axes[0])
    rho, low, high, _ = rank_correlation(pairs["frechet_distance"].to_numpy(), pairs["ntg"].to_numpy())
    said = axes[0].get_legend().get_texts()[0].get_text()
    # These pairs are in perfect order, of which the bootstrap has no interval.
    assert np.isnan([low, high]).all()
    assert said == f"20 labels: $\\rho$ = {rho:+.2f} ({len(pairs)} pairs in order)"
    assert said == axes[1].get_legend().get_texts()[0].get_text()
    shuffled = dict(zip(DISTANCE, np.roll(list(DISTANCE.values()), 2), strict=True))
    rows["leep"] = -rows["source"].map(shuffled).astype(float)
    rows["leep_low"], rows["leep_high"] = rows["leep"] - 0.9, rows["leep"] + 0.9
    rho, low, high, _ = rank_correlation(pairs["source"].map(shuffled).to_numpy(dtype=float), pairs["ntg"].to_numpy())
    said = shown(gap_against_similarity(rows))[1].get_legend().get_texts()[0].get_text()
    assert said.replace("\N{MINUS SIGN}", "-") == f"20 labels: $\\rho$ = {rho:+.2f} [{low:+.2f}, {high:+.2f}]"
    rows["leep_high"] = 0.0  # now all overlap
    assert shown(gap_against_similarity(rows))[1].get_legend().get_texts()[0].get_text() == "20 labels: not told apart"
    bare = shown(gap_against_similarity(rows.drop(columns=["leep_low", "leep_high"])))[1]
    assert bare.get_legend().get_texts()[0].get_text() == "20 labels: no intervals, no order"
    assert set(DISTANCE) <= set(texts(axes[0]))
    with pytest.raises(UnknownName, match='did you mean "leep"'):
        gap_against_similarity(rows, measure="lep")
    with pytest.raises(DataError, match="proxy A-distance"):
        gap_against_similarity(rows, measure="proxy_a_distance")


def test_a_pair_gap_is_averaged_within_seeds():
    rows = synthetic_rows(sources=("noise",), points=[("fine-tune", 4, 0), ("fine-tune", 4, 1)], sizes=(20,), seeds=5)
    one = pair_gaps(rows).iloc[0]
    wide = rows.pivot_table(index="seed", columns=["strategy", "frozen_depth"], values="test_accuracy")
    by_seed = wide[("scratch", 0)] - wide["fine-tune"].mean(axis=1)
    assert one["ntg"] == pytest.approx(by_seed.mean())
    assert one["ntg_high"] - one["ntg"] == pytest.approx(2.7764451 * by_seed.std() / 5**0.5)
    assert (one["n_seeds"], one["n_points"]) == (5, 2)


def test_the_forest_has_every_comparison_with_its_interval(rows):
    comparisons = negative_transfer(rows)
    axes = shown(forest(comparisons))
    assert len(axes) == 2
    part = comparisons[comparisons["target_size"] == 20]
    ends = np.concatenate([c.get_segments() for c in axes[0].collections if len(c.get_segments())])[:, :, 0]
    expected = part[["ntg_low", "ntg_high"]].to_numpy()
    assert sorted(map(tuple, np.round(ends, 9))) == sorted(map(tuple, np.round(expected, 9)))
    boot = comparisons.assign(ntg_boot_low=comparisons["ntg_low"] - 0.01, ntg_boot_high=comparisons["ntg_high"] + 0.01)
    thin = shown(forest(boot))[0]
    assert sum(len(c.get_segments()) for c in thin.collections) == 2 * len(part)
    with pytest.raises(DataError, match="no comparison has a gap"):
        forest(empty(COMPARISON))


def test_equal_gaps_keep_their_own_bootstrap_intervals_in_the_forest():
    rows = synthetic_rows(sources=("noise",), points=[("fine-tune", 4, 0), ("fine-tune", 4, 1)], sizes=(20,), seeds=3)
    boot = negative_transfer(rows)
    boot = boot.assign(ntg=0.05, ntg_low=0.0, ntg_high=0.1, ntg_boot_low=[0.01, 0.02], ntg_boot_high=[0.08, 0.09])
    segments = [s[:, 0] for c in shown(forest(boot))[0].collections for s in c.get_segments()]
    assert sorted(tuple(s) for s in segments if s[0] > 0) == [(0.01, 0.08), (0.02, 0.09)]


def test_the_forest_says_what_its_intervals_are():
    rows = synthetic_rows(sources=("noise",), points=[("fine-tune", 4, 0)], sizes=(20,), seeds=3)
    said = forest(negative_transfer(rows, alpha=0.1, interval="bootstrap")).get_supxlabel()
    assert said.startswith("90 % intervals over seeds")
    assert "Thin: bootstrap over seeds." in said.replace("\n", " ")


def test_the_square_names_winner_advice_and_outcome(rows):
    figure = corners(rows)
    written = " ".join(texts(figure.axes[0]))
    cells = textbook(rows)
    assert written.count("textbook:") == len(cells) == 6
    for outcome, count in cells["outcome"].value_counts().items():
        assert sum(text.startswith(outcome) for text in texts(figure.axes[0])) == count
    with pytest.raises(DataError, match="needs two target sizes"):
        corners(rows[(rows["target_size"] == 20)])


def test_the_square_has_no_advice_for_a_source_in_between():
    sources = ("printed-digits", "letters", "inverted", "noise")
    rows = synthetic_rows(sources=sources, seeds=3)
    rows["frechet_distance_high"] = rows["frechet_distance_high"].where(rows["source"] != "letters", 8.0)
    axis = corners(rows).axes[0]
    said = [label.get_text().split("(")[1] for label in axis.get_yticklabels()]
    assert said == ["similar)", "in between)", "in between)", "different)"]
    assert texts(axis).count("textbook: no advice") == 4
    with pytest.raises(DataError, match="without intervals"):
        corners(rows.drop(columns=["frechet_distance_low", "frechet_distance_high"]))
    with pytest.raises(DataError, match="intervals of frechet_distance overlap"):
        corners(rows.assign(frechet_distance_low=0.0))


def test_learning_curves_have_scratch_and_the_worth_of_each_strategy(rows):
    axes = shown(learning_curves(rows))
    assert len(axes) == 2 * len(SOURCES)
    scratch = next(line for line in axes[0].lines if line.get_label() == "scratch")
    level = rows[rows["strategy"] == "scratch"].groupby("target_size")["test_accuracy"].mean()
    assert scratch.get_ydata() == pytest.approx(100 * level.to_numpy())
    features = rows.query("strategy == 'feature-extraction' and source == 'printed-digits'")
    expected = {t_interval(100 * block["test_accuracy"]) for _, block in features.groupby("target_size")}
    assert expected <= bars(axes[0])
    worth = effective_data(rows[rows["strategy"].isin(["scratch", "feature-extraction"])])
    drawn = next(line for line in axes[len(SOURCES)].lines if line.get_color() == "#D55E00")
    expected = worth[worth["source"] == "printed-digits"].sort_values("target_size")["multiple"]
    assert drawn.get_ydata() == pytest.approx(expected.to_numpy())
    lone = rows[rows["source"].notna() | (rows["target_size"] == 20)]
    for part in (rows[rows["target_size"] == 20], lone, rows[rows["source"].notna()]):
        with pytest.raises(DataError, match="scratch at two target sizes"):
            learning_curves(part)


def test_costs_have_a_point_a_strategy_and_depth(rows):
    axes = shown(accuracy_against_cost(rows))
    assert [axis.get_xlabel() for axis in axes[-2:]] == ["parameters trained", "seconds a trial"]
    line = next(line for line in axes[0].lines if line.get_label() == "fine-tune")
    part = rows[(rows["strategy"] == "fine-tune") & (rows["target_size"] == 20)]
    assert line.get_ydata() == pytest.approx(100 * part.groupby("frozen_depth")["test_accuracy"].mean().to_numpy())
    by_seed = part.groupby(["frozen_depth", "seed"])["test_accuracy"].mean()  # over sources, which are no draws
    assert {t_interval(100 * by_seed[f]) for f in range(4)} <= bars(axes[0])
    with pytest.raises(DataError, match="two strategies or depths"):
        accuracy_against_cost(rows[rows["strategy"] == "scratch"])


def weights(apart=0.5):
    rng = np.random.default_rng(0)
    parts = []
    for seed in range(3):
        harmful = np.arange(100) < 40
        weight = 1 - apart * harmful + rng.uniform(0, 0.4, 100)
        parts.append(
            pd.DataFrame({"source": "a", "weighting": "learned", "source_seed": seed, "example": range(100),
                          "weight": weight, "harmful": harmful, "label": 0})
        )  # fmt: skip
    unseen = parts[0].assign(weight=np.nan)
    return pd.concat([unseen, *parts])


def test_weights_say_how_well_harmful_examples_are_known():
    (axis,) = shown(example_weights(weights()))
    assert "AUROC 1.00 [1.00, 1.00]" in texts(axis)
    assert "harmful (120)" in texts(axis)  # over three seeds; what was never seen has no weight
    mixed, found = weights(apart=0.1).dropna(), []
    for _, one in mixed.groupby("source_seed"):
        bad, good = (one.loc[one["harmful"] == flag, "weight"].to_numpy() for flag in (True, False))
        found.append(np.mean([(g > b) + 0.5 * (g == b) for g in good for b in bad]))
    low, high = stats.ttest_1samp(found, 0).confidence_interval()
    said = f"AUROC {np.mean(found):.2f} [{low:.2f}, {high:.2f}]"
    assert said in texts(shown(example_weights(mixed))[0])
    with pytest.raises(DataError, match="lack the column harmful"):
        example_weights(weights().drop(columns="harmful"))
    with pytest.raises(DataError, match="known to be harmful"):
        example_weights(weights().assign(harmful=False))


def test_the_share_won_back_is_drawn_with_its_interval_or_excused():
    rows = synthetic_rows(sources=("noise", "patches"), points=[("fine-tune", 4, 0)], sizes=(20,), seeds=6)
    rng = np.random.default_rng(2)
    parts = [rows]
    for weighting, gain in (("oracle", 0.1), ("learned", 0.06)):
        part = rows[rows["source"].notna()].assign(weighting=weighting)
        lift = np.where(part["source"] == "noise", gain, 0.0) + rng.normal(0, 0.003, len(part))
        parts.append(part.assign(test_accuracy=part["test_accuracy"] + lift))
    every = pd.concat(parts, ignore_index=True)
    nothing, axis = shown(share_won_back(every))[:2][::-1]  # panels of noise and of patches
    row = won_back(every).query("source == 'noise'").iloc[0]
    assert axis.collections[0].get_segments()[0][:, 0] == pytest.approx([row["share_low"], row["share_high"]])
    assert 0.4 < row["share"] < 0.8
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["learned"]
    assert "oracle and uniform\ndo not differ" in texts(nothing)
    with pytest.raises(DataError, match="no weighting besides uniform and oracle"):
        share_won_back(rows)


def weighted_rows(gains, noise=0.003):
    """Rows of one source under uniform weights and others, which gain what is said on average."""
    plain = synthetic_rows(sources=("noise",), points=[("fine-tune", 4, 0)], sizes=(20,), seeds=6)
    rng, transfer = np.random.default_rng(5), plain[plain["source"].notna()]
    parts = [plain]
    for weighting, gain in gains.items():
        lift = gain + rng.normal(0, noise, len(transfer))
        parts.append(transfer.assign(weighting=weighting, test_accuracy=transfer["test_accuracy"] + lift))
    return pd.concat(parts, ignore_index=True)


def test_a_share_beyond_the_axis_stands_at_its_edge():
    every = weighted_rows({"oracle": 0.1, "harmful": -0.08, "better": 0.19, "within": 0.05})
    table = won_back(every).set_index("weighting")["share"]
    assert (table["harmful"] < -0.5, table["better"] > 1.5) == (True, True)
    axis = shown(share_won_back(every))[0]
    drawn = {line.get_marker(): float(line.get_xdata()[0]) for line in axis.lines if line.get_marker() in "<>o"}
    assert drawn == {"<": -0.45, ">": 1.45, "o": pytest.approx(table["within"])}
    assert "Triangle: off the axis." in share_won_back(every).get_supxlabel().replace("\n", " ")


def test_no_share_at_all_is_no_figure():
    with pytest.raises(DataError, match='no share to draw: no trial has the weighting "oracle"'):
        share_won_back(weighted_rows({"learned": 0.05}))


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.012, 0.06, {"0.02", "0.05"}), (0.05, 0.3, {"0.05", "0.1", "0.2"}), (1e3, 1e6, {"1000", "10000", "10⁵"})],
)
def test_costs_are_labelled_so_that_they_can_be_read(low, high, said):
    figure = Figure()
    axis = figure.subplots()
    log_costs(axis)
    axis.set_xlim(low, high)
    figure.draw_without_rendering()
    labels = {text.get_text() for text in axis.get_xticklabels(which="both") if low <= text.get_position()[0] <= high}
    assert labels - {""} - {"10⁶"} == said
