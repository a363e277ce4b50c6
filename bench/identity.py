"""Content identity: canonical JSON, digests and seeds derived from what identifies the thing that is seeded.

A strategy never enters a seed: scratch and every transfer with the same (target, size, seed) see the
same subsample, the same head and the same order of batches, so their difference is a true pair.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np


def canonical(value: Any) -> str:
    """Write `value` as JSON in one way only: sorted keys, no spaces, shortest floats.

    Raises
    ------
    TypeError
        For a value that JSON has no form for.
    ValueError
        For NaN or an infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def digest(value: Any, size: int = 10) -> str:
    """Hash a JSON-able `value` to `2 * size` hexadecimal characters (BLAKE2b)."""
    return hashlib.blake2b(canonical(value).encode(), digest_size=size).hexdigest()


def digest_arrays(
    arrays: dict[str, np.ndarray],
    extra: Any = None,
    size: int = 10,
    chunks: Callable[[np.ndarray], Iterable[np.ndarray]] = lambda array: (array,),
) -> str:
    """Hash named arrays (dtype, shape and bytes) together with a JSON-able `extra`.

    `chunks` cuts an array into runs of its rows, in order; how has no part in the digest.
    """
    state = hashlib.blake2b(digest_size=size)
    state.update(canonical(extra).encode())
    for name in sorted(arrays):
        array = np.atleast_1d(arrays[name])
        # Little-endian bytes, so that a fingerprint means the same on every machine.
        dtype = array.dtype.newbyteorder("<")
        state.update(canonical([name, dtype.str, list(array.shape)]).encode())
        for part in chunks(array) if array.size else ():
            state.update(np.ascontiguousarray(part, dtype).data)
    return state.hexdigest()


def derive(purpose: str, *identity: Any) -> int:
    """Derive a 63-bit seed for `purpose` from whatever identifies the thing that is seeded.

    Parameters
    ----------
    purpose : str
        What the seed is for ("subsample", "head", "batches", ...): two purposes never share a stream.
    *identity
        JSON-able values.
    """
    text = canonical([purpose, *identity])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(purpose: str, *identity: Any) -> np.random.Generator:
    """Return a numpy generator seeded with :func:`derive`."""
    return np.random.default_rng(derive(purpose, *identity))
