"""Policies: from the scores of the samples to their sampling weights.

A policy is a pure function `policy(snapshot) -> weights`. It takes a `loaders.Snapshot` and returns float [N] >= 0
(relative, not normalised), or None for equal weights, or a `Preference` if it also decides how many samples are drawn.

"Arazo" is Arazo et al., "How Important is Importance Sampling for Deep Budgeted Training?" (BMVC 2021), and its code.
"""

from functools import partial
from typing import Literal

import numpy as np

from ..types import Snapshot
from .policy_parts import (
    FixedWeights,
    Policy,
    Preference,
    fill_unseen,
    mixture,
    positive,
    recorded,
    smooth,
)

__all__ = ["BY_NAME", "Policy", "Preference", "mixture", "resolve"]

Score = Literal["mean", "latest", "average"]


def uniform(snapshot: Snapshot) -> None:
    """Equal weights: each epoch draws a new uniform subset (unif-SGD of Arazo)."""


def _errors(snapshot: Snapshot, score: Score) -> np.ndarray:
    """1 - p(true class), float32 [N]: the mean over all visits (Arazo), the latest, or the moving average."""
    errors = {"mean": "mean_error", "latest": "error", "average": "error_average"}
    if score not in errors:
        raise ValueError(f"unknown score {score!r}: choose one of {', '.join(errors)}")
    return recorded(snapshot, errors[score])


def p_sgd(snapshot: Snapshot, compat: str | None = None, score: Score = "mean", smoothing: float = 0.5) -> np.ndarray:
    """p-SGD (Arazo, section 3): the mean error 1 - p(true class) over all visits, smoothed.

    A sample that was never visited counts as the hardest one that was.

    Args:
        snapshot: the scores.
        compat: no effect; Arazo's code does the same.
        score: which error; "mean" is that of the paper.
        smoothing: the fraction of uniform; one half is that of the paper, which adds the mean.
    """
    return smooth(fill_unseen(_errors(snapshot, score), snapshot.visits > 0), smoothing)


def c_sgd(snapshot: Snapshot, compat: str | None = None, score: Score = "mean", smoothing: float = 0.5) -> np.ndarray:
    """c-SGD (Arazo, section 3; "threshold closeness" of Chang et al. 2017): s (1 - s) of the mean error s, smoothed.

    A sample that was never visited gets the largest s (1 - s). Arazo's code gives it the largest s *before* it computes
    s (1 - s), so that it is hardly ever drawn once some s is near one; `compat="arazo"` does the same.

    Args:
        snapshot: the scores.
        compat: None or "arazo".
        score, smoothing: as in `p_sgd`.
    """
    s, seen = _errors(snapshot, score), snapshot.visits > 0
    if compat == "arazo":
        s = fill_unseen(s, seen)
        return smooth(s * (1 - s), smoothing) if seen.any() else np.ones_like(s)
    return smooth(fill_unseen(s * (1 - s), seen), smoothing)


def active_bias(
    snapshot: Snapshot, kind: Literal["variance", "closeness"] = "variance", smoothing: float = 0.5
) -> np.ndarray:
    """Active bias (Chang, Learned-Miller and McCallum, NIPS 2017): draw uncertain samples more often.

    Args:
        snapshot: the scores.
        kind: "variance" is their prediction variance (SGD-SPD), the standard deviation of p(true class) over the
            visits; the variance v is raised to v + v^2 / (visits - 1), because few visits tell little. "closeness" is
            their threshold closeness (SGD-STC), p (1 - p) of the mean p. A sample visited less than twice (variance) or
            never (closeness) counts as the most uncertain.
        smoothing: the fraction of uniform; one half is that of the paper, which adds the mean.

    Raises:
        ValueError: another kind.
    """
    visits = snapshot.visits
    if kind == "closeness":
        return c_sgd(snapshot, smoothing=smoothing)
    if kind != "variance":
        raise ValueError(f"kind of active bias is 'variance' or 'closeness', got {kind!r}")
    enough = visits >= 2
    variance = recorded(snapshot, "error_variance").astype(np.float64)
    deviation = np.sqrt(variance + variance**2 / np.where(enough, visits - 1, 1))
    return smooth(fill_unseen(deviation, enough), smoothing)


