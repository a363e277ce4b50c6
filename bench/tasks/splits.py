"""Stratified orders and cuts: which examples go where, classes in proportion and groups whole."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.errors import DataError


def stratified_order(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a permutation of the examples of which every prefix is (nearly) stratified.

    The i-th example of a class with m examples takes the place (i + u) / m on a common line, u being
    uniform and drawn once a class; so each prefix holds every class in proportion, rounded, and any two
    sizes are nested.

    Parameters
    ----------
    y : integer array, shape (N,)
    rng : numpy.random.Generator

    Returns
    -------
    integer array, shape (N,)
    """
    place = np.empty(len(y))
    for label in np.unique(y):
        members = rng.permutation(np.nonzero(y == label)[0])
        place[members] = (np.arange(len(members)) + rng.uniform()) / len(members)
    return np.argsort(place, kind="stable")


def whole_groups(
    y: np.ndarray, groups: np.ndarray, wanted: int, rng: np.random.Generator, classed: bool = True
) -> np.ndarray:
    """Mark whole groups of about `wanted` examples together, classes nearly in proportion.

    Groups come in a :func:`stratified_order` by their commonest class. One is marked where that brings the
    number of examples nearer to `wanted`, and never where a class would be left without an example. Where
    all are too large for that, the smallest that may be marked is.

    Parameters
    ----------
    y, groups : integer arrays, shape (N,)
    wanted : int
    rng : numpy.random.Generator
    classed : bool
        Whether `y` are classes; of other strata any may be left without an example, but never all are.

    Returns
    -------
    bool array, shape (N,)
        All false where every group is the only one of some class, or there is one group.
    """
    _, group_of = np.unique(groups, return_inverse=True)
    counts = np.zeros((group_of.max() + 1, y.max() + 1), np.int64)
    np.add.at(counts, (group_of, y), 1)
    sizes, left = counts.sum(1), counts.sum(0)
    marked, total = np.zeros(len(counts), bool), 0
    order = stratified_order(counts.argmax(1), rng)

    def alone(group: int) -> bool:
        if not classed:
            return sizes[group] == left.sum()
        return bool(((counts[group] > 0) & (counts[group] == left)).any())

    for group in order:
        if abs(total + sizes[group] - wanted) < abs(total - wanted) and not alone(group):
            marked[group] = True
            total += sizes[group]
            left = left - counts[group]
    if not marked.any():
        possible = [group for group in order if not alone(group)]
        if possible:
            marked[min(possible, key=lambda group: sizes[group])] = True
    return marked[group_of]


def cut_test(
    y: np.ndarray, groups: np.ndarray | None, share: float, rng: np.random.Generator, name: str, classed: bool = True
) -> tuple[np.ndarray, np.ndarray, str]:
    """Cut a test set off, stratified, groups whole.

    Parameters
    ----------
    y : integer array, shape (N,)
    groups : integer array, shape (N,), optional
    share : float
        Of the examples that the test set gets.
    rng : numpy.random.Generator
    name : str
        What an error calls the data.
    classed : bool
        Whether `y` are classes, of which none may be left out, or other strata.

    Returns
    -------
    train, test : integer arrays
        In ascending order.
    note : str
        The cut in a sentence, with its counts.

    Raises
    ------
    DataError
        When there are too few examples, or groups.
    """
    n_test = max(1, round(share * len(y)))
    if groups is None:
        order = stratified_order(y, rng)
        if n_test >= len(order):
            raise DataError(f"{name}: {len(order)} examples are too few to cut a test set from")
        train, test = np.sort(order[n_test:]), np.sort(order[:n_test])
        how = "stratified by class" if classed else "stratified by target"
    else:
        held = whole_groups(y, groups, n_test, rng, classed)
        total = len(np.unique(groups))
        if not held.any():
            raise DataError(
                f"{name}: no test set can be cut from {total} groups: {_only(classed)}; "
                "give a test set, or drop the groups"
            )
        train, test = np.nonzero(~held)[0], np.nonzero(held)[0]
        how = f"{len(np.unique(groups[test]))} of {total} groups, none torn"
    note = f"test set: {len(test):,} of {len(y):,} examples ({len(test) / len(y):.0%}) cut off by the protocol, {how}"
    return train, test, note


def _only(classed: bool) -> str:
    return "each is the only one of a class" if classed else "there must be two"


def encode_groups(values: Any, n: int, name: str) -> np.ndarray:
    """Number the groups of examples, in the order of their names.

    Parameters
    ----------
    values : array of whole numbers or strings, shape (N,) or (N, 1)
    n : int
        How many there must be.

    Returns
    -------
    integer array, shape (N,)

    Raises
    ------
    DataError
        For another number of them, or values that name nothing.
    """
    values = np.asarray(values)
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if values.shape != (n,):
        raise DataError(f"{name}: groups have shape {values.shape}, there are {n} examples")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(f"{name}: the group of example {int(np.argmin(np.isfinite(values)))} is missing")
    values = values.astype(str) if values.dtype.kind == "O" else values
    return np.unique(values, return_inverse=True)[1].astype(np.int64)
