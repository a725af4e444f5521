"""Memory that ends where no byte can be read or written: a kernel that goes further is killed, and its test with it."""

import ctypes
import mmap

import numpy as np

_PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)


def guarded(content: bytes) -> np.ndarray:
    """The bytes as a writable array, uint8, right before a page that must not be touched."""
    room = -(-max(len(content), 1) // _PAGE) * _PAGE
    memory = mmap.mmap(-1, room + _PAGE)
    whole = np.frombuffer(memory, np.uint8)
    address = ctypes.c_void_p(whole.ctypes.data + room)
    if _libc.mprotect(address, ctypes.c_size_t(_PAGE), 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    array = whole[room - len(content) : room]
    array[:] = np.frombuffer(content, np.uint8)
    return array
