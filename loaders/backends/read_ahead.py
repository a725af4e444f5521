"""Ask the system for the pages of a plan's images before they are needed, where they are not in memory.

Without this, a memory map reads each image at its first access, one after the other, and the system reads on behind
it, up to megabytes that a random order does not use. The plan says which images come next. So they are requested in
blocks of many batches, sorted by their place in the file and neighbours in one read, and the system's own read-ahead is
switched off. Where some probes find a block in memory already, nothing is requested.
"""

import ctypes
import mmap
from collections.abc import Sequence

import numpy as np

from ..formats.dataset import DatasetFile
from ..types import EpochPlan

BLOCK = 1 << 25  # bytes of images that are asked for at once; two blocks are on their way
GAP = 1 << 16  # bytes between two images that are read along: cheaper than a read of its own
PROBES = 32  # images of a block whose first page is looked up in memory
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class ReadAhead:
    """Reads ahead of the batches of one epoch.

    Args:
        dataset: the open file.
        plan: of the epoch.
        todo: the batches, as (first, last) positions in the plan.
    """

    def __init__(self, dataset: DatasetFile, plan: EpochPlan, todo: Sequence[tuple[int, int]]):
        self._dataset, self._plan, self._todo = dataset, plan, todo
        self._is_random = False  # whether the system was told not to read ahead by itself
        first, last = todo[0] if todo else (0, 0)
        self._batches = max(1, BLOCK // max(1, int(dataset.sizes[plan.ids[first:last]].sum())))  # in a block

    def reach(self, batch: int) -> None:
        """Say that batch number `batch` of `todo` comes next."""
        if batch % self._batches == 0:
            if batch == 0:
                self._ask(0)
            self._ask(batch + self._batches)

    def _ask(self, batch: int) -> None:
        """Ask for the block that begins with a batch."""
        block = self._todo[batch : batch + self._batches]
        if not block:
            return
        ids = np.concatenate([self._plan.ids[first:last] for first, last in block])
        base, starts = self._dataset.data.ctypes.data, self._dataset.offsets[ids]
        if all(_is_resident(base + start) for start in starts[:: -(-len(starts) // PROBES)].tolist()):
            return
        if not self._is_random:
            _libc.madvise(base, self._dataset.data.nbytes, mmap.MADV_RANDOM)
            self._is_random = True
        for first, last in ranges(starts, self._dataset.sizes[ids]):
            _libc.madvise(base + first, last - first, mmap.MADV_WILLNEED)


def ranges(starts: np.ndarray, sizes: np.ndarray) -> list[tuple[int, int]]:
    """Cover pieces of a file by ranges of whole pages, ascending; no two are nearer than `GAP` to each other.

    Args:
        starts, sizes: int64 [K], bytes.

    Returns:
        (first, last) bytes of each range; the last one may lie behind the end of the file.
    """
    order = np.argsort(starts, kind="stable")
    firsts = starts[order] // mmap.PAGESIZE * mmap.PAGESIZE
    lasts = np.maximum.accumulate(-(-(starts + sizes)[order] // mmap.PAGESIZE) * mmap.PAGESIZE)
    is_new = np.concatenate([[True], firsts[1:] > lasts[:-1] + GAP])
    is_end = np.concatenate([is_new[1:], [True]])
    return list(zip(firsts[is_new].tolist(), lasts[is_end].tolist(), strict=True))


def _is_resident(address: int) -> bool:
    """Whether the page of an address is in memory; true where the system does not tell."""
    answer = ctypes.c_ubyte(1)
    _libc.mincore(address // mmap.PAGESIZE * mmap.PAGESIZE, 1, ctypes.byref(answer))
    return bool(answer.value & 1)
