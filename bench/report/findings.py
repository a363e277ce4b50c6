"""Findings: a few sentences computed from the comparisons, each with what it rests on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bench.report.cells import margin_text
from bench.report.grid import NEAR, depth_labels, failed_alone, near_to_far, point_of
from bench.report.style import counted, measure_name
from bench.schema import ENDS, OK, VERDICTS
from bench.scores import Scale, scale_of, scales_of
from bench.stats.gap import options_of
from bench.stats.nearness import halves, has_intervals, kendall, surely_nearer
from bench.stats.pairs import EXACT_PERMUTATIONS

if TYPE_CHECKING:
    import pandas as pd

    from bench.report.grid import Head

# A rank correlation over fewer pairs cannot reach the 5 % level (4 pairs: p is at least 2/4! = 0.08).
FEWEST_PAIRS = 5
SHOWN_ERRORS = 10
SHOWN = 3  # comparisons whose transfer predicts one class
PAIR = ["suite", "validation", "target", "backbone", "weighting", "source"]


def findings(comparisons: pd.DataFrame, *, near: str = NEAR) -> list[str]:
    """Say in three to five sentences what the comparisons show.

    First, where training collapsed at every learning rate, that it did. Then how often transfer harms; the
    largest harm and gain; the safest and the most harmful strategy; what depth does for far sources; what the
    target size and the distance do; and, where there are such, which transfers predict one class alone. A
    sentence that the comparisons cannot fill (one depth, one size and no measured distance, ...) is left out,
    so a small table has fewer.

    Parameters
    ----------
    comparisons : DataFrame
        As :func:`bench.stats.gap.negative_transfer` returns it.
    near : str
        Measure of similarity that says which sources are far.
    """
    scales = scales_of(comparisons)
    if len(scales) > 1:
        return [sentence for scale in scales for sentence in _by_metric(comparisons, scale, near)]
    first = comparisons.attrs.get("collapsed", "")
    known = comparisons[comparisons["ntg"].notna()]
    if known.empty:
        return [*filter(None, [first]), "No comparison has a result yet."]
    head = depth_labels(known)
    depths = zip(known["strategy"], known["transfer_depth"], known["frozen_depth"], strict=True)
    known = known.assign(how=[head[_key(*depth)] for depth in depths])
    failed = {point_of(row) for row in comparisons[failed_alone(comparisons)].itertuples()}
    said = [first, _shares(known), _extremes(known), _strategies(known, head, failed), _depth(known, near)]
    said += [_size_and_distance(known, near), _one_class(known)]
    return [sentence for sentence in said if sentence]


def _by_metric(comparisons: pd.DataFrame, scale: Scale, near: str) -> list[str]:
    """Return what is found of the comparisons by one metric of several."""
    mine = comparisons[comparisons["metric"] == scale.metric]
    mine.attrs = comparisons.attrs
    return [f"By {scale.label}: {sentence}" for sentence in findings(mine, near=near)]


def _key(strategy: str, n: object, f: object) -> tuple:
    import pandas as pd

    return (strategy, *(None if pd.isna(depth) else int(depth) for depth in (n, f)))


def _shares(known: pd.DataFrame) -> str:
    options = options_of(known)
    total = len(known)
    counts = {verdict: int((known["verdict"] == verdict).sum()) for verdict in VERDICTS}
    shares = {verdict: f"{count} ({count / total:.0%})" for verdict, count in counts.items()}
    least, most = known["n_seeds"].min(), known["n_seeds"].max()
    seeds = counted(most, "seed") if least == most else f"{least} to {most} seeds"
    method = {"holm": "Holm", "fdr_bh": "Benjamini-Hochberg"}[options["correction"]]
    plain = (
        f"Of {counted(total, 'comparison')} ({counted(known['source'].nunique(), 'source')}, "
        f"{counted(known['how'].nunique(), 'strategy or depth', 'strategies and depths')}, "
        f"{counted(known['target_size'].nunique(), 'target size')}; {seeds} each), {shares['negative']} are negative, "
        f"{shares['positive']} positive, {shares['equivalent']} equivalent within "
        f"{margin_text(options['margin'], known)} and {shares['inconclusive']} inconclusive "
        f"({method}-corrected, alpha = {options['alpha']:g})."
    )
    return plain if most > 1 else plain + " One seed allows no verdict: what follows are single runs."


def _extremes(known: pd.DataFrame) -> str:
    worst, best = known["ntg"].idxmax(), known["ntg"].idxmin()
    if known.at[worst, "ntg"] > 0:
        harm = f"The largest harm is {_one(known, worst)}"
    else:
        harm = f"No mean gap is above zero; the least gain is {_one(known, worst)}"
    if known.at[best, "ntg"] < 0:
        return f"{harm}; the largest gain {_one(known, best)}."
    return f"{harm}; no strategy gained on average from any source."


def _one(known: pd.DataFrame, which: int) -> str:
    """Write one comparison with its interval; its weighting too, where there are several."""
    row, scale = known.loc[which], scale_of(known)
    how = f"{row['how']} under {row['weighting']} weights" if known["weighting"].nunique() > 1 else row["how"]
    where = f"{row['source']} -> {row['target']} by {how} with {counted(row['target_size'], 'target example')}"
    if math.isnan(row["ntg_low"]):
        return f"{where} at {scale.gap(row['ntg'])} {scale.units} (one seed, no interval)"
    interval = f"[{scale.gap(row['ntg_low'])}, {scale.gap(row['ntg_high'])}]"
    return f"{where} at {scale.gap(row['ntg'])} {scale.units} {interval}, {row['verdict']}"


def _strategies(known: pd.DataFrame, head: dict[tuple, Head], failed: set[tuple]) -> str | None:
    """Compare strategies over the same pairs and sizes: those that some pairs lack are set aside."""
    places = known.groupby("how").size()
    whole = places[places == places.max()].index
    if len(whole) < 2:
        return None
    part, scale = known[known["how"].isin(whole)], scale_of(known)
    mean = _means(part, "how")
    best, worst = mean.idxmin(), mean.idxmax()
    if best == worst:  # all alike
        return None

    def says(how: Head) -> str:
        negative = int((part.loc[part["how"] == how, "verdict"] == "negative").sum())
        gap = f"mean gap {scale.gap(mean[how])} {scale.units}"
        return f"{how} ({gap}, negative in {negative} of {places.max()} comparisons)"

    aside = {point for point, how in head.items() if how not in whole} | (failed - set(head))
    rest = f"; {_left_out(aside, failed)}" if aside else ""
    return f"Over all sources, the safest is {says(best)} and the most harmful {says(worst)}{rest}."


def _left_out(aside: set[tuple], failed: set[tuple]) -> str:
    """Say how many strategies and depths are left out, and whether they failed or were not run."""
    missed = counted(len(aside), "strategy or depth", "strategies and depths")
    if aside <= failed:
        return f"{missed} left out, failed on some pairs"
    return f"{missed} left out, not run{', or failed,' if aside & failed else ''} on every pair"


def _means(part: pd.DataFrame, by: str) -> pd.Series:
    """Mean gap by a column, rounded so that the order of addition decides no tie."""
    return part.groupby(by)["ntg"].mean().round(10)


def _depth(known: pd.DataFrame, near: str) -> str | None:
    """Say which depth is best and worst, where depth matters most: for sources that are surely far, else for all."""
    far, whose = _far_sources(known, near)
    part = known[known.set_index(["target", "source"]).index.isin(far)] if far else known
    candidates = {}
    for strategy, block in part.groupby("strategy"):
        mean = _means(block, "how")
        if len(mean) > 1:
            candidates[strategy] = (mean.max() - mean.min(), mean, block)
    if not candidates:
        return None
    strategy = max(candidates, key=lambda name: (round(candidates[name][0], 10), name))
    _, mean, block = candidates[strategy]
    scale = scale_of(known)
    best, worst = mean.idxmin(), mean.idxmax()
    place = [*PAIR, "target_size"]
    wide = {how: block[block["how"] == how].set_index(place)["ntg"] for how in (best, worst)}
    both = (wide[worst] - wide[best]).dropna()
    return (
        f"For {whose}, depth matters most in {strategy}: best at "
        f"{best.depth} (mean gap {scale.gap(mean[best])} {scale.units}), worst at {worst.depth} "
        f"({scale.gap(mean[worst])}), the latter worse in {int((both > 0).sum())} of {len(both)} comparisons."
    )


def _far_sources(known: pd.DataFrame, near: str) -> tuple[list[tuple[str, str]], str]:
    """Return the pairs that are surely of the farther half of their target's, and how to call them.

    None where no distance was measured or intervals do not tell; all pairs are spoken of then.
    """
    far, by, why = [], set(), set()
    for target, block in known.groupby("target"):
        measure, _ = near_to_far(block, near)
        if measure is None:
            why.add("no distance was measured")
            continue
        means = _distances(block, measure)
        found = [(target, means.index[i]) for i in halves(means, measure)[1]]
        far += found
        if found:
            by.add(measure_name(measure))
        elif not has_intervals(means, measure):
            why.add(f"{measure_name(measure)} was measured without intervals, which leaves open which is far")
        elif len(means) > 1:
            why.add(f"none is surely far by {measure_name(measure)}, whose intervals overlap")
    if far:
        return far, f"the {counted(len(far), 'pair')} that {'is' if len(far) == 1 else 'are'} surely far by " + (
            " or ".join(sorted(by))
        )
    pairs = known.groupby(["target", "source"]).ngroups
    reason = f" ({'; '.join(sorted(why))})" if why else ""
    return [], {1: "the one pair", 2: "both pairs"}.get(pairs, f"all {pairs} pairs") + reason


def _distances(block: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return the mean distance of each source that has one, with the ends of its interval."""
    columns = [measure, *(measure + end for end in ENDS if measure + end in block)]
    return block[block[measure].notna()].groupby("source")[columns].mean()


