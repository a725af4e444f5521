"""Turns a JPEG image without decoding it, by libturbojpeg, where that is installed."""

import ctypes
import ctypes.util
import functools
from typing import Any

# TurboJPEG's operation for each orientation of EXIF; its options and flags.
_OPERATIONS = {2: 1, 3: 6, 4: 2, 5: 3, 6: 5, 7: 4, 8: 7}
_PERFECT, _DROP_MARKERS, _STOP_ON_WARNING = 1, 64, 8192


class _Transform(ctypes.Structure):
    _fields_ = (
        ("region", ctypes.c_int * 4),
        ("operation", ctypes.c_int),
        ("options", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("filter", ctypes.c_void_p),
    )


def can_turn() -> bool:
    """Whether libturbojpeg is installed."""
    return _library() is not None


def turn_jpeg(content: bytes, orientation: int) -> bytes | None:
    """Turn a JPEG image as its orientation asks (EXIF tag 274), without loss and without its tags.

    Args:
        content: a JPEG file.
        orientation: 2 to 8.

    Returns:
        The turned file; None where the library is not installed, or where it cannot be done without loss: whole blocks
        of 8 or 16 pixels would have to leave the image.
    """
    library = _library()
    if library is None:
        return None
    transform = _Transform(operation=_OPERATIONS[orientation], options=_PERFECT | _DROP_MARKERS)
    result, size = ctypes.c_void_p(), ctypes.c_ulong()
    handle = library.tjInitTransform()
    try:
        failed = library.tjTransform(
            ctypes.c_void_p(handle),
            content,
            ctypes.c_ulong(len(content)),
            1,
            ctypes.byref(result),
            ctypes.byref(size),
            ctypes.byref(transform),
            _STOP_ON_WARNING,
        )
        return None if failed else ctypes.string_at(result.value or 0, size.value)
    finally:
        library.tjFree(result)
        library.tjDestroy(ctypes.c_void_p(handle))


@functools.cache
def _library() -> Any:
    name = ctypes.util.find_library("turbojpeg")
    if name is None:
        return None
    try:
        library = ctypes.CDLL(name)
    except OSError:
        return None
    library.tjInitTransform.restype = ctypes.c_void_p
    return library
