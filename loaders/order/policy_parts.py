"""Parts of policies: their type, the value of unseen samples, smoothing, mixtures with uniform."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..types import Snapshot

# (what is known of the samples) -> weights, float [N] >= 0; None for equal weights; or a `Preference`.
Policy = Callable[[Snapshot], "np.ndarray | Preference | None"]


class Preference(NamedTuple):
    """What a policy returns that also decides how many samples are drawn.

    Attributes:
        weights: float [N], >= 0.
        num_draws: number of samples to draw, in place of the budget's.
        importance: float [N], the factor of each sample's loss if it is drawn; None is one for all.
    """

    weights: np.ndarray
    num_draws: int
    importance: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class FixedWeights:
    """The policy of weights that no score changes.

    Attributes:
        weights: float [N], >= 0.
    """

    weights: np.ndarray

    def __call__(self, snapshot: Snapshot) -> np.ndarray:
        return self.weights


def recorded(snapshot: Snapshot, name: str) -> np.ndarray:
    """A field of a snapshot, float32 [N].

    Raises:
        ValueError: training records no such score.
    """
    values = getattr(snapshot, name)
    if np.isnan(values[:1]).any():  # all of them are, or none: `loaders.types.Snapshot`
        raise ValueError(
            f"the policy reads {name!r}, and training records no score that it is made of: record "
            "loaders.scores(logits, labels), or choose a policy of the scores that are recorded"
        )
    return values


def fill_unseen(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Give samples that were never visited the largest value of those that were.

    Args:
        values: float [N].
        seen: bool [N], whether a sample was visited.

    Returns:
        float [N]; ones if no sample was visited.
    """
    if not seen.any():
        return np.ones_like(values)
    return np.where(seen, values, values[seen].max())


LEAST = 1e-10
"""Weight of a sample whose score is zero, as in Arazo et al.'s code: it can be drawn where nothing else is left."""


def positive(scores: np.ndarray) -> np.ndarray:
    """The scores, those of zero raised to `LEAST`: an error can round to zero, and a method must not end for that."""
    return np.maximum(scores, scores.dtype.type(LEAST))


def smooth(scores: np.ndarray, uniform_fraction: float) -> np.ndarray:
    """Mix scores with a constant: a fraction of the resulting weights is uniform, the rest follows the scores.

    The weights are scores + mean(scores) * f / (1 - f). With f = 1/2 they are scores + mean(scores), the smoothing
    constant of Arazo et al. (BMVC 2021) and of Chang et al. (NIPS 2017).

    Args:
        scores: float [N], >= 0.
        uniform_fraction: f, in [0, 1).

    Returns:
        float [N], > 0; ones if all scores are zero.

    Raises:
        ValueError: the fraction is not in [0, 1).
    """
    if not 0 <= uniform_fraction < 1:
        raise ValueError(f"smoothing is the fraction of uniform draws, at least 0 and below 1, got {uniform_fraction}")
    mean = scores.mean(dtype=np.float64)
    if mean == 0:
        return np.ones_like(scores)
    return positive(scores + mean * (uniform_fraction / (1 - uniform_fraction)))


def mixture(policy: Policy, lam: float) -> Policy:
    """A policy whose distribution is lam times uniform plus (1 - lam) times that of another policy.

    With replacement, no sample's chance of a draw falls below lam / N.

    Raises:
        ValueError: `lam` is not in [0, 1]; when called, a policy that sets its own number of draws.
    """
    if not 0 <= lam <= 1:
        raise ValueError(f"mixture(policy, lam) needs a fraction of uniform 0 <= lam <= 1, got {lam}")

    def mixed(snapshot: Snapshot) -> np.ndarray | None:
        weights = policy(snapshot)
        if weights is None:
            return None
        if isinstance(weights, Preference):
            raise ValueError(
                "a policy that sets its own number of draws cannot be mixed with uniform: use it without mixture()"
            )
        weights = np.asarray(weights, np.float64)
        mean = weights.mean()
        return np.ones(len(weights)) if mean == 0 else lam + (1 - lam) * weights / mean

    return mixed
