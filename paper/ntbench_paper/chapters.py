"""The numbers of each chapter: from one suite's results to values by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.report.style import measure_name
from bench.stats.advice import FAILED, FULL, HELD, UNDECIDED, textbook
from bench.stats.decompose import decomposition
from bench.stats.effective import effective_data
from bench.stats.pairs import similarity_correlation
from bench.stats.select import select_depth
from ntbench_paper.regret import depth_regret
from ntbench_paper.values import (
    FEATURES,
    ZERO,
    Values,
    count,
    gap,
    general,
    interval,
    listed,
    named_gaps,
    number,
    one,
    p_text,
    pick,
    size,
    spread,
    widths,
)
from ntbench_paper.weighted import published, ren2018, weighting

if TYPE_CHECKING:
    import pandas as pd

    from bench.report.material import Part

FROZEN, TUNED, TUNE = "layer-transfer", "layer-transfer-tuned", "fine-tune"


def triangle(part: Part) -> Values:
    """Every point (n, f), from a near and a far source."""
    table = part.comparisons
    near, far = "printed-digits", "inverted"
    values = general(part) | widths(part)
    values["points"] = count(table.groupby(["transfer_depth", "frozen_depth"]).ngroups)
    for name, source in (("near", near), ("far", far)):
        for n in sorted(table["target_size"].unique()):
            block = pick(table, source=source, target_size=n)
            best, worst = block.loc[block["ntg"].idxmin()], block.loc[block["ntg"].idxmax()]
            for which, row in (("best", best), ("worst", worst)):
                values[f"{name}.{n}.{which}"] = gap(row["ntg"])
                values[f"{name}.{n}.{which}.ci"] = interval(row["ntg_low"], row["ntg_high"])
                values[f"{name}.{n}.{which}.at"] = f"$({row['transfer_depth']}, {row['frozen_depth']})$"
            values[f"{name}.{n}.below"] = count((block["ntg"] < 0).sum())
            for verdict in ("negative", "positive"):
                values[f"{name}.{n}.{verdict}"] = count((block["verdict"] == verdict).sum())
    most = table.groupby(["transfer_depth", "frozen_depth"])["ntg"].max()
    values |= {"safest.at": f"$({most.idxmin()[0]}, {most.idxmin()[1]})$", "safest.most": gap(most.min())}
    last = int(table["transfer_depth"].max())
    for n in sorted(table["target_size"].unique()):
        wanted = {"features": (last, last), "tune": (last, 0), "two": (2, 0), "two.frozen": (2, 2)}
        for name, source in (("near", near), ("far", far)):
            places = {
                f"{name}.{n}.{key}": {"source": source, "target_size": n, "transfer_depth": a, "frozen_depth": b}
                for key, (a, b) in wanted.items()
            }
            values |= named_gaps(table, places)
    return values


def default(part: Part) -> Values:
    """Eight sources, every strategy at every depth."""
    table = part.comparisons
    small, large = sorted(table["target_size"].unique())
    values = general(part) | widths(part) | correlations(table) | _edges(part.rows)
    for n in (small, large):
        for name, strategy in (("features", FEATURES), ("zero", ZERO)):
            low, _, high = spread(pick(table, strategy=strategy, target_size=n)["ntg"])
            values |= {f"{name}.{n}.least": low, f"{name}.{n}.most": high}
    for name, where in {
        "features": {"strategy": FEATURES}, "zero": {"strategy": ZERO}, "shallow": {"strategy": TUNED},
        "shallow.frozen": {"strategy": FROZEN, "transfer_depth": [1, 2]}, "equal": {"strategy": "fine-tune-equal-lr"},
        "tune": {"strategy": TUNE, "frozen_depth": 0}, "tune.deep": {"strategy": TUNE, "frozen_depth": 3},
        "probe": {"strategy": "linear-probe-fine-tune"}, "gradual": {"strategy": "gradual-unfreezing"},
    }.items():  # fmt: skip
        block = pick(table, **where)
        values[f"{name}.of"] = count(len(block))
        values[f"{name}.negative"] = count((block["verdict"] == "negative").sum())
        values[f"{name}.mean"] = gap(block["ntg"].mean())
        for n in (small, large):
            here = pick(block, target_size=n)
            values |= {f"{name}.{n}.mean": gap(here["ntg"].mean()), f"{name}.{n}.max": gap(here["ntg"].max())}
            values[f"{name}.{n}.negative"] = count((here["verdict"] == "negative").sum())
    best = table.loc[table["ntg"].idxmin()]
    values |= {
        "best": gap(best["ntg"]), "best.ci": interval(best["ntg_low"], best["ntg_high"]),
        "best.p": p_text(best["p_value"]), "best.p.corrected": p_text(best["p_holm"]),
        "best.verdict": str(best["verdict"]),
        "best.strategy": f"{best['strategy']} $({best['transfer_depth']}, {best['frozen_depth']})$",
        "best.source": str(best["source"]),
        "best.seeds": count(best["n_seeds"]), "family": count((table["target_size"] == small).sum()),
    }  # fmt: skip
    share = part.config["recipe"]["validation_share"]
    values["validation.smallest"] = count(round(share * int(small)))
    values |= _tuned_scratch(part.rows, table) | _regret(part.rows)
    return values


def depth(part: Part) -> Values:
    """AnB, AnB+, BnB and BnB+ on halves of the classes."""
    table = part.comparisons
    source, control = "A", "B-other"
    parts = decomposition(part.rows, source, control)
    values = general(part) | widths(part)
    arms = {"AnB": (source, FROZEN), "AnBplus": (source, TUNED), "BnB": (control, FROZEN), "BnBplus": (control, TUNED)}
    for n in sorted(table["target_size"].unique()):
        for k in sorted(parts["depth"].unique()):
            values |= named_gaps(table, {
                f"{arm}.{n}.{k}": {"source": s, "strategy": strategy, "transfer_depth": k, "target_size": n}
                for arm, (s, strategy) in arms.items()
            })  # fmt: skip
            for component in parts["component"].unique():
                row = one(parts, target_size=n, depth=k, component=component)
                name = f"{component.replace(' ', '-').replace('+', 'plus')}.{n}.{k}"
                values |= {name: gap(row["value"]), f"{name}.ci": interval(row["low"], row["high"])}
                values[f"{name}.p"] = p_text(row["p_holm"])
    return values


def size_similarity(part: Part) -> Values:
    """The textbook's square, and what transfer is worth in data."""
    table = part.comparisons
    cells = textbook(part.rows)
    values = general(part) | widths(part)
    values["cells"] = count(len(cells))
    for outcome in (HELD, FAILED, UNDECIDED):
        values[outcome] = count((cells["outcome"] == outcome).sum())
    for name, small in (("small", True), ("large", False)):
        for kind, similar in (("similar", True), ("different", False)):
            block = pick(cells, small=small, similar=similar)
            values[f"{name}.{kind}.of"] = count(len(block))
            for outcome in (HELD, FAILED, UNDECIDED):
                values[f"{name}.{kind}.{outcome}"] = count((block["outcome"] == outcome).sum())
    failed = pick(cells, outcome=FAILED)
    values |= {"shortfall.least": size(failed["shortfall"].min()), "shortfall.most": size(failed["shortfall"].max())}
    values["held.sizes"] = listed(f"{n:,}" for n in sorted(pick(cells, outcome=HELD)["target_size"].unique()))
    values["features.won"] = count((cells["winner"] == FEATURES).sum())
    values["scratch.won"] = count((cells["winner"] == "scratch").sum())
    values["shallow.won"] = count(cells["winner"].isin([FROZEN, TUNED]).sum())
    sizes = sorted(table["target_size"].unique())
    later = pick(table, strategy=FEATURES, target_size=sizes[1:])
    values |= {"features.later": count(len(later)), "features.later.from": count(sizes[1])}
    values["features.later.negative"] = count((later["verdict"] == "negative").sum())
    full = pick(table, strategy=TUNE, frozen_depth=0, target_size=sizes[-1])["ntg"]
    values["tune.last.most"] = size(full.abs().max())
    return values | _worth(part.rows, sizes[-1]) | {"winner.full": count((cells["winner"] == FULL).sum())}


