"""Pickles of numbers and text alone, for the torchvision classes that read pickles (CIFAR, LSUN).

CIFAR's files are checked against known digests first; LSUN's list of keys is read from whatever lies in the
current folder under its name. Neither needs more than plain values and numpy arrays.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

_ALLOWED = {
    ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"),
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
}  # fmt: skip


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which could run code")


class _Plain:
    """Stands in for the module `pickle`."""

    dump = staticmethod(pickle.dump)

    @staticmethod
    def load(file: BinaryIO, **options: Any) -> Any:
        """Read a pickle that builds plain values and arrays.

        Raises
        ------
        pickle.UnpicklingError
            For one that names anything else.
        """
        return _Unpickler(file, **options).load()


@contextmanager
def plain_pickles(cls: type) -> Iterator[None]:
    """Have the modules that a class is made in read plain pickles only, as long as this lasts."""
    modules = {base.__module__ for base in cls.__mro__ if base.__module__.startswith("torchvision.")}
    patched = [sys.modules[name] for name in modules if getattr(sys.modules[name], "pickle", None) is pickle]
    for module in patched:
        module.pickle = _Plain
    try:
        yield
    finally:
        for module in patched:
            module.pickle = pickle
