"""Read arrays from a `.npz`, none of whose sizes is believed before it is checked."""

import io
import math
import warnings
import zipfile

import numpy as np

from .claims import check_expanded, check_stored
from .sentence import one_line


def read_arrays(content: bytes, names: tuple[str, ...], max_bytes: int) -> list[np.ndarray]:
    """The arrays of these names, read-only and without pickled objects.

    Args:
        content: the file.
        max_bytes: of one array.

    Raises:
        ValueError: half a sentence, to which the caller adds the file and what to do.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return [_array(archive, f"{name}.npy", len(content), max_bytes) for name in names]
    except Exception as error:  # noqa: BLE001 - zipfile, zlib and NumPy raise anything on damaged files
        raise ValueError(one_line(error) or type(error).__name__) from None


def holds(content: bytes, name: str) -> bool:
    """Whether a file that `read_arrays` has read holds this array too."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return f"{name}.npy" in archive.namelist()


def _array(archive: zipfile.ZipFile, name: str, num_bytes: int, max_bytes: int) -> np.ndarray:
    member = archive.getinfo(name)
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is packed in a way that NumPy does not write")
    check_stored(name, member.compress_size, num_bytes)
    check_expanded(name, member.file_size, member.compress_size, max_bytes)
    content = io.BytesIO(archive.read(member))
    major, minor = np.lib.format.read_magic(content)
    if (major, minor) != (1, 0):
        raise ValueError(f"{name} is of version {major}.{minor}, allowed: 1.0")
    with warnings.catch_warnings(action="ignore"):  # of a header that was written by Python 2
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(content)
    if dtype.hasobject or (is_fortran and len(shape) > 1):
        raise ValueError(f"{name} holds {dtype} {[*shape]}")
    check_stored(name, dtype.itemsize * math.prod(shape), len(content.getbuffer()) - content.tell())
    return np.frombuffer(content.getbuffer(), dtype, math.prod(shape), content.tell()).reshape(shape)