def moons(part: Part) -> Values:
    """Two moons, moved and spoilt."""
    table = part.comparisons
    small, large = sorted(table["target_size"].unique())
    values = general(part) | widths(part) | correlations(table)
    wanted = {}
    for n in (small, large):
        for source in ("flipped", "same"):
            for name, strategy in (("zero", ZERO), ("features", FEATURES)):
                wanted[f"{source}.{n}.{name}"] = {"source": source, "strategy": strategy, "target_size": n}
    zero = pick(table, strategy=ZERO)
    values |= {"zero.of": count(len(zero)), "zero.negative": count((zero["verdict"] == "negative").sum())}
    return values | named_gaps(table, wanted)


def mnist_fashion(part: Part) -> Values:
    """MNIST and Fashion-MNIST, each as the other's source."""
    table = part.comparisons
    values = general(part) | widths(part)
    features = pick(table, strategy=FEATURES)
    low, _, high = spread(features["ntg"])
    values |= {"features.least": low, "features.most": high, "features.of": count(len(features))}
    values["features.negative"] = count((features["verdict"] == "negative").sum())
    for target, block in table.groupby("target"):
        values[f"frechet.{target}"] = f"{block['frechet_distance'].mean():.2f}"
    large = table["target_size"].max()
    tune = {"strategy": TUNE, "frozen_depth": 0, "target_size": large}
    return values | named_gaps(
        table, {"to-mnist": tune | {"target": "mnist"}, "to-fashion": tune | {"target": "fashion"}}
    )


