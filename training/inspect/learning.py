"""When a sample was learned and how often it was forgotten, from the history of its errors."""

from typing import NamedTuple

import numpy as np

from training.report.history import HALF


class Learning(NamedTuple):
    """Of each sample, int32 [N].

    Attributes:
        epochs: number of epochs in which it was visited.
        learned: the first epoch, from 1, in which p(label) was above one half; 0 where there was none.
        forgetting: how often p(label) fell from above one half in one visited epoch to at most that in the next one.
    """

    epochs: np.ndarray
    learned: np.ndarray
    forgetting: np.ndarray


def learning(history: np.ndarray) -> Learning:
    """Read the history of a run, uint8 [E, N], an epoch at a time.

    Toneva et al., "An Empirical Study of Example Forgetting" (ICLR 2019), count how often the likeliest class changes
    from right to wrong. A history holds p(label), so it is its passing through one half that counts here: above that,
    the label certainly was the likeliest class.
    """
    epochs, learned, forgetting = (np.zeros(history.shape[1], np.int32) for _ in range(3))
    is_known = np.zeros(history.shape[1], bool)
    for number, codes in enumerate(history, start=1):
        visited, is_right = codes > 0, codes < HALF
        epochs += visited
        forgetting += visited & is_known & ~is_right
        is_known = np.where(visited, is_right, is_known)
        learned[is_known & (learned == 0)] = number
    return Learning(epochs, learned, forgetting)
