"""Who sees which example when: nested subsamples, validation cuts and batch orders.

Everything here depends on the target's data, the size and the seed; a strategy is never an argument.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.errors import DataError
from bench.heads.base import SINGLE_LABEL
from bench.identity import generator
from bench.suite.model import Recipe
from bench.tasks.base import Task
from bench.tasks.batches import shared_rows
from bench.tasks.splits import stratified_order, whole_groups


@dataclass(frozen=True, eq=False)
class Split:
    """Indices into the train pool.

    Attributes
    ----------
    train, validation : integer arrays
        With ``validation = "cut"`` they are the n labelled examples together. With "given", those of
        validation are counted on from the end of the pool, and lie in the split that comes with the data.
    """

    train: np.ndarray
    validation: np.ndarray


@dataclass(frozen=True, eq=False)
class Pool:
    """The part of a task that its splits depend on.

    Attributes
    ----------
    y : integer array, shape (N,)
        What splits are stratified by: the labels, or what a kind of task has in their place.
    groups : integer array, shape (N,), optional
        What no split tears apart.
    given : int
        Examples of the validation split that comes with the data.
    classed : bool
        Whether `y` are classes, of which training must have an example each.
    test : array, shape (M,), optional
        The targets of the test set, for what a metric can make of them; no split depends on them.
    leaked : int
        Examples of that validation split whose inputs are in the test set too; 0 where nobody looked.
    """

    y: np.ndarray
    groups: np.ndarray | None = None
    given: int = 0
    classed: bool = True
    test: np.ndarray | None = None
    leaked: int = 0

    @classmethod
    def of(cls, task: Task, look: bool = False) -> Pool:
        """Return the pool of a task; `look` for examples that validation and test set share, which takes a while."""
        leaked = shared_rows(task.x_test, task.x_val) if look and task.n_val else 0
        return cls(task.strata, task.groups, task.n_val, task.kind == SINGLE_LABEL, task.y_test, leaked)


def pool_order(y: np.ndarray, fingerprint: str, seed: int) -> np.ndarray:
    """Return the one stratified permutation of a train pool for (target, seed); a size is its prefix."""
    return stratified_order(y, generator("subsample", fingerprint, seed))


def split_pool(
    pool: Pool, fingerprint: str, size: int, seed: int, recipe: Recipe, classes: tuple[str, ...],
    order: np.ndarray | None = None,
) -> Split:  # fmt: skip
    """Return the training and validation examples for a target size.

    A size is a prefix of the pool's order, whatever the groups, so that sizes are nested. Validation never
    shares a group with training: a cut takes whole groups, as near to its share as they allow, and further
    examples are those of groups that the size has none of.

    Parameters
    ----------
    pool : Pool
    order : integer array, optional
        What :func:`pool_order` gives, where it is at hand.

    Raises
    ------
    DataError
        When the pool is too small, a class is left with no training example, or no validation split is given
        where the recipe wants it.
    """
    y, groups = pool.y, pool.groups
    order = pool_order(y, fingerprint, seed) if order is None else order
    if size > len(order):
        raise DataError(f"size {size} is more than the train pool's {len(order)} examples")
    labelled = order[:size]
    if recipe.validation == "given":
        if not pool.given:
            raise DataError('validation = "given", but the data come without a validation split beside a test set')
        split = Split(labelled, np.arange(len(y), len(y) + pool.given))
    elif recipe.validation == "extra":
        split = Split(labelled, _further(order, size, groups, recipe.validation_size))
    else:
        rng = generator("validation", fingerprint, size, seed)
        if groups is None:
            held = _cut(y[labelled], recipe.validation_share, rng, pool.classed)
        else:
            held = _cut_groups(y[labelled], groups[labelled], recipe.validation_share, rng, pool.classed)
        split = Split(labelled[~held], labelled[held])
    if not pool.classed:
        return split
    counts = np.bincount(y[split.train], minlength=len(classes))
    if (counts == 0).any():
        missing = ", ".join(f'"{classes[i]}"' for i in np.nonzero(counts == 0)[0][:5])
        raise DataError(f"size {size}, seed {seed}: no training example of class {missing}; use a larger size")
    return split


def reading_order(order: np.ndarray, split: Split, size: int, given: int) -> tuple[np.ndarray, int]:
    """Return the order in which examples are passed through frozen blocks, and how many of them a trial sees.

    Parameters
    ----------
    order : integer array, shape (N,)
        Of the pool.
    given : int
        Examples of a given validation split that is used: they come first, being the same for every size.

    Returns
    -------
    order : integer array, shape (given + N,)
    count : int
    """
    if given:
        return np.concatenate([np.arange(len(order), len(order) + given), order]), given + size
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return order, max(size, *(place[split.validation] + 1).tolist(), 0)


def _further(order: np.ndarray, size: int, groups: np.ndarray | None, wanted: int) -> np.ndarray:
    """Return the next examples of the order, without those of groups that the size has examples of."""
    rest, beside = order[size:], ""
    if groups is not None:
        rest = rest[~np.isin(groups[rest], groups[order[:size]])]
        beside = f", {len(rest)} of them in groups that the size has none of"
    if len(rest) < wanted:
        raise DataError(f"size {size} and {wanted} for validation: the pool has {len(order)} examples{beside}")
    return rest[:wanted]


def _cut_groups(y: np.ndarray, groups: np.ndarray, share: float, rng: np.random.Generator, classed: bool) -> np.ndarray:
    held = whole_groups(y, groups, max(1, round(share * len(y))), rng, classed)
    if not held.any():
        why = "each is the only one of a class; " if classed else ""
        raise DataError(
            f"{len(y)} labelled examples of {len(np.unique(groups))} groups leave no whole group for validation: "
            f"{why}use a larger size"
        )
    return held


def _cut(y: np.ndarray, share: float, rng: np.random.Generator, classed: bool) -> np.ndarray:
    """Mark a stratified share of the examples for validation, never a class's only example, nor all there are.

    Shares of classes are rounded by largest remainder, ties in random order; the last examples of a
    class go, so that training keeps the first ones.

    Returns
    -------
    bool array, shape (N,)
    """
    held = np.zeros(len(y), bool)
    labels, counts = np.unique(y, return_counts=True)
    wanted = max(1, round(share * len(y)))
    wanted, most = (wanted, counts - 1) if classed else (min(wanted, len(y) - 1), counts)
    quota = np.minimum(np.floor(share * counts), most).astype(int)
    remainder = share * counts - quota
    for index in sorted(rng.permutation(len(labels)), key=lambda i: -remainder[i]):
        if quota.sum() >= wanted:
            break
        quota[index] += quota[index] < most[index]
    for label, number in zip(labels, quota, strict=True):
        if number:
            held[np.nonzero(y == label)[0][-number:]] = True
    if not held.any():
        raise DataError(
            f"{len(y)} labelled examples{f' of {len(labels)} classes' if classed else ''} leave none for validation; "
            "use a larger size"
        )
    return held


def batch_order(n: int, steps: int, batch_size: int, *identity: object) -> np.ndarray | None:
    """Return which examples each step sees: shuffled passes over all n, cut to batches.

    Parameters
    ----------
    n, steps, batch_size : int
    *identity
        What the order belongs to: (target fingerprint, size, seed).

    Returns
    -------
    integer array, shape (steps, batch_size), or None
        None where a batch holds all n examples anyway.
    """
    if n <= batch_size:
        return None
    rng = generator("batches", *identity)
    passes = -(-steps * batch_size // n)
    return np.concatenate([rng.permutation(n) for _ in range(passes)])[: steps * batch_size].reshape(steps, batch_size)