def correlations(table: pd.DataFrame) -> Values:
    """Rank-correlate gap and similarity: ``rho.<measure>.<size>``, and how many intervals include 0.

    Of measures that tell pairs apart: the others have no rank correlation.
    """
    found = similarity_correlation(table)
    found = found[found["rho"].notna()]
    values: Values = {"pairs": count(found["n_pairs"].max())}
    for row in found.itertuples():
        name = f"rho.{row.measure.replace('_', '-')}.{row.target_size}"
        values |= {name: number(row.rho), f"{name}.ci": f"$[{row.rho_low:+.2f}, {row.rho_high:+.2f}]$"}
        values[f"{name}.p"] = p_text(row.p_value)
    includes = (found["rho_low"] <= 0) & (found["rho_high"] >= 0)
    least = found.loc[found["p_value"].idxmin()]
    return values | {
        "rho.of": count(len(found)), "rho.include": count(includes.sum()), "rho.least-p": p_text(least["p_value"]),
        "rho.least-p.measure": measure_name(least["measure"]), "rho.least-p.size": count(least["target_size"]),
        "rho.least": number(found["rho"].min()), "rho.most": number(found["rho"].max()),
    }  # fmt: skip


def _edges(rows: pd.DataFrame) -> Values:
    """Say how often scratch chose the smallest rate of the grid."""
    last = rows["target_size"].max()
    longer = pick(rows, strategy="scratch-long", target_size=last)["learning_rate"]
    scratch = pick(rows, strategy="scratch", target_size=last)["learning_rate"]
    grid = rows["learning_rate"]
    return {
        "edge.scratch": f"{100 * (scratch == grid.min()).mean():.0f}",
        "edge.scratch-long": f"{100 * (longer == grid.min()).mean():.0f}",
    }


def _tuned_scratch(rows: pd.DataFrame, table: pd.DataFrame) -> Values:
    """Say how much further from the best scratch arm on validation data transfers are, and what that arm reaches."""
    steps = [pick(rows, strategy=strategy)["steps"].max() for strategy in ("scratch-long", "scratch")]
    values = {"longer": count(steps[0] // steps[1])}
    for n, block in table.groupby("target_size"):
        values[f"tuned.{n}"] = gap((block["ntg_tuned"] - block["ntg"]).mean())
        longer = pick(rows, strategy="scratch-long", target_size=n)["test_accuracy"].mean()
        values[f"scratch-long.{n}"] = size(float(longer))
    return values


def _regret(rows: pd.DataFrame) -> Values:
    """Say what choosing the depth on validation data costs, in points, mean over sources."""
    found = depth_regret(rows)
    values = {"regret.most": size(found["regret"].max())}
    for (strategy, n), block in found.groupby(["strategy", "target_size"]):
        values[f"regret.{strategy}.{n}"] = size(block["regret"].mean())
        values[f"regret.{strategy}.{n}.best"] = f"{100 * block['share_best'].mean():.0f}"
    means = found.groupby(["strategy", "target_size"])["regret"].mean()
    return values | {"regret.mean.least": size(means.min()), "regret.mean.most": size(means.max())}


def _worth(rows: pd.DataFrame, last: int) -> Values:
    """Say to what share of its labels feature extraction is worth, and what other transfers multiply them by."""
    worth = effective_data(rows)
    values = {}
    features = pick(worth, strategy=FEATURES, target_size=last)
    for row in features.itertuples():
        values[f"worth.{row.source}"] = size(row.multiple, 1)
        values[f"worth.{row.source}.ci"] = f"{size(row.multiple_low, 1)} to {size(row.multiple_high, 1)}"
        values[f"worth.{row.source}.labels"] = count(round(row.effective_size))
        if row.censored is not None and not (isinstance(row.censored, float) and np.isnan(row.censored)):
            values[f"worth.{row.source}.censored"] = str(row.censored)
    arms = effective_data(select_depth(rows))
    arms = arms[~arms["strategy"].isin([FEATURES, "scratch-long"])]
    differs = (arms["multiple_low"] > 1) | (arms["multiple_high"] < 1)
    return values | {
        "worth.others": count(len(arms)), "worth.others.more": count((differs & (arms["multiple"] > 1)).sum()),
        "worth.others.less": count((differs & (arms["multiple"] < 1)).sum()),
        "worth.others.least": f"{arms['multiple'].min():.1f}", "worth.others.most": f"{arms['multiple'].max():.1f}",
    }  # fmt: skip


@dataclass(frozen=True)
class Chapter:
    """The numbers of a part of the text: from which suites, and by which function of their results."""

    suites: tuple[str, ...]
    numbers: Callable[..., Values]


CHAPTERS: dict[str, Chapter] = {
    "triangle": Chapter(("triangle",), triangle),
    "default": Chapter(("default",), default),
    "depth": Chapter(("depth",), depth),
    "size-similarity": Chapter(("size-similarity",), size_similarity),
    "moons": Chapter(("moons",), moons),
    "mnist-fashion": Chapter(("mnist-fashion",), mnist_fashion),
    "ren2018": Chapter(("ren2018", "ren2018-tuned"), ren2018),
    "weighting": Chapter(("weighting",), weighting),
    "shu2019": Chapter(("shu2019",), published),
}