def _size_and_distance(known: pd.DataFrame, near: str) -> str | None:
    clauses = [clause for clause in (_size(known), _distance(known, near)) if clause]
    if not clauses:
        return None
    sentence = "; ".join(clauses)
    return sentence[0].upper() + sentence[1:] + "."


def _size(known: pd.DataFrame) -> str | None:
    small, large = known["target_size"].min(), known["target_size"].max()
    if small == large:
        return None
    place = [*PAIR, "how"]
    at = {size: known[known["target_size"] == size].set_index(place)["ntg"] for size in (small, large)}
    both = at[small].to_frame("small").join(at[large].to_frame("large"), how="inner")
    if both.empty:
        return None
    scale = scale_of(known)
    nearer = int((both["large"].abs() < both["small"].abs()).sum())
    return (
        f"from {small} to {large} target examples the mean gap goes from {scale.gap(both['small'].mean())} to "
        f"{scale.gap(both['large'].mean())} {scale.units}, and comes closer to zero in {nearer} of "
        f"{len(both)} comparisons"
    )


def _distance(known: pd.DataFrame, near: str) -> str | None:
    """Rank-correlate gap and distance over the pairs of the setting that has the most sources."""
    measure, _ = near_to_far(known, near)
    if measure is None:
        return None
    settings = known[known[measure].notna()].groupby(PAIR[:-1], dropna=False)
    block = max((part for _, part in settings), key=lambda part: part["source"].nunique())
    block = _whole(block)
    pairs = _distances(block, measure)
    gaps = block.groupby("source")["ntg"].mean().round(10).loc[pairs.index].to_numpy(dtype=float)
    label, n, target = measure_name(measure), len(pairs), block["target"].iloc[0]
    if n < FEWEST_PAIRS:
        verb = "is" if n == 1 else "are"
        return f"{counted(n, 'pair')} to {target} {verb} too few to relate the gap to {label}"
    if not has_intervals(pairs, measure):
        return f"{label} was measured without intervals, so that whether farther sources harm more is left open"
    tau, p = kendall(surely_nearer(pairs, measure), gaps, EXACT_PERMUTATIONS)
    if math.isnan(tau):
        return f"gap or {label} is the same for all {n} pairs to {target}, as far as intervals tell"
    end = "farther" if tau > 0 else "nearer"
    verdict = f"{end} sources harm more" if p <= options_of(known)["alpha"] else "no clear relation"
    return (
        f"by {label}, {verdict} (Kendall tau = {tau:+.2f}, p = {p:.2g}, {n} pairs to {target}, tied where intervals "
        "overlap, mean over strategies)"
    )


