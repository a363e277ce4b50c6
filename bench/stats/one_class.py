"""Arms that predict one class for every test example: their accuracy is that of a constant, not of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.schema import ACCURACY
from bench.scores import BY_LABELS

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 5
WHERE = ["suite", "validation", "target", "backbone"]


def one_class_seeds(pairs: pd.DataFrame) -> pd.DataFrame:
    """Count the seeds of each comparison in which an arm predicts one class.

    Parameters
    ----------
    pairs : DataFrame
        One row a completed transfer trial beside its scratch trial: `comparison`, `classes_predicted` and
        `scratch_classes`, missing in rows that do not say.

    Returns
    -------
    DataFrame
        By comparison, `n_one_class` and `n_scratch_one_class`; missing where no row says.
    """
    import pandas as pd

    arms = {"n_one_class": "classes_predicted", "n_scratch_one_class": "scratch_classes"}
    counts = {}
    for name, column in arms.items():
        known = pairs[column].astype("Int64").eq(1).astype("Int64")
        counts[name] = known.groupby(pairs["comparison"]).sum(min_count=1)
    return pd.DataFrame(counts)


def scratch_warnings(comparisons: pd.DataFrame) -> list[str]:
    """Say where scratch predicts one class in some seeds: gaps against it compare with a constant.

    By metrics that read more than predicted labels, such as AUROC, such an arm is no constant, and nothing is said.
    """
    hit = comparisons[comparisons["n_scratch_one_class"].fillna(0) > 0]
    if "metric" in hit:
        hit = hit[hit["metric"].fillna(ACCURACY).isin(BY_LABELS)]
    fullest = hit.sort_values(["n_scratch_one_class", "n_seeds"], ascending=False, kind="stable")
    places = fullest.drop_duplicates([*WHERE, "target_size"]).sort_index()
    said = []
    for (*_, target, backbone), part in places.groupby(WHERE, dropna=False):
        cases = [f"size {row.target_size} ({row.n_scratch_one_class} of {row.n_seeds})" for row in part.itertuples()]
        said.append(
            f"Scratch predicts one class for every test example of {target} ({backbone}) in some seeds of "
            f"{', '.join(cases)}: there gaps compare a transfer with a constant prediction, not with a trained model."
        )
    more = len(said) - SHOWN
    return said[:SHOWN] + ([f"The same holds for {more} more (column n_scratch_one_class)."] if more > 0 else [])
