"""Who sees which example when: nested subsamples, validation cuts and batch orders.

Everything here depends on the target's data, the size and the seed; a strategy is never an argument.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.errors import DataError
from bench.seeding import generator
from bench.suite.model import Recipe
from bench.tasks.base import stratified_order


@dataclass(frozen=True, eq=False)
class Split:
    """Indices into the train pool.

    Attributes
    ----------
    train, validation : integer arrays
        With ``validation = "cut"`` they are the n labelled examples together.
    """

    train: np.ndarray
    validation: np.ndarray


def pool_order(y: np.ndarray, fingerprint: str, seed: int) -> np.ndarray:
    """Return the one stratified permutation of a train pool for (target, seed); a size is its prefix."""
    return stratified_order(y, generator("subsample", fingerprint, seed))


def split_pool(
    y: np.ndarray, fingerprint: str, size: int, seed: int, recipe: Recipe, classes: tuple[str, ...],
    order: np.ndarray | None = None,
) -> Split:  # fmt: skip
    """Return the training and validation examples for a target size.

    Parameters
    ----------
    order : integer array, optional
        What :func:`pool_order` gives, where it is at hand.

    Raises
    ------
    DataError
        When the pool is too small, or a class is left with no training example.
    """
    order = pool_order(y, fingerprint, seed) if order is None else order
    if size > len(order):
        raise DataError(f"size {size} is more than the train pool's {len(order)} examples")
    labelled = order[:size]
    if recipe.validation == "extra":
        validation = order[size : size + recipe.validation_size]
        if len(validation) < recipe.validation_size:
            raise DataError(
                f"size {size} and {recipe.validation_size} for validation: the pool has {len(order)} examples"
            )
        split = Split(labelled, validation)
    else:
        held = _cut(y[labelled], recipe.validation_share, generator("validation", fingerprint, size, seed))
        split = Split(labelled[~held], labelled[held])
    counts = np.bincount(y[split.train], minlength=len(classes))
    if (counts == 0).any():
        missing = ", ".join(f'"{classes[i]}"' for i in np.nonzero(counts == 0)[0][:5])
        raise DataError(f"size {size}, seed {seed}: no training example of class {missing}; use a larger size")
    return split


def _cut(y: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Mark a stratified share of the examples for validation, never a class's only example.

    Shares of classes are rounded by largest remainder, ties in random order; the last examples of a
    class go, so that training keeps the first ones.

    Returns
    -------
    bool array, shape (N,)
    """
    held = np.zeros(len(y), bool)
    labels, counts = np.unique(y, return_counts=True)
    wanted = max(1, round(share * len(y)))
    quota = np.minimum(np.floor(share * counts), counts - 1).astype(int)
    remainder = share * counts - quota
    for index in sorted(rng.permutation(len(labels)), key=lambda i: -remainder[i]):
        if quota.sum() >= wanted:
            break
        quota[index] += quota[index] < counts[index] - 1
    for label, number in zip(labels, quota, strict=True):
        if number:
            held[np.nonzero(y == label)[0][-number:]] = True
    if not held.any():
        raise DataError(
            f"{len(y)} labelled examples of {len(labels)} classes leave none for validation; use a larger size"
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