def _one_class(known: pd.DataFrame) -> str | None:
    """Say which transfers predict one class for every test example, the most frequent ones by name."""
    if not scale_of(known).by_labels:
        return None
    if "n_one_class" not in known or not (hit := known[known["n_one_class"].fillna(0) > 0]).size:
        return None
    hit = hit.sort_values("n_one_class", ascending=False, kind="stable")
    named = [
        f"{row.source} -> {row.target} by {row.how} with {counted(row.target_size, 'target example')} in "
        f"{row.n_one_class} of {counted(row.n_seeds, 'seed')}"
        for row in hit.head(SHOWN).itertuples()
    ]
    more = f"; and {len(hit) - SHOWN} more" if len(hit) > SHOWN else ""
    return (
        f"In {len(hit)} of {counted(len(known), 'comparison')} the transfer predicts one class for every test example "
        f"in some seeds: {'; '.join(named)}{more}."
    )


def _whole(block: pd.DataFrame) -> pd.DataFrame:
    """Keep the strategies and sizes that every source has, so that means over them can be compared."""
    shared = block.groupby(["how", "target_size"])["source"].transform("nunique") == block["source"].nunique()
    return block[shared] if shared.any() else block


def failures(rows: pd.DataFrame, rest: str) -> list[str]:
    """Say how many trials failed, and of what, the most frequent error first; and what tells the `rest` of them."""
    failed = rows[rows["status"].fillna(OK) != OK]
    if failed.empty:
        return []
    counts = failed["error"].fillna("no message").value_counts()
    said = [f"{len(failed):,} of {len(rows):,} trials failed."]
    said += [f"{count:,} of them: {error}" for error, count in list(counts.items())[:SHOWN_ERRORS]]
    if len(counts) > SHOWN_ERRORS:
        said.append(f"{len(counts) - SHOWN_ERRORS:,} more kinds of error: {rest}.")
    return said
