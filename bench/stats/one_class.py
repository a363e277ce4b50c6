"""Arms that predict one class for every test example: their accuracy is that of a constant, not of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 5
WHERE = ["suite", "validation", "target", "backbone", "target_size"]


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
    """Say where scratch predicts one class in some seeds: gaps against it compare with a constant."""
    hit = comparisons[comparisons["n_scratch_one_class"].fillna(0) > 0]
    places = hit.sort_values(["n_scratch_one_class", "n_seeds"], ascending=False, kind="stable").drop_duplicates(WHERE)
    said = [
        f"Scratch predicts one class for every test example of {row.target} ({row.backbone}), {row.target_size} target "
        f"examples, in {row.n_scratch_one_class} of {row.n_seeds} seeds: there its gaps compare a transfer with a "
        "constant prediction, not with a trained model."
        for row in places.sort_index().head(SHOWN).itertuples()
    ]
    if len(places) > SHOWN:
        more = len(places) - SHOWN
        said.append(f"The same holds for {more} more targets, backbones or sizes (column n_scratch_one_class).")
    return said
