"""Say which trainings collapsed, so that a gap is not read as the transfer's where it is the recipe's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.schema import FAR_LOSS, OK

if TYPE_CHECKING:
    import pandas as pd

ARM = ["target", "backbone", "target_size", "source", "weighting", "strategy", "transfer_depth", "frozen_depth"]
SHOWN = 5  # arms that are named one by one
REMEDY = "use smaller learning_rates, warmup or clip_norm"


def is_collapsed(row: Mapping[str, Any]) -> bool:
    """Whether the model of a finished trial comes from a training that collapsed, at the learning rate that was kept.

    A model of a checkpoint before the collapse, better than a constant prediction on the examples that it was
    trained on and no disaster on validation, is sound.

    Parameters
    ----------
    row : mapping
        Of a trial, as the ledger or a table has it; of versions that did not look for a collapse, it tells of none.
    """
    rate, rates = row.get("learning_rate"), row.get("collapsed_rates")
    if not (isinstance(rate, float) and isinstance(rates, str) and f"{rate:g}" in rates.split(", ")):
        return False
    train, constant, val = (row.get(name) for name in ("train_loss", "constant_loss", "val_loss"))
    if not (isinstance(train, float) and isinstance(constant, float) and isinstance(val, float)):
        return True
    return not (train < constant and val <= FAR_LOSS * constant)


def chosen_collapsed(rows: pd.DataFrame) -> pd.Series:
    """Return :func:`is_collapsed` of each row."""
    import pandas as pd

    if "collapsed_rates" not in rows.columns:
        return pd.Series(False, index=rows.index)
    found = rows["collapsed_rates"].notna().astype(bool)
    if found.any():  # few, mostly
        found[found] = [is_collapsed(row) for row in rows[found].to_dict("records")]
    return found


def warnings(rows: pd.DataFrame) -> list[str]:
    """Say what of the rows' trainings collapsed, learned nothing, or collapsed at a rate that was not kept."""
    return [*collapses(rows), *unlearned(rows), *quiet_collapses(rows)]


def collapses(rows: pd.DataFrame) -> list[str]:
    """Say of which arms the tested models come from trainings that collapsed.

    Parameters
    ----------
    rows : DataFrame
        As :func:`bench.load_results` gives it; rows of versions that did not look for it say nothing.

    Returns
    -------
    list of str
        A sentence an arm, with rates, seeds, losses and the remedy; those that collapsed at every rate come first.
    """
    done = _trained(rows)
    done = done.assign(bad=chosen_collapsed(done))
    if not done["bad"].any():
        return []
    arms = [(arm, part) for arm, part in done.groupby(ARM, dropna=False) if part["bad"].any()]
    arms.sort(key=lambda arm: (-(arm[1]["bad"] & _everywhere(arm[1])).mean(), -arm[1]["bad"].mean()))
    said = [_sentence(_name(*arm), part) for arm, part in arms[:SHOWN]]
    if len(arms) > SHOWN:
        n = sum(int(part["bad"].sum()) for _, part in arms[SHOWN:])
        trials = "1 more trial" if n == 1 else f"{n} more trials"
        said.append(f"Training collapsed in {trials} of {len(arms) - SHOWN} more arms too (column collapsed_rates).")
    return said


def headline(rows: pd.DataFrame) -> str:
    """Say what must be known before any gap is read: which arms collapsed at every learning rate; empty if none did."""
    done = _trained(rows)
    if "learning_rates" not in done.columns:
        return ""
    done = done.assign(bad=chosen_collapsed(done) & _everywhere(done))
    if not done["bad"].any():
        return ""
    arms = [(_name(*arm), part["bad"]) for arm, part in done.groupby(ARM, dropna=False) if part["bad"].any()]
    arms.sort(key=lambda arm: -arm[1].mean())
    named = "; ".join(f"{name} in {bad.sum()} of {len(bad)} seeds" for name, bad in arms[:SHOWN])
    more = f"; and {len(arms) - SHOWN} more arms" if len(arms) > SHOWN else ""
    return (
        f"Training collapsed at every learning rate tried, so these gaps tell of the recipe: {named}{more}: {REMEDY}."
    )


def quiet_collapses(rows: pd.DataFrame) -> list[str]:
    """Say at which rates trainings collapsed where validation chose another, or an earlier step: it harms no result."""
    done = _trained(rows)
    if not {"collapsed_rates", "learning_rate"} <= set(done.columns):
        return []
    aside = done[done["collapsed_rates"].notna() & ~chosen_collapsed(done)]
    if aside.empty:
        return []
    counts = aside["collapsed_rates"].str.split(", ").explode().value_counts()
    rates = ", ".join(f"{rate} ({counts[rate]})" for rate in sorted(counts.index, key=float))
    return [
        f"Note: learning rates that collapsed (in so many of {len(done)} trials), where another or an earlier step "
        f"was kept: {rates}."
    ]


def unlearned(rows: pd.DataFrame) -> list[str]:
    """Say of which arms the tested models fit their own training examples no better than a constant prediction.

    Judged by the median over trials that did not collapse: their loss has not risen, it has not fallen enough.
    """
    done = _trained(rows)
    if not {"train_loss", "constant_loss"} <= set(done.columns):
        return []
    done = done[~chosen_collapsed(done)]
    losses = done.groupby(ARM, dropna=False)[["train_loss", "constant_loss"]].transform("median")
    said = []
    # Of many thousand arms only those that there is something to say of are walked through.
    for arm, part in done[losses["train_loss"] > losses["constant_loss"]].groupby(ARM, dropna=False):
        loss, constant = part["train_loss"].median(), part["constant_loss"].median()
        rates = sorted(part["learning_rate"].unique())
        at = f"learning rate{'' if len(rates) == 1 else 's'} {', '.join(f'{rate:g}' for rate in rates)}"
        seeds = "1 seed" if len(part) == 1 else f"median of {len(part)} seeds"
        said.append(
            f"{_name(*arm)}: a training loss of {loss:.3g} ({seeds}, at {at}), where a constant prediction has "
            f"{constant:.3g}: nothing was learned; use more steps or other learning_rates."
        )
    more = len(said) - SHOWN
    return said if more <= 0 else [*said[:SHOWN], f"{more} more arms learned nothing either (column train_loss)."]


def _trained(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["status"].fillna(OK) == OK) & rows["learning_rate"].notna()]


def _everywhere(rows: pd.DataFrame) -> pd.Series:
    return (rows["collapsed_rates"] == rows["learning_rates"]).fillna(False).astype(bool)


def _sentence(name: str, part: pd.DataFrame) -> str:
    bad = part[part["bad"]]
    rates = sorted(set(bad["collapsed_rates"].str.split(", ").explode()), key=float)
    which = ", every rate that was tried," if _everywhere(bad).all() else ""
    loss, constant = bad["train_loss"].max(), bad["constant_loss"].mean()
    told = f"training loss{'' if len(bad) == 1 else ' up to'} {loss:.3g}, a constant prediction has {constant:.3g}"
    at = f"learning rate{'' if len(rates) == 1 else 's'} {', '.join(rates)}{which}"
    return f"{name}: training collapsed at {at} in {len(bad)} of {len(part)} seeds ({told}): {REMEDY}."


def _name(
    target: str, backbone: str, size: int, source: object, weighting: object, strategy: str, n: int, f: int
) -> str:
    where = f"on {target} ({backbone}, {size} target examples)"
    if not isinstance(source, str):
        return f"{strategy} {where}"
    weights = f" under {weighting} weights" if isinstance(weighting, str) and weighting != "uniform" else ""
    return f"{strategy} (n={n}, f={f}) from {source}{weights} {where}"
