"""Families of comparisons: what p values are corrected over, and the few contrasts a study names in advance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, unknown

if TYPE_CHECKING:
    import pandas as pd

# A transfer map, one pair at one size, as one family.
MAP = ("source", "target", "backbone", "weighting", "target_size")
CONTRAST_COLUMNS = (
    "source", "target", "backbone", "strategy", "transfer_depth", "frozen_depth", "weighting", "target_size",
    "validation", "suite",
)  # fmt: skip


def check_contrasts(contrasts: Mapping[str, Any]) -> None:
    """Refuse contrasts that cannot be read.

    Raises
    ------
    BenchError
        For a contrast that is no table of conditions, or is empty.
    UnknownName
        For a column that no contrast can name.
    """
    for name, conditions in contrasts.items():
        if not isinstance(conditions, Mapping) or all(wanted is None for wanted in conditions.values()):
            raise BenchError(f'contrast "{name}" must be a table such as {{ source = "a", strategy = "fine-tune" }}')
        for column, wanted in conditions.items():
            if column not in CONTRAST_COLUMNS:
                raise unknown(f'column in contrast "{name}"', column, CONTRAST_COLUMNS)
            if isinstance(wanted, Mapping):
                raise BenchError(f'contrast "{name}": {column} must be a value or a list of values, got {wanted!r}')


def name_contrasts(table: pd.DataFrame, contrasts: Mapping[str, Mapping[str, Any]]) -> tuple[pd.Series, list[str]]:
    """Name the comparisons that stated contrasts mean.

    Parameters
    ----------
    table : DataFrame
        One row a comparison.
    contrasts : mapping of name to conditions
        A condition is a column with a value or a list of values (None says nothing); all of a
        contrast's must hold. A
        contrast of several comparisons puts each of them into the family.

    Returns
    -------
    names : Series of str
        The contrast of each comparison (the first that fits); missing where none does.
    warnings : list of str
        A sentence for each contrast that no comparison fits.
    """
    import pandas as pd

    names = pd.Series(pd.NA, index=table.index, dtype="string")
    warnings = []
    for name, conditions in contrasts.items():
        fits = pd.Series(True, index=table.index)
        said = {column: wanted for column, wanted in conditions.items() if wanted is not None}
        for column, wanted in said.items():
            values = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Sequence) else list(wanted)
            fits &= table[column].isin(values)
        if not fits.any():
            how = ", ".join(f"{column} = {wanted}" for column, wanted in said.items())
            warnings.append(f'The contrast "{name}" ({how}) fits no comparison.')
        names = names.mask(fits & names.isna(), name)
    return names, warnings


def families(table: pd.DataFrame, scope: Sequence[str], family: Sequence[str]) -> pd.Series:
    """Number the family of every comparison: the named contrasts of a scope are one, all others go by `family`.

    Parameters
    ----------
    table : DataFrame
        One row a comparison, with the column `contrast`.
    scope, family : sequences of str
        Columns; what differs in one of them is never corrected together.
    """
    named = table["contrast"].notna()
    places = table.groupby([*scope, *family], dropna=False).ngroup()
    apart = table.groupby(list(scope), dropna=False).ngroup() + (places.max() + 1 if len(table) else 0)
    return places.where(~named, apart)
