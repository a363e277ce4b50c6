"""Labels as users write them (whole numbers or words) turned into indices of class names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.errors import DataError, nearest


def encode(
    labels: Sequence[np.ndarray], where: str, classes: Sequence[str] | None = None
) -> tuple[list[np.ndarray], list[str]]:
    """Turn the labels of one or more parts into indices of a common list of classes.

    Parameters
    ----------
    labels : sequence of arrays, shape (N,) or (N, 1)
        Whole numbers, truth values or strings.
    where : str
        What an error calls them.
    classes : sequence of str, optional
        Class names: strings are looked up in it, numbers are positions in it. Without it, the different
        labels are the classes, in order.

    Returns
    -------
    labels : list of integer arrays, shape (N,)
    classes : list of str

    Raises
    ------
    DataError
        For labels that are neither, or outside `classes`.
    """
    parts = [_plain(np.asarray(part), where) for part in labels]
    every = np.concatenate(parts) if len({part.dtype.kind for part in parts}) == 1 else None
    if every is None:
        raise DataError(f"{where}: labels are numbers in one part and words in another")
    if classes is None:
        known = np.unique(every)
        return [np.searchsorted(known, part) for part in parts], [str(value) for value in known]
    names = [str(name) for name in np.asarray(classes).ravel()]
    if every.dtype.kind == "U":
        place = {name: index for index, name in enumerate(names)}
        strange = sorted(set(every.tolist()) - set(place))
        if strange:
            raise DataError(
                f'{where}: label "{strange[0]}" is none of the {len(names)} classes{nearest(strange[0], names)}'
            )
        return [np.array([place[name] for name in part.tolist()], np.int64) for part in parts], names
    return parts, names


def _plain(labels: np.ndarray, where: str) -> np.ndarray:
    """Return labels as int64 or as strings."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(f"{where}: labels must be one-dimensional, got shape {labels.shape}")
    kind = labels.dtype.kind
    if kind == "O":
        strange = next((value for value in labels.tolist() if not isinstance(value, str)), None)
        if strange is not None:
            raise DataError(f"{where}: labels must be whole numbers or strings, got {strange!r}")
        return labels.astype(str)
    if kind == "b":
        return labels.astype(str)
    if kind == "U":
        return labels
    if kind == "f":
        bad = ~np.isfinite(labels) | (labels != np.round(labels))
        if bad.any():
            raise DataError(f"{where}: labels must be whole numbers or strings, got {labels[bad][0]}")
    elif kind not in "iu":
        raise DataError(f"{where}: labels must be whole numbers or strings, got {labels.dtype}")
    return labels.astype(np.int64)


def target_names(y: np.ndarray, kind: str, given: Sequence[str] | None = None) -> list[str]:
    """Return what the columns of targets are called: as is given, else by number, or "target" where there is one.

    Parameters
    ----------
    y : array, shape (N,) or (N, K)
    kind : str
        Of the task.
    given : sequence of str, optional
    """
    if kind == "unlabelled":
        return []
    if given is not None:
        return [str(name) for name in np.asarray(given).ravel()]
    what, number = "label" if kind == "multi-label" else "target", y.shape[1] if y.ndim > 1 else 1
    return [what] if number == 1 else [f"{what} {k + 1}" for k in range(number)]
