"""Buffers that are filled again and again, but never while somebody still looks at one.

A batch is delivered as a tensor over a slot's array. The tensor, its views and the graph of autograd hold the array, so
its reference count tells when the slot is free. Knows no order, no image and no thread.
"""

import sys

import numpy as np
import torch

from loaders.backends.batching import nchw

# 16-bit floats are written as bit patterns; their type tells the kernels which of the two is meant.
PATTERN = {
    torch.uint8: np.uint8,
    torch.float32: np.float32,
    torch.bfloat16: np.uint16,
    torch.float16: np.int16,
}


def patterns(values: torch.Tensor) -> np.ndarray:
    """The bit patterns of a tensor as an array over the same memory."""
    return values.view(torch.from_numpy(np.empty(0, PATTERN[values.dtype])).dtype).numpy()


class BufferPool:
    """Up to `count` arrays for batches of one shape, made when first needed.

    Args:
        count: arrays to keep. A consumer that holds more gets fresh ones, which it alone keeps alive.
        shape: (B, H, W, C).
        dtype: of the tensors; the arrays hold their bit patterns.
        pinned: page-locked memory, for copies to a device.
    """

    def __init__(self, count: int, shape: tuple[int, ...], dtype: torch.dtype, pinned: bool = False):
        self.count, self.shape, self.dtype, self.pinned = count, shape, dtype, pinned
        self._arrays: list[np.ndarray] = []
        self._unused = 0  # the reference count of an array that only this list holds

    def free(self) -> np.ndarray:
        """An array [B, H, W, C] that no tensor looks at. Use it before the next call, from one thread."""
        for i in range(len(self._arrays)):
            if sys.getrefcount(self._arrays[i]) <= self._unused:
                return self._arrays[i]
        if len(self._arrays) == self.count:
            self._arrays.pop(0)  # its holder keeps it
        self._arrays.append(self._allocate())
        self._unused = sys.getrefcount(self._arrays[-1])
        return self._arrays[-1]

    def tensor(self, array_BHWC: np.ndarray, size: int) -> torch.Tensor:
        """The first `size` images as [size, C, H, W], channels-last; the array is in use while the tensor lives."""
        return nchw(torch.from_numpy(array_BHWC[:size]).view(self.dtype))

    def _allocate(self) -> np.ndarray:
        if self.pinned:
            return patterns(torch.empty(self.shape, dtype=self.dtype, pin_memory=True))
        return np.empty(self.shape, PATTERN[self.dtype])
