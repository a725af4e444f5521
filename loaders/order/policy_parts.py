"""What policies are made of: their type, what unseen samples count as, smoothing. Knows no method."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from loaders.types import Snapshot

Policy = Callable[[Snapshot], "np.ndarray | Preference | None"]


class Preference(NamedTuple):
    """Weights of a policy that sets more than the weights.

    Attributes:
        weights: float [N].
        num_draws: how many to draw instead of the budget's number.
        importance: float [N], the factor of each sample's loss if it is drawn.
    """

    weights: np.ndarray
    num_draws: int
    importance: np.ndarray


def fill_unseen(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """`values` with the largest seen value at the samples that are not `seen` (bool [N]); ones when none is."""
    if not seen.any():
        return np.ones_like(values)
    return np.where(seen, values, values[seen].max())


def smooth(scores: np.ndarray, share: float) -> np.ndarray:
    """Weights of which the share `share`, below one, is uniform and the rest proportional to the scores.

    With one half it is scores + mean(scores), the smoothing constant of Arazo et al. and of Chang et al.
    """
    if not 0 <= share < 1:
        raise ValueError(f"smoothing is the share of uniform draws, at least 0 and below 1, got {share}")
    mean = scores.mean(dtype=np.float64)
    return np.ones_like(scores) if mean == 0 else scores + mean * (share / (1 - share))


def mixture(policy: Policy, lam: float) -> Policy:
    """lam of the uniform distribution and 1 - lam of the policy's: no sample's chance falls below lam / N."""
    if not 0 <= lam <= 1:
        raise ValueError(f"mixture(policy, lam) takes a share 0 <= lam <= 1 of uniform, got {lam}")

    def mixed(snapshot: Snapshot) -> np.ndarray | None:
        weights = policy(snapshot)
        if weights is None:
            return None
        if isinstance(weights, Preference):
            raise ValueError("a policy that sets its own number of draws cannot be mixed with uniform")
        weights = np.asarray(weights, np.float64)
        mean = weights.mean()
        return np.ones(len(weights)) if mean == 0 else lam + (1 - lam) * weights / mean

    return mixed
