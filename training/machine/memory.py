"""Keep freed memory in the process."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Ask glibc to reuse freed memory instead of giving it back; does nothing with another C library.

    Every step allocates and frees the same large tensors. By default glibc maps and unmaps each of them, and the page
    faults cost more than an activation's arithmetic: several times its duration for tensors of 50 MB and more.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
