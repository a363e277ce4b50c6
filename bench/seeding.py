"""Seeds derived from the identity of what they seed.

A strategy never enters a seed: scratch and every transfer with the same (target, size, seed) see the
same subsample, the same head and the same order of batches, so their difference is a true pair.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from bench.identity import canonical


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
