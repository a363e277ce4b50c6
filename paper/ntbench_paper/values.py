r"""How the paper's numbers are picked out of results, written, and named.

A number is a value under a name, ``\defval{default.negative}{50}``; the text says ``\val{default.negative}``
and types no result itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from bench.errors import DataError
from bench.report.style import points
from bench.schema import VERDICTS
from bench.stats.gap import options_of

if TYPE_CHECKING:
    import pandas as pd

    from bench.report.material import Part

Values = dict[str, str]
FEATURES, ZERO = "feature-extraction", "zero-shot"


def gap(fraction: float, decimals: int = 1) -> str:
    """Write a gap or a difference of accuracies in points, with its sign."""
    return f"${points(fraction, decimals)}$"


def interval(low: float, high: float) -> str:
    """Write the ends of an interval in points."""
    return f"$[{points(low)}, {points(high)}]$"


def size(fraction: float, decimals: int = 1) -> str:
    """Write an accuracy, a share or an unsigned difference in hundredths."""
    return f"{100 * fraction:.{decimals}f}"


def number(value: float, decimals: int = 2) -> str:
    """Write a signed number as it is."""
    return f"${value:+.{decimals}f}$"


def count(n: int) -> str:
    """Write a count."""
    return f"{int(n):,}"


def p_text(p: float) -> str:
    """Write a p value, small ones as a bound."""
    return "$<0.001$" if p < 0.001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def listed(items: Iterable[object], join: str = "and") -> str:
    """Write several in a row: a, b and c."""
    texts = [str(item) for item in items]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} {join} {texts[-1]}"


def pick(table: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """Return the rows of a table in which every named column has the value, or one of the values, given.

    Raises
    ------
    DataError
        When there is none.
    """
    found = table
    for name, value in where.items():
        values = value if isinstance(value, list | tuple | set | frozenset) else [value]
        found = found[found[name].isin(list(values))]
    if found.empty:
        raise DataError(f"the rows that a number of the paper needs are missing: {where}")
    return found


def one(table: pd.DataFrame, **where: Any) -> pd.Series:
    """Return the only row of a table that meets the conditions.

    Raises
    ------
    DataError
        When there is none, or more than one.
    """
    found = pick(table, **where)
    if len(found) > 1:
        raise DataError(f"{len(found)} rows where a number of the paper needs one: {where}")
    return found.iloc[0]


def named_gaps(comparisons: pd.DataFrame, wanted: Mapping[str, Mapping[str, Any]]) -> Values:
    """Return gap, interval and verdict of named comparisons: ``name``, ``name.ci`` and ``name.verdict``."""
    values: Values = {}
    for name, where in wanted.items():
        row = one(comparisons, **where)
        values[name] = gap(row["ntg"])
        values[f"{name}.ci"] = interval(row["ntg_low"], row["ntg_high"])
        values[f"{name}.verdict"] = str(row["verdict"])
    return values


def spread(gaps: pd.Series) -> tuple[str, str, str]:
    """Write the least, the mean and the largest of several gaps."""
    return gap(gaps.min()), gap(gaps.mean()), gap(gaps.max())


def counts(comparisons: pd.DataFrame) -> Values:
    """Return how many comparisons there are, and of each verdict how many and what share."""
    known = comparisons[comparisons["ntg"].notna()]
    values = {"comparisons": count(len(known))}
    for verdict in VERDICTS:
        n = int((known["verdict"] == verdict).sum())
        values |= {verdict: count(n), f"{verdict}.share": f"{100 * n / len(known):.0f}"}
    return values


def general(part: Part) -> Values:
    """Return what every suite has: trials, seeds, sizes, scratch, recipe, data and verdicts."""
    rows, comparisons = part.rows, part.comparisons
    options = options_of(comparisons)
    models = rows[["source", "source_seed"]].dropna().drop_duplicates()
    sizes = sorted(int(n) for n in rows.loc[rows["target_size"] > 0, "target_size"].unique())
    values = counts(comparisons) | {
        "trials": count(len(rows)),
        "seeds": count(rows["seed"].nunique()),
        "sources": count(rows["source"].nunique()),
        "sizes": listed(f"{n:,}" for n in sizes),
        "size.smallest": count(sizes[0]),
        "size.largest": count(sizes[-1]),
        "alpha": f"{options['alpha']:g}",
        "margin": f"{100 * options['margin']:g}",
        "level": f"{100 * (1 - options['alpha']):g}",
        "depth": count(int(rows["transfer_depth"].max())),
        "source-models": count(len(models)),
        "shared": count(rows["seed"].nunique() * models["source"].nunique() // len(models)),
    }
    for target, mine in comparisons.groupby("target"):
        for n, block in mine.groupby("target_size"):
            values[f"scratch.{target}.{n}"] = size(block["scratch_accuracy"].iloc[0])
    return values | _recipe(part.config) | _data(part)


def _recipe(config: Mapping[str, Any]) -> Values:
    recipe, source = config.get("recipe", {}), config.get("source_recipe", {})
    if not recipe or not source:
        raise DataError("the recipe is not known: no provenance.json beside the rows")
    values = {
        "steps": count(recipe["steps"]),
        "batch": count(recipe["batch_size"]),
        "rates": listed(f"{rate:g}" for rate in recipe["learning_rates"]),
        "rates.number": count(len(recipe["learning_rates"])),
        "rate.smallest": f"{min(recipe['learning_rates']):g}",
        "rate.largest": f"{max(recipe['learning_rates']):g}",
        "copied-rate": f"{1 / recipe['copied_lr']:g}",
        "checkpoints": count(recipe["checkpoints"]),
        "validation": f"{100 * recipe['validation_share']:g}",
        "source.steps": count(source["steps"]),
        "source.batch": count(source["batch_size"]),
        "source.rates": listed(f"{rate:g}" for rate in source["learning_rates"]),
    }
    if config.get("image_size"):
        values["pixels"] = count(config["image_size"])
    return values


def _data(part: Part) -> Values:
    """Return examples and classes of every task."""
    values: Values = {}
    for name, card in part.tasks.items():
        values |= {
            f"{name}.train": count(card["n_train"]), f"{name}.test": count(card["n_test"]),
            f"{name}.classes": count(len(card["classes"])), f"{name}.rarest": count(min(card["class_counts"])),
        }  # fmt: skip
    return values


def widths(part: Part) -> Values:
    """Compare intervals over seeds with those over seeds and test examples.

    Raises
    ------
    DataError
        When the results do not say which test examples were right.
    """
    both = part.over_examples
    ratio = (both["ntg_boot_high"] - both["ntg_boot_low"]) / (both["ntg_high"] - both["ntg_low"])
    excludes_t = (both["ntg_low"] > 0) | (both["ntg_high"] < 0)
    excludes_boot = (both["ntg_boot_low"] > 0) | (both["ntg_boot_high"] < 0)
    return {
        "boot.wider": f"{ratio[ratio.map(math.isfinite)].median():.2f}",
        "excludes.t": count(excludes_t.sum()),
        "excludes.boot": count(excludes_boot.sum()),
    }
