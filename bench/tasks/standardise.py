"""The transform of a pair's tables: mean 0 and spread 1 on the train pool of one task, for all tables of the pair."""

from __future__ import annotations

import numpy as np

from bench.tasks import arrays
from bench.tasks.base import Task

CONSTANT = 10  # units of rounding, relative to a column's mean, up to which a spread is none


def standardise(task: Task, by: Task) -> Task:
    """Bring the measured columns of a table to mean 0 and spread 1, as another task's train pool has them.

    Where `task` is `by` its columns have mean 0 and spread 1; what differs between two tables (a shift, another
    spread) is still there when both are standardised by one of them. Mean and spread are those of all inputs in
    the train pool of `by`, from which validation is cut; no label, no given validation split and no test set has
    a say, and every arm of a comparison, scratch included, is given the same. A column that is constant there, up
    to rounding, becomes 0 there and is only centred in other tables. Columns that `by` says are not measured stay
    as they are.

    Parameters
    ----------
    task : Task
        A table of D columns.
    by : Task
        A table of the same columns; its `measured` says which (all where it says nothing).

    Returns
    -------
    Task
        Its inputs float32.

    Raises
    ------
    DataError
        For values that are not finite afterwards: beyond what float32 holds.
    """
    mean, spread = _moments(by)

    def standardised(part: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # the task's own check names the row
            return ((part - mean) / spread).astype(np.float32)

    return task.mapped(lambda x: arrays.map_rows(standardised, x, 8 * task.shape[0], task.name))


def _moments(by: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and spread of each column of a train pool, shape (D,); 0 and 1 for those that are left alone."""
    # Sums are of deviations from the first row: exactly 0 for a constant column, and no digits are lost to an offset.
    first = by.x[0].astype(np.float64)
    mean = first + sum((part - first).sum(0) for part in arrays.chunks(by.x)) / len(by.x)
    spread = np.sqrt(sum(np.square(part - mean).sum(0) for part in arrays.chunks(by.x)) / len(by.x))
    spread[spread <= CONSTANT * np.finfo(np.result_type(by.x, np.float32)).eps * np.abs(mean)] = 1.0
    if by.measured is not None:
        mean, spread = np.where(by.measured, mean, 0.0), np.where(by.measured, spread, 1.0)
    return mean, spread
