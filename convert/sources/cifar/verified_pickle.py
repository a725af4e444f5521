"""Loads the pickles of CIFAR's python archives, after their published checksums and with three names only.

Unpickling runs a program that came with the file. So nothing is unpickled but content whose checksum is published, and
even that may use no name beyond the three that NumPy writes for an array.
"""

import hashlib
import io
import pickle
from typing import Any

import numpy as np


def load_verified_pickle(content: bytes, md5: str) -> Any:
    """Unpickle `content` if its MD5 is `md5`; text of Python 2 becomes str (Latin-1).

    Raises:
        ValueError: the content has another MD5, or is no pickle of plain values and uint8 arrays.
    """
    got = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if got != md5:
        raise ValueError(f"wrong checksum: its MD5 is {got}, the published one is {md5}")
    try:
        return _Unpickler(io.BytesIO(content), encoding="latin-1").load()
    except Exception as error:  # noqa: BLE001 - a damaged pickle may raise anything
        raise ValueError(f"it cannot be unpickled ({type(error).__name__}: {error})") from None


def _uint8(kind: str, align: int, copy: int) -> np.dtype:
    """Stand in for `numpy.dtype`, which no longer takes `align` as the integer that old pickles hold."""
    if kind not in ("u1", "|u1"):
        raise pickle.UnpicklingError(f"an array of type {kind!r}, allowed: uint8")
    return np.dtype(np.uint8, copy=True)


_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],  # where NumPy keeps it today
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _uint8,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, allowed: arrays and plain values")
        return _NAMES[module, name]
