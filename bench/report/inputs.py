"""Sentences on how the inputs of a run's tables were transformed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.schema import BY_OWN, BY_TARGET

if TYPE_CHECKING:
    import pandas as pd


def transform_sentences(rows: pd.DataFrame) -> list[str]:
    """Say which task's train pool standardised the tables of a run, a sentence a rule; none where none were.

    Parameters
    ----------
    rows : DataFrame
        One row a trial, as :func:`bench.load_results` returns it.
    """
    transfers = rows[rows["source"].notna() & rows["standardised_by"].notna()]
    said = []
    for (by, target), part in transfers.groupby(["standardised_by", "target"]):
        pairs = f"{', '.join(sorted(part['source'].unique()))} -> {target}"
        if by == BY_OWN:
            said.append(
                f"Each table was standardised by its own train pool ({pairs}): a shift or another spread between "
                "source and target was erased before training."
            )
        else:
            whose = "the target" if by == BY_TARGET else by
            said.append(f"Source and target tables were standardised alike, by the train pool of {whose} ({pairs}).")
    return said
