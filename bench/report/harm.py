"""How often transfer harms, strategy by strategy: the share of negative pairs and the worst pair, to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.grid import depth_labels, point_of
from bench.scores import Scale, scales_of
from bench.stats.gap import options_of
from bench.stats.pairs import POINT, negative_share

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

APART = ("backbone", "weighting", "metric")  # what else stands in a row of its own where it varies


def harm_table(comparisons: pd.DataFrame) -> dict[str, Any] | None:
    """Return the share of negative pairs and the worst pair of every strategy, depth and target size, as text.

    Parameters
    ----------
    comparisons : DataFrame
        As :func:`bench.stats.gap.negative_transfer` returns it, of one suite.

    Returns
    -------
    dict or None
        `columns`, `rows` and `reading`; None where fewer than two pairs were compared.
    """
    known = comparisons[comparisons["ntg"].notna()]
    scales = {scale.metric: scale for scale in scales_of(known)}
    if len(known[["source", "target"]].drop_duplicates()) < 2:
        return None
    alpha = options_of(comparisons)["alpha"]
    apart = [name for name in APART if known[name].nunique() > 1]
    found, labels = negative_share(known, [*apart, *POINT], alpha=alpha), depth_labels(known)
    order = {head: i for i, head in enumerate(labels.values())}  # of the registry, as in every other table
    rows = []
    for row in sorted(found.itertuples(), key=lambda row: order[labels[point_of(row)]]):
        share = f"{100 * row.share_negative:.0f} % [{100 * row.share_low:.0f}, {100 * row.share_high:.0f}]"
        where = [str(labels[point_of(row)]), *(str(getattr(row, name)) for name in apart), f"{row.target_size:,}"]
        scale = scales[getattr(row, "metric", next(iter(scales)))]
        counted = [str(row.n_comparisons), str(row.n_negative), share, scale.signed(row.mean_ntg)]
        worst = f"{row.worst_source} \N{RIGHTWARDS ARROW} {row.worst_target}"
        rows.append([*where, *counted, worst, _worst(row, scale)])
    columns = ["strategy", *apart, "labels", "pairs", "negative", "share", "mean gap", "worst pair", "its gap"]
    units = " or ".join(dict.fromkeys(scale.units for scale in scales.values()))
    reading = (
        f"Gaps in {units}. Shares with Wilson's {100 * (1 - alpha):g} % interval, as if pairs had been drawn "
        "from many; the worst of many pairs is worse than it would be on fresh seeds."
    )
    return {"columns": columns, "rows": rows, "reading": reading}


def _worst(row: Any, scale: Scale) -> str:
    ends = "" if row.worst_low != row.worst_low else f" [{scale.signed(row.worst_low)}, {scale.signed(row.worst_high)}]"
    return f"{scale.signed(row.worst_ntg)}{ends}, {row.worst_verdict}"
