"""The paper's tables, as bodies of LaTeX tables; captions stand in the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.report.style import strategy_name
from bench.report.table import latex_escape
from bench.schema import VERDICTS
from bench.stats.won_back import ORACLE, UNIFORM, won_back
from bench.transfer.index import BUILTIN as STRATEGY_ORDER
from ntbench_paper.values import count, gap, interval, one, pick

if TYPE_CHECKING:
    import pandas as pd

    from bench.report.material import Part

LINE = r" \\"
ALL = (
    "default", "triangle", "depth", "size-similarity", "moons", "mnist-fashion", "weighting", "ren2018",
    "ren2018-tuned", "shu2019",
)  # fmt: skip
# Suite, what is said of it, and the comparison: the ones that the text stands on.
HEADLINES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("triangle", "printed, $(4,2)$", {"source": "printed-digits", "transfer_depth": 4, "frozen_depth": 2}),
    ("triangle", "printed, $(4,4)$", {"source": "printed-digits", "transfer_depth": 4, "frozen_depth": 4}),
    ("triangle", "inverted, $(2,0)$", {"source": "inverted", "transfer_depth": 2, "frozen_depth": 0}),
    ("triangle", "inverted, $(4,0)$", {"source": "inverted", "transfer_depth": 4, "frozen_depth": 0}),
    ("triangle", "inverted, $(4,4)$", {"source": "inverted", "transfer_depth": 4, "frozen_depth": 4}),
    ("depth", "capitals, frozen $(4,4)$", {"source": "A", "strategy": "layer-transfer", "transfer_depth": 4}),
    ("depth", "capitals, tuned $(4,0)$", {"source": "A", "strategy": "layer-transfer-tuned", "transfer_depth": 4}),
    ("mnist-fashion", "to MNIST, $(4,0)$", {"target": "mnist", "strategy": "fine-tune", "frozen_depth": 0}),
    ("mnist-fashion", "to Fashion-M., $(4,0)$", {"target": "fashion", "strategy": "fine-tune", "frozen_depth": 0}),
)


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    Attributes
    ----------
    what : str
        What it shows, in a line.
    suites : tuple of str
        Whose results it reads, in the order in which they are handed to `write`.
    write : callable
        From parts to LaTeX.
    whole : bool
        Whether it needs all of them; else it is made of those that are there.
    """

    what: str
    suites: tuple[str, ...]
    write: Callable[[Sequence[Part]], str]
    whole: bool = True


def suites(parts: Sequence[Part]) -> str:
    """What was run, and what came of it."""
    head = ["suite", "pairs", "points", "labels", "trials", *("neg.", "pos.", "equiv.", "incon.")]
    lines = [_rules("l" + "r" * 2 + "l" + "r" * 5, head)]
    for part in parts:
        table = part.comparisons[part.comparisons["ntg"].notna()]
        known = [int((table["verdict"] == verdict).sum()) for verdict in VERDICTS]
        sizes = sorted(int(n) for n in table["target_size"].unique())
        points = table.groupby(["strategy", "transfer_depth", "frozen_depth"], dropna=False).ngroups
        pairs = table.groupby(["source", "target"]).ngroups
        labels = ", ".join(f"{n:,}" for n in sizes)
        cells = [latex_escape(part.suite), pairs, points, labels, count(len(part.rows)), *known]
        lines.append(" & ".join(str(cell) for cell in cells) + LINE)
    return _close(lines)


def strategies(parts: Sequence[Part]) -> str:
    """Strategies over all sources: mean gap, how many comparisons are negative, and the worst source."""
    (part,) = parts
    table = part.comparisons[part.comparisons["ntg"].notna()]
    small, large = sorted(int(n) for n in table["target_size"].unique())
    lines = [_rules("lcrrrl", ["strategy", "$(n,f)$", f"{small}", f"{large}", "neg.", "worst source"])]
    for (strategy, n, f), block in sorted(_by_point(table), key=_order):
        worst = block.loc[block["ntg"].idxmax()]
        means = [gap(pick(block, target_size=size)["ntg"].mean()) for size in (small, large)]
        negative = f"{int((block['verdict'] == 'negative').sum())}/{len(block)}"
        named = f"{latex_escape(str(worst['source']))}, {gap(worst['ntg'])}"
        lines.append(
            " & ".join([latex_escape(strategy_name(strategy)), f"$({n},{f})$", *means, negative, named]) + LINE
        )
    return _close(lines)


