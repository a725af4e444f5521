"""Policies: pure functions from what is known of the samples to how much each of them is wanted.

A policy is any callable `policy(snapshot) -> weights`: a `loaders.Snapshot` in, float [N] >= 0 out (relative, not
normalised), or None for equal weights, or a `Preference` when it also decides how many samples are drawn. Policies hold
no state, draw no random numbers and know no design. This module imports neither torch nor a backend.

Sources: "A" is Arazo et al., "How Important is Importance Sampling for Deep Budgeted Training?" (BMVC 2021) and its
code.
"""

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


def uniform(snapshot: Snapshot) -> None:
    """Every sample is wanted equally (unif-SGD of A: the subset is drawn anew each epoch)."""


def _fill_unseen(values: np.ndarray, snapshot: Snapshot) -> np.ndarray:
    """`values` with the largest seen value at the samples that were never visited; ones when nothing was."""
    seen = snapshot.visits > 0
    if not seen.any():
        return np.ones_like(values)
    return np.where(seen, values, values[seen].max())


def _smooth(scores: np.ndarray) -> np.ndarray:
    """A's smoothing constant, the mean score: exactly half the uniform and half the proportional distribution."""
    mean = scores.mean(dtype=np.float64)
    return np.ones_like(scores) if mean == 0 else scores + mean


def p_sgd(snapshot: Snapshot, compat: str | None = None) -> np.ndarray:
    """p-SGD (A, section 3): the running mean over all visits of 1 - p(true class), plus its mean.

    A sample never visited counts as the hardest one seen. The reference does the same, so `compat` changes nothing.
    """
    return _smooth(_fill_unseen(snapshot.mean_error, snapshot))


def c_sgd(snapshot: Snapshot, compat: str | None = None) -> np.ndarray:
    """c-SGD (A, section 3; Chang et al. 2017, "threshold closeness"): s (1 - s) of the running mean s, plus its mean.

    The reference gives unseen samples the largest s *before* s (1 - s), which starves them once some s is near one;
    that is `compat="arazo"`. By default they get the largest s (1 - s).
    """
    s = snapshot.mean_error
    if compat == "arazo":
        s = _fill_unseen(s, snapshot)
        return _smooth(s * (1 - s)) if (snapshot.visits > 0).any() else np.ones_like(s)
    return _smooth(_fill_unseen(s * (1 - s), snapshot))


def loss(snapshot: Snapshot) -> np.ndarray:
    """The latest loss; unseen samples count as the largest."""
    return _fill_unseen(snapshot.loss, snapshot)


def el2n(snapshot: Snapshot) -> np.ndarray:
    """The latest |softmax - onehot|_2 (Paul et al. 2021, here online); unseen samples count as the largest.

    For softmax with cross-entropy it is the norm of the loss's gradient at the logits, the upper bound up to a constant
    of Katharopoulos and Fleuret (2018).
    """
    return _fill_unseen(snapshot.el2n, snapshot)


def rank(snapshot: Snapshot, pressure: float = 100.0) -> np.ndarray:
    """Online batch selection (Loshchilov and Hutter 2016): exponential decay in the rank of the latest loss.

    Args:
        pressure: how much likelier the sample with the largest loss is than the one with the smallest.
    """
    values = _fill_unseen(snapshot.loss, snapshot)
    order = np.argsort(-values, kind="stable")
    weights = np.empty(len(values))
    weights[order] = np.exp(-np.log(pressure) * np.arange(len(values)) / len(values))
    return weights


def infobatch(snapshot: Snapshot, ratio: float = 0.5) -> Preference:
    """InfoBatch (Qin et al. 2024): of the samples whose latest loss is below the mean only a share 1 - ratio is kept.

    The kept ones weigh 1 / (1 - ratio), all others one, so the sum of the losses is unbiased with respect to the
    scores. How many are drawn follows from the losses, not from the budget: use design "systematic", whose chances are
    exact.
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"infobatch drops a share 0 <= ratio < 1 of the easy samples, got {ratio}")
    seen = snapshot.visits > 0
    easy = seen & (snapshot.loss < snapshot.loss[seen].mean(dtype=np.float64)) if seen.any() else seen
    weights = np.where(easy, 1.0 - ratio, 1.0)
    return Preference(weights, num_draws=int(np.ceil(weights.sum())), importance=1.0 / weights)


def class_balanced(labels: np.ndarray) -> Policy:
    """Every class is wanted equally: weight 1 / (number of samples of the class). `labels` int [N]."""
    weights = 1.0 / np.bincount(labels)[labels]
    return lambda snapshot: weights


def mixture(policy: Policy, lam: float) -> Policy:
    """lam of the uniform distribution and 1 - lam of the policy's: no sample's chance falls below lam / N.

    p_sgd is mixture(the mean error, 0.5); this makes the constant that A hides in its smoothing a choice.
    """
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


BY_NAME = {
    "uniform": uniform,
    "p-sgd": p_sgd,
    "c-sgd": c_sgd,
    "loss": loss,
    "el2n": el2n,
    "rank": rank,
    "infobatch": infobatch,
}


def resolve(policy: str | Policy, compat: str | None = None) -> Policy:
    """The policy of that name, or the callable itself; `compat="arazo"` selects the reference's oddities."""
    if compat not in (None, "arazo"):
        raise ValueError(f"compat is None or 'arazo', got {compat!r}")
    if callable(policy):
        return policy
    if policy not in BY_NAME:
        raise ValueError(f"unknown policy {policy!r}: choose one of {', '.join(BY_NAME)}, or give a function")
    chosen = BY_NAME[policy]
    return (lambda snapshot: chosen(snapshot, compat)) if compat and policy in ("p-sgd", "c-sgd") else chosen
