"""Policies: pure functions from what is known of the samples to how much each of them is wanted.

A policy is any callable `policy(snapshot) -> weights`: a `loaders.Snapshot` in, float [N] >= 0 out (relative, not
normalised), or None for equal weights, or a `Preference` when it also decides how many samples are drawn. Policies hold
no state, draw no random numbers and know neither design nor epoch. This module imports neither torch nor a backend.

Sources: "A" is Arazo et al., "How Important is Importance Sampling for Deep Budgeted Training?" (BMVC 2021) and its
code.
"""

from typing import Literal

import numpy as np

from loaders.order.policy_parts import Policy, Preference, fill_unseen, mixture, smooth
from loaders.types import Snapshot

__all__ = ["BY_NAME", "Policy", "Preference", "mixture", "resolve"]

Score = Literal["mean", "latest", "average"]


def uniform(snapshot: Snapshot) -> None:
    """Every sample is wanted equally (unif-SGD of A: the subset is drawn anew each epoch)."""


def _errors(snapshot: Snapshot, score: Score) -> np.ndarray:
    """1 - p(true class): the mean over all visits (A), the latest, or the moving average."""
    errors = {"mean": snapshot.mean_error, "latest": snapshot.error, "average": snapshot.error_average}
    if score not in errors:
        raise ValueError(f"unknown score {score!r}: choose one of {', '.join(errors)}")
    return errors[score]


def p_sgd(snapshot: Snapshot, compat: str | None = None, score: Score = "mean", smoothing: float = 0.5) -> np.ndarray:
    """p-SGD (A, section 3): the running mean over all visits of 1 - p(true class), plus its mean.

    A sample never visited counts as the hardest one seen. The reference does the same, so `compat` changes nothing.

    Args:
        score, smoothing: what else than the mean over all visits, and than half uniform, it may be.
    """
    return smooth(fill_unseen(_errors(snapshot, score), snapshot.visits > 0), smoothing)


def c_sgd(snapshot: Snapshot, compat: str | None = None, score: Score = "mean", smoothing: float = 0.5) -> np.ndarray:
    """c-SGD (A, section 3; Chang et al. 2017, "threshold closeness"): s (1 - s) of the running mean s, plus its mean.

    The reference gives unseen samples the largest s *before* s (1 - s), which starves them once some s is near one;
    that is `compat="arazo"`. By default they get the largest s (1 - s). `score` and `smoothing` as in `p_sgd`.
    """
    s, seen = _errors(snapshot, score), snapshot.visits > 0
    if compat == "arazo":
        s = fill_unseen(s, seen)
        return smooth(s * (1 - s), smoothing) if seen.any() else np.ones_like(s)
    return smooth(fill_unseen(s * (1 - s), seen), smoothing)


def active_bias(
    snapshot: Snapshot, kind: Literal["variance", "closeness"] = "variance", smoothing: float = 0.5
) -> np.ndarray:
    """Active bias (Chang, Learned-Miller and McCallum, NIPS 2017): uncertain samples more often; its sampling variants.

    "variance" is their prediction variance (SGD-SPD): the standard deviation of p(true class) over the visits, with the
    variance v raised to v + v^2 / (visits - 1) for the little that few visits tell. "closeness" is their threshold
    closeness (SGD-STC): p (1 - p) of the mean p. Plus the mean, which is their smoothing constant. A sample visited
    less than twice (variance) or never (closeness) counts as the most uncertain.
    """
    visits = snapshot.visits
    if kind == "closeness":
        return c_sgd(snapshot, smoothing=smoothing)
    if kind != "variance":
        raise ValueError(f"active bias goes by 'variance' or 'closeness', got {kind!r}")
    enough = visits >= 2
    variance = snapshot.error_variance.astype(np.float64)
    deviation = np.sqrt(variance + variance**2 / np.where(enough, visits - 1, 1))
    return smooth(fill_unseen(deviation, enough), smoothing)


def loss(snapshot: Snapshot) -> np.ndarray:
    """The latest loss; unseen samples count as the largest."""
    return fill_unseen(snapshot.loss, snapshot.visits > 0)


def el2n(snapshot: Snapshot) -> np.ndarray:
    """The latest |softmax - onehot|_2 (Paul et al. 2021, here online); unseen samples count as the largest.

    For softmax with cross-entropy it is the norm of the loss's gradient at the logits, the upper bound up to a constant
    of Katharopoulos and Fleuret (2018).
    """
    return fill_unseen(snapshot.el2n, snapshot.visits > 0)


def rank(snapshot: Snapshot, pressure: float = 100.0) -> np.ndarray:
    """Online batch selection (Loshchilov and Hutter 2016): exponential decay in the rank of the latest loss.

    Samples of equal loss, those never visited among them (they count as the largest loss seen), share the mean weight
    of their ranks: what breaking ties at random gives on average.

    Args:
        pressure: how much likelier the sample with the largest loss is than the one with the smallest, at least one.
    """
    if not 1 <= pressure < np.inf:
        raise ValueError(f"the pressure of rank is at least 1, got {pressure}")
    values = fill_unseen(snapshot.loss, snapshot.visits > 0)
    _, group, counts = np.unique(-values, return_inverse=True, return_counts=True)
    by_rank = np.exp(-np.log(pressure) * np.arange(len(values)) / len(values))
    first = np.cumsum(counts) - counts
    return (np.add.reduceat(by_rank, first) / counts)[group]


def infobatch(snapshot: Snapshot, ratio: float = 0.5) -> Preference:
    """InfoBatch (Qin et al. 2024): of the samples whose latest loss is below the mean only a share 1 - ratio is kept.

    The kept ones weigh 1 / (1 - ratio), all others one, so the sum of the losses is unbiased with respect to the
    scores. How many are drawn follows from the losses, not from the budget: use design "systematic", whose chances are
    exact. A number that is cut (to whole batches) lowers all chances by one factor, so that nothing is favoured.
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"infobatch drops a share 0 <= ratio < 1 of the easy samples, got {ratio}")
    seen = snapshot.visits > 0
    easy = seen & (snapshot.loss < snapshot.loss[seen].mean(dtype=np.float64)) if seen.any() else seen
    weights = np.where(easy, 1.0 - ratio, 1.0)
    return Preference(weights, num_draws=int(weights.sum() + 1e-6), importance=1.0 / weights)


def orderdp(snapshot: Snapshot) -> np.ndarray:
    """OrderDP (ICLR 2026): the latest loss, with unseen samples harder than all others. For design "pool", which takes
    the largest of a uniform pool."""
    seen = snapshot.visits > 0
    return fill_unseen(snapshot.loss, seen) + ~seen


def class_balanced(labels: np.ndarray) -> Policy:
    """Every class is wanted equally: weight 1 / (number of samples of the class). `labels` int [N]."""
    weights = 1.0 / np.bincount(labels)[labels]
    return lambda snapshot: weights


BY_NAME = {
    "uniform": uniform,
    "p-sgd": p_sgd,
    "c-sgd": c_sgd,
    "active-bias": active_bias,
    "loss": loss,
    "el2n": el2n,
    "rank": rank,
    "infobatch": infobatch,
    "orderdp": orderdp,
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
