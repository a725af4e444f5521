"""What a sampling design is given and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .prefix_sum import count_weights

# Streams within the key of one draw: its steps share no random numbers.
SELECT, SHUFFLE, PAGES, PASSES = 0, 1, 2, 3


@dataclass(frozen=True, eq=False)
class Context:
    """What a design may read besides the weights.

    Attributes:
        key: 64-bit key of this epoch's draw.
        run_key: 64-bit key of the whole run, the same in every epoch.
        epoch: 0, 1, ...
        page: samples per page of the file; page p holds the ids p * page to (p + 1) * page - 1.
        window: number of pages held in memory together.
        pool_size: number of items from which the design `pool` takes the K largest.
        threads: upper limit; None takes all cores. No result depends on it.
    """

    key: int
    run_key: int = 0
    epoch: int = 0
    page: int = 2048
    window: int = 32
    pool_size: int = 0
    threads: int | None = None


class Draw(NamedTuple):
    """The result of a design.

    Attributes:
        ids: int64 [K] in random order.
        scale: what turns a weight into a chance, for the design's `inclusion` function; NaN where there is none.
    """

    ids: np.ndarray
    scale: float = np.nan


# (float64 weights [K] of the drawn items, `Draw.scale`) -> float64 [K], how often each was expected to be drawn.
Inclusion = Callable[[np.ndarray, float], np.ndarray]


class Design(NamedTuple):
    """A sampling design, and what the scheduler must know of it before it draws.

    Attributes:
        draw: `(weights, n, k, context) -> Draw`: K of N items. Weights are float32 or float64 [N], finite and >= 0, or
            None for equal weights. A pure function, whose result is the same on any number of threads.
        inclusion: the expected number of draws of an item; None if the design has no unbiased weights.
        repeats: may draw an item more than once, so that K may exceed N.
        takes_zeros: may draw items of weight zero; other designs need K positive weights, or one if they repeat.
        weighted: follows weights; False if all items are drawn equally.
    """

    draw: Callable[[np.ndarray | None, int, int, Context], Draw]
    inclusion: Inclusion | None = None
    repeats: bool = False
    takes_zeros: bool = False
    weighted: bool = True

    def num_positive(self, k: int) -> int:
        """How many weights must be positive to draw K items."""
        return 0 if self.takes_zeros else 1 if self.repeats else k


def check_weights(weights: np.ndarray | None, n: int, needed: int) -> np.ndarray | None:
    """Return weights as a contiguous float32 or float64 array; refuse those that no design can draw from.

    Args:
        weights: one number per item, or None for equal weights.
        n: number of items.
        needed: how many weights must be positive.

    Raises:
        ValueError: the shape is not [n], a weight is negative, infinite or NaN, or too few are positive.
    """
    if weights is None:
        return None
    weights = np.ascontiguousarray(weights)
    if weights.dtype not in (np.float32, np.float64):
        weights = weights.astype(np.float64)
    if weights.shape != (n,):
        raise ValueError(f"expected one weight for each of {n} samples, got an array of shape {weights.shape}")
    found = count_weights(weights)
    if found.bad:
        i = int(np.argmax(~(np.isfinite(weights) & (weights >= 0))))
        raise ValueError(
            f"{found.bad} of {n} weights are negative, infinite or NaN (first: sample {i} has {weights[i]}); "
            "weights must be finite and >= 0"
        )
    if found.positive < needed:
        raise ValueError(
            f"{needed} different samples are to be drawn but only {found.positive} of {n} weights are positive; "
            "lower the budget, smooth the weights with mixture(policy, lam), or use design='replacement'"
        )
    return _in_range(weights)


def _in_range(weights: np.ndarray) -> np.ndarray:
    """The weights times a power of two that brings the largest near one, where they are far from it.

    Designs divide by weights and by their sums, which leaves the range of floating point where weights are near its
    ends. A power of two changes no bit of a draw.
    """
    exponent = int(np.frexp(weights.max())[1])
    return weights if abs(exponent) <= 32 else np.ldexp(weights.astype(np.float64), -exponent)
