"""A further field of a data set: a number or an array beside each image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class Column:
    """One value of each sample, read from the file when it is asked for.

    Attributes:
        data: uint8 [file size], a memory map of the file.
        starts: int64 [N], the first byte of each value in `data`.
        dtype: of a value.
        shape: of a value; () is a number.
        touch: called with the ids of values before they are read; see `DatasetFile.touch`.
    """

    data: np.ndarray = field(repr=False)
    starts: np.ndarray = field(repr=False)
    dtype: np.dtype
    shape: tuple[int, ...] = ()
    touch: Callable[[np.ndarray], None] | None = field(default=None, repr=False)

    @property
    def num_bytes(self) -> int:
        """Of one value."""
        return self.dtype.itemsize * math.prod(self.shape)

    def is_like(self, other: Column) -> bool:
        """Whether the values have the same type and shape."""
        return (self.dtype, self.shape) == (other.dtype, other.shape)

    def take(self, ids: np.ndarray) -> np.ndarray:
        """The values of some samples, [B, *shape].

        Args:
            ids: int64 [B].
        """
        if self.touch is not None:
            self.touch(ids)
        # A view of the file as one value of so many bytes at each byte, of which the wanted ones are copied.
        values = np.ndarray(len(self.data) - self.num_bytes + 1, f"V{self.num_bytes}", self.data, strides=(1,))
        return values[self.starts[ids]].view(self.dtype).reshape(len(ids), *self.shape)