def loss(snapshot: Snapshot) -> np.ndarray:
    """The latest loss; a sample that was never visited gets the largest."""
    return positive(fill_unseen(recorded(snapshot, "loss"), snapshot.visits > 0))


def el2n(snapshot: Snapshot) -> np.ndarray:
    """The latest EL2N score |softmax - onehot|_2; a sample that was never visited gets the largest.

    The score is that of Paul et al. ("Deep learning on a data diet", NeurIPS 2021), here of the network in training.
    For softmax with cross-entropy it is the norm of the gradient of the loss at the logits: the upper bound, up to a
    constant, of Katharopoulos and Fleuret (ICML 2018).
    """
    return positive(fill_unseen(recorded(snapshot, "el2n"), snapshot.visits > 0))


def rank(snapshot: Snapshot, pressure: float = 100.0) -> np.ndarray:
    """Online batch selection (Loshchilov and Hutter 2016): weights decay exponentially in the rank of the latest loss.

    A sample that was never visited counts as the largest loss. Samples of equal loss all get the mean weight of their
    ranks, which is what breaking ties at random gives on average.

    Args:
        snapshot: the scores.
        pressure: ratio of the weights of the samples with the largest and the smallest loss, at least one.

    Raises:
        ValueError: the pressure is below one or not finite.
    """
    if not 1 <= pressure < np.inf:
        raise ValueError(f"the pressure of rank is finite and at least 1, got {pressure}")
    values = fill_unseen(recorded(snapshot, "loss"), snapshot.visits > 0)
    _, group, counts = np.unique(-values, return_inverse=True, return_counts=True)
    by_rank = np.exp(-np.log(pressure) * np.arange(len(values)) / len(values))
    first = np.cumsum(counts) - counts
    return (np.add.reduceat(by_rank, first) / counts)[group]


def infobatch(snapshot: Snapshot, ratio: float = 0.5) -> Preference:
    """InfoBatch (Qin et al., ICLR 2024): drop a fraction of the samples whose latest loss is below the mean.

    The losses of those that are kept count 1 / (1 - ratio) times, all others once, so the sum of the losses stays
    unbiased. How many samples are drawn follows from the losses, not from the budget: use design "systematic", whose
    chances are exact. A number that is cut to whole batches lowers all chances by the same factor.

    Args:
        snapshot: the scores.
        ratio: the fraction to drop, in [0, 1).

    Raises:
        ValueError: the ratio is not in [0, 1).
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"infobatch drops a fraction 0 <= ratio < 1 of the easy samples, got {ratio}")
    seen, losses = snapshot.visits > 0, recorded(snapshot, "loss")
    easy = seen & (losses < losses[seen].mean(dtype=np.float64)) if seen.any() else seen
    weights = np.where(easy, 1.0 - ratio, 1.0)
    return Preference(weights, num_draws=int(weights.sum() + 1e-6), importance=1.0 / weights)


def orderdp(snapshot: Snapshot) -> np.ndarray:
    """OrderDP (ICLR 2026): the latest loss, with samples that were never visited harder than all others.

    It is for the design "pool", which takes the largest weights of a uniform pool.
    """
    seen = snapshot.visits > 0
    return fill_unseen(recorded(snapshot, "loss"), seen) + ~seen


def class_balanced(labels: np.ndarray) -> Policy:
    """A policy that draws all classes equally often: the weight of a sample is 1 / (number of samples of its class).

    Args:
        labels: int [N], >= 0.
    """
    return FixedWeights(1.0 / np.bincount(labels)[labels])


BY_NAME: dict[str, Policy] = {
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
    """The policy of that name in `BY_NAME`, or the function itself.

    Args:
        policy: a name or a function.
        compat: "arazo" reproduces the oddities of Arazo's code in p-sgd and c-sgd.

    Raises:
        ValueError: an unknown name, or another `compat`.
    """
    if compat not in (None, "arazo"):
        raise ValueError(f"compat is None or 'arazo', got {compat!r}")
    if callable(policy):
        return policy
    if policy not in BY_NAME:
        raise ValueError(f"unknown policy {policy!r}: choose one of {', '.join(BY_NAME)}, or give a function")
    return partial(c_sgd, compat=compat) if compat and policy == "c-sgd" else BY_NAME[policy]
