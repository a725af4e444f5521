"""The index scheduler: policy, design, budget and key put together into the order of an epoch.

`plan` is a pure function of its arguments and the scheduler's fields; nothing is remembered between calls, so a run
resumes from (epoch, scores) alone. This module imports neither torch nor a backend.
"""

import math
from dataclasses import dataclass

import numpy as np

from loaders import sampling
from loaders.policy import Policy, Preference, resolve
from loaders.rng import AUGMENT, DRAW, mix
from loaders.types import EpochPlan, Snapshot

DESIGNS = ("race", "systematic", "replacement", "credit", "paged")


@dataclass(frozen=True)
class IndexScheduler:
    """Draws the ids of each epoch under a budget.

    Attributes:
        num_samples: N.
        policy: a name of `loaders.policy.BY_NAME` or a function `Snapshot -> weights`.
        budget: share of N drawn each epoch, in (0, 1]; K = floor(N * budget).
        design: "race", "systematic", "replacement", "credit" or "paged" (see `loaders.sampling`).
        seed: of the run; epochs and neighbouring seeds share no draws.
        batch_size: cut K to whole batches, so that all epochs have the same number of steps; None does not cut.
        unbiased: the plan carries weights K / (N pi) that make batch means of weight * f unbiased for the mean of f.
        compat: "arazo" reproduces the reference's oddities in p-sgd and c-sgd.
        page, window: for "paged": samples per page of the file, and pages held in memory together.
    """

    num_samples: int
    policy: str | Policy = "uniform"
    budget: float = 1.0
    design: str = "race"
    seed: int = 0
    batch_size: int | None = None
    unbiased: bool = False
    compat: str | None = None
    page: int = 2048
    window: int = 32

    def __post_init__(self):
        if self.num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {self.num_samples}")
        if not 0 < self.budget <= 1:
            raise ValueError(f"budget is the share of samples drawn each epoch, in (0, 1], got {self.budget}")
        if self.design not in DESIGNS:
            raise ValueError(f"unknown design {self.design!r}: choose one of {', '.join(DESIGNS)}")
        if self.unbiased and self.design == "credit":
            raise ValueError("design 'credit' has no inclusion probabilities for unbiased weights; use 'systematic'")
        resolve(self.policy, self.compat)
        self._cut(self.num_draws)

    @property
    def num_draws(self) -> int:
        """K before the cut to whole batches: floor(N * budget), safe against 0.3 * 10 = 2.999..."""
        return math.floor(self.num_samples * self.budget + 1e-9)

    def __len__(self) -> int:
        """Samples per epoch (for a policy that decides the number itself: at most so many)."""
        return self._cut(self.num_draws)

    def _cut(self, k: int) -> int:
        batch = self.batch_size or 1
        if k < batch:
            raise ValueError(
                f"a budget of {self.budget} of {self.num_samples} samples is {k} samples an epoch, "
                f"less than one batch of {batch}: raise the budget or lower the batch size"
            )
        return k // batch * batch

    def _wanted(self, scores: Snapshot | None) -> tuple[np.ndarray | None, int, np.ndarray | None]:
        n = self.num_samples
        if scores is not None and len(scores.visits) != n:
            raise ValueError(f"the scores are of {len(scores.visits)} samples, the scheduler is for {n}")
        wanted = resolve(self.policy, self.compat)(_nothing_seen(n) if scores is None else scores)
        if not isinstance(wanted, Preference):
            return wanted, self.num_draws, None
        if self.design != "systematic":
            raise ValueError(f"policy {self.policy!r} sets exact chances: use design='systematic', not {self.design!r}")
        return wanted

    def weights(self, scores: Snapshot | None = None) -> np.ndarray | None:
        """What the policy makes of the scores: float [N], or None for equal weights (see `loaders.diagnostics`)."""
        return self._wanted(scores)[0]

    def plan(self, epoch: int, scores: Snapshot | None = None) -> EpochPlan:
        """The order of one epoch.

        Args:
            epoch: 0, 1, ...
            scores: the importance table's snapshot after the previous epoch; None means that nothing is known yet.

        Raises:
            ValueError: weights that are negative, infinite or NaN, or fewer positive ones than draws.
        """
        n, design = self.num_samples, self.design
        wanted, num_draws, importance = self._wanted(scores)
        k = self._cut(num_draws)
        weights = sampling.check_weights(wanted, n, 1 if design == "replacement" else k)
        if importance is None and (scores is None or not scores.visits.any()) and _is_constant(weights):
            weights = None  # nothing is known: the draw of "uniform"
        key = mix(self.seed, DRAW, epoch)
        if design == "credit":
            visits = None if scores is None else scores.visits
            draw = sampling.credit(weights, n, k, mix(self.seed, DRAW), epoch, visits, key)
        elif design == "paged":
            draw = sampling.paged(weights, n, k, key, self.page, self.window)
        else:
            draw = getattr(sampling, design)(weights, n, k, key)
        if importance is not None:
            importance = importance[draw.ids]
        elif self.unbiased:
            importance = k * sampling.inverse_inclusion(draw, weights, n)
        return EpochPlan(draw.ids, importance, epoch, mix(self.seed, AUGMENT, epoch))


def _is_constant(weights: np.ndarray | None) -> bool:
    return weights is not None and weights[0] == weights[-1] and np.ptp(weights) == 0


def _nothing_seen(n: int) -> Snapshot:
    zeros = np.zeros(n, np.float32)
    return Snapshot(*[zeros] * len(Snapshot._fields))
