"""history.u8: the error of each sample in each epoch, one byte each, so that a run's past can be looked at.

The file holds uint8 [epochs, N] and nothing else. 0 says that the sample was not visited in that epoch; any other code
c says that its mean error, 1 - p(true class), was (c - 1) / 254 to the nearest step.
"""

import os
from pathlib import Path

import numpy as np

FILE = "history.u8"
HALF = 128
"""The code of an error of one half. Any smaller code but 0 says that p(true class) was above one half, so that the true
class was certainly the likeliest."""
_STEPS = 254


def write_epoch(folder: Path, epoch: int, error_N: np.ndarray, visited_N: np.ndarray) -> None:
    """Put the row of an epoch in its place, and have it on disk: an epoch that is made again replaces its row.

    Args:
        epoch: from 0.
        error_N: float [N] in [0, 1], the mean error in that epoch.
        visited_N: bool [N].
    """
    codes_N = np.where(visited_N, 1 + np.rint(_STEPS * np.clip(error_N, 0, 1)), 0).astype(np.uint8)
    path = folder / FILE
    path.touch()
    with open(path, "r+b") as file:
        file.seek(epoch * len(codes_N))
        file.write(codes_N.tobytes())
        file.flush()
        os.fsync(file.fileno())


def read_history(folder: Path, num_epochs: int, num_samples: int) -> np.ndarray | None:
    """The rows of the first epochs, uint8 [E, N], a read-only memory map; None where they are not all there."""
    path, size = folder / FILE, num_epochs * num_samples
    if not size or not path.is_file() or path.stat().st_size < size:
        return None
    return np.memmap(path, np.uint8, "r", shape=(num_epochs, num_samples)).view(np.ndarray)


def errors(codes: np.ndarray) -> np.ndarray:
    """The errors that codes stand for, float32 of their shape; NaN where a sample was not visited."""
    return np.where(codes > 0, (codes.astype(np.float32) - 1) / _STEPS, np.float32(np.nan))
