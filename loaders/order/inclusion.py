"""How often an item is expected to be drawn, and the weights that make sums over a draw unbiased."""

import numpy as np

from .draw import Draw, Inclusion


def bottom_k(weights_K: np.ndarray, threshold: float) -> np.ndarray:
    """1 - exp(-w t), the chance of an exponential key below t, the (K+1)-th smallest key.

    Conditional on the other keys, which is enough for unbiased sums (Cohen and Kaplan, "Summarizing data using bottom-k
    sketches", PODC 2007).
    """
    return -np.expm1(-weights_K * threshold)


def clipped(weights_K: np.ndarray, scale: float) -> np.ndarray:
    """min(1, c w), the exact inclusion probability of systematic sampling."""
    return np.minimum(scale * weights_K, 1.0)


def proportional(weights_K: np.ndarray, scale: float) -> np.ndarray:
    """c w, the expected number of draws with replacement; c = K / sum(w)."""
    return scale * weights_K


def inverse_inclusion(inclusion: Inclusion, draw: Draw, weights: np.ndarray | None, n: int) -> np.ndarray:
    """Weights that make sums over a draw unbiased: mean of f over all N = E[sum over the draw of result * f].

    They are 1 / (N pi), with pi the expected number of draws of an item (Horvitz and Thompson 1952).

    Args:
        inclusion: that of the design.
        weights: [N], those of the draw; None is equal weights.

    Returns:
        float64 [K].
    """
    if weights is None:
        return np.full(len(draw.ids), 1.0 / len(draw.ids))
    return 1.0 / (n * inclusion(weights[draw.ids].astype(np.float64), draw.scale))
