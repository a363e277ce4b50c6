"""Content identity: canonical JSON and digests, the ground of keys, seeds and fingerprints."""

from __future__ import annotations

import hashlib
import json
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


def digest_arrays(arrays: dict[str, np.ndarray], extra: Any = None, size: int = 10) -> str:
    """Hash named arrays (dtype, shape and bytes) together with a JSON-able `extra`."""
    state = hashlib.blake2b(digest_size=size)
    state.update(canonical(extra).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        # Little-endian bytes, so that a fingerprint means the same on every machine.
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        state.update(canonical([name, array.dtype.str, list(array.shape)]).encode())
        state.update(array.data if array.size else b"")
    return state.hexdigest()