def headlines(parts: Sequence[Part]) -> str:
    """Gaps that the text stands on, with both intervals."""
    by_suite = {part.suite: part.over_examples for part in parts}
    head = ["source and point", "labels", "gap", "over seeds", "seeds, examples", "verdict"]
    lines = [_rules("lrrrrl", head)]
    before = HEADLINES[0][0]
    for suite, said, where in HEADLINES:
        if suite != before:
            lines.append(r"\addlinespace")
        before = suite
        for n in sorted(pick(by_suite[suite], **where)["target_size"].unique()):
            row = one(by_suite[suite], **where, target_size=n)
            intervals = [interval(row["ntg_low"], row["ntg_high"]), interval(row["ntg_boot_low"], row["ntg_boot_high"])]
            lines.append(" & ".join([said, count(n), gap(row["ntg"]), *intervals, _verdict(row)]) + LINE)
    return _close(lines)


def weightings(parts: Sequence[Part]) -> str:
    """What weightings find and win back, source by source, at the larger size."""
    (part,) = parts
    rows = part.rows[part.rows["source"].notna()]
    last = int(rows["target_size"].max())
    judged = pick(rows, strategy="zero-shot", target_size=[0, last])
    auroc = judged.groupby(["weighting", "source"])["weight_auroc"].mean()
    won = pick(won_back(part.rows), target_size=last, strategy="zero-shot").set_index(["weighting", "source"])
    sources = [source for source in dict.fromkeys(_sources(part)) if source in set(rows["source"])]
    names = [name for name in _labels(part) if name not in (UNIFORM, ORACLE)]
    lines = [_rules("l" + "r" * len(sources), ["", *(latex_escape(source) for source in sources)])]
    for title, write in (
        ("AUROC of low weights for planted harm", lambda place: _number(auroc.get(place), "{:.2f}")),
        (r"share of the oracle's gain won back, \% (zero-shot)", lambda place: _share(won, place)),
    ):
        lines.append(rf"\multicolumn{{{len(sources) + 1}}}{{@{{}}l}}{{\emph{{{title}}}}}" + LINE)
        for name in names:
            lines.append(" & ".join([latex_escape(name), *(write((name, source)) for source in sources)]) + LINE)
    lines.append(r"\addlinespace")
    gains = won.groupby(level="source")["winnable"].first()
    written = [_number(gains.get(source), "${:+.1f}$", 100) for source in sources]
    lines.append(" & ".join(["oracle's gain, points", *written]) + LINE)
    return _close(lines)


def _sources(part: Part) -> list[str]:
    """Return sources in the suite's order."""
    return [name for pair in part.config["pairs"] for name in (pair.get("sources") or [pair["source"]])]


def _labels(part: Part) -> list[str]:
    """Return weightings in the suite's order, uniform first."""
    entries = part.config["weighting"]
    named = [entry if isinstance(entry, str) else entry.get("name", entry["weighting"]) for entry in entries]
    return list(dict.fromkeys([UNIFORM, *named]))


def _number(value: float | None, form: str, times: float = 1) -> str:
    return "" if value is None or value != value else form.format(times * value)


def _share(won: pd.DataFrame, place: tuple[str, str]) -> str:
    """Write a share, bold where its interval lies above 0; a dash where there is nothing to win."""
    if place not in won.index:
        return ""
    share, low = won.loc[place, "share"], won.loc[place, "share_low"]
    if share != share:
        return "--"
    written = f"${round(100 * share) + 0:d}$"
    return rf"\textbf{{{written.strip('$')}}}" if low > 0 else written


def _verdict(row: pd.Series) -> str:
    verdict = str(row["verdict"])
    return rf"\textbf{{{verdict}}}" if verdict in ("negative", "positive") else verdict


def _by_point(table: pd.DataFrame) -> list[tuple[tuple[str, int, int], pd.DataFrame]]:
    return list(table.groupby(["strategy", "transfer_depth", "frozen_depth"]))


def _order(item: tuple[tuple[str, int, int], pd.DataFrame]) -> tuple:
    known = list(STRATEGY_ORDER)
    strategy, n, f = item[0]
    return (known.index(strategy) if strategy in known else len(known), strategy, n, f)


def _rules(columns: str, head: Sequence[str]) -> str:
    return "\n".join([rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}", r"\toprule", " & ".join(head) + LINE, r"\midrule"])


def _close(lines: Sequence[str]) -> str:
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


TABLES: dict[str, Table] = {
    "suites": Table(
        "What was run, and the verdicts",
        ALL,
        suites,
        whole=False,
    ),
    "strategies": Table("Strategies over all sources", ("default",), strategies),
    "headlines": Table(
        "Gaps that the text stands on, with both intervals", ("triangle", "depth", "mnist-fashion"), headlines
    ),
    "weighting": Table("What weightings find and win back", ("weighting",), weightings),
}
