"""Sentences on the data of a run: what its tasks hold, and how tables were transformed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from bench.schema import BY_OWN, BY_TARGET
from bench.trial import Card, counts_text

if TYPE_CHECKING:
    import pandas as pd


def task_sentences(tasks: Iterable[Mapping[str, Any]]) -> list[str]:
    """Say of every task the examples of its classes, or its kind, and what was done to its data.

    Parameters
    ----------
    tasks : iterable of mapping
        Cards, as a ledger keeps them; those of versions that did not count classes are left out.
    """
    said = []
    known = [dict(values) for values in tasks if values.get("class_counts") or values.get("kind")]
    for card in map(Card.from_json, known):
        counts = counts_text(card.classes, *filter(None, (card.class_counts, card.test_counts)))
        counts = counts if card.class_counts else ": ".join(filter(None, (card.kind, ", ".join(card.classes))))
        counts += "".join(f"; {n:,} in the further test set {name}" for name, n in card.further)
        notes = "".join(f"; {note}" for note in card.notes)
        said.append(
            f"{card.name}: {card.n_train:,} examples to train on and {card.n_test:,} to test on ({counts}){notes}."
        )
    return said


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
