"""p-values of the two goodness-of-fit tests that the statistical tests use."""

import numpy as np
import torch


def chi_square(observed, expected=None) -> float:
    """Pearson's test of counts against expected counts of equal sum (None: all equal)."""
    observed = np.asarray(observed, float)
    expected = np.full(len(observed), observed.mean()) if expected is None else np.asarray(expected, float)
    assert np.isclose(observed.sum(), expected.sum())
    half = torch.tensor([(len(observed) - 1) / 2, ((observed - expected) ** 2 / expected).sum() / 2])
    return float(torch.special.gammaincc(half[0], half[1]))


def kolmogorov(sample, cdf=lambda x: x) -> float:
    """Kolmogorov's test of a sample against a continuous distribution (uniform on [0, 1] by default), for large n."""
    u = cdf(np.sort(np.asarray(sample, float)))
    n = len(u)
    steps = np.arange(n + 1) / n
    distance = max((steps[1:] - u).max(), (u - steps[:-1]).max())
    x = distance * (np.sqrt(n) + 0.12 + 0.11 / np.sqrt(n))  # Stephens 1970
    k = np.arange(1, 101)
    return float(np.clip(2 * np.sum((-1.0) ** (k - 1) * np.exp(-2 * (k * x) ** 2)), 0, 1))
