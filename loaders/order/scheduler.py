"""The index scheduler: policy, design, budget and key put together into the order of an epoch.

`plan` is a pure function of its arguments and the scheduler's fields; nothing is remembered between calls, so a run
resumes from (epoch, scores) alone. This module imports neither torch nor a backend.
"""

from dataclasses import dataclass

import numpy as np

from loaders.order import designs as sampling
from loaders.order import uniform_order
from loaders.order.policies import Policy, Preference, resolve
from loaders.order.rng import AUGMENT, DRAW, fold_in
from loaders.order.rounding import ceil_fraction, floor_fraction
from loaders.types import EpochPlan, Snapshot

DESIGNS = ("race", "systematic", "replacement", "credit", "paged")
SPECIAL_DESIGNS = ("scan", "pool")  # for one method each


@dataclass(frozen=True, eq=False)
class IndexScheduler:
    """Draws the ids of each epoch under a budget.

    Attributes:
        num_samples: N.
        policy: a name of `loaders.order.policies.BY_NAME` or a function `Snapshot -> weights`.
        budget: share of N drawn each epoch, in (0, 1]; K = floor(N * budget).
        design: "race", "systematic", "replacement", "credit", "paged", "scan" or "pool" (see `loaders.order.designs`
            and `loaders.order.uniform_order`).
        seed: of the run; epochs and neighbouring seeds share no draws.
        batch_size: cut K to whole batches, so that all epochs have the same number of steps; None does not cut.
        unbiased: the plan carries weights K / (N pi) that make batch means of weight * f unbiased for the mean of f.
        compat: "arazo" reproduces the reference's oddities in p-sgd and c-sgd.
        page, window: for "paged": samples per page of the file, and pages held in memory together.
        pool: for "pool": share of N from which the K largest weights are taken.
        subset: int64 [M], ascending ids: the only samples there are to draw, and the only ones whose scores the policy
            sees, and gives weights for. K stays a share of N. Where it exceeds M, an epoch is whole shuffled passes
            over the subset, and the rest is drawn as from one more.
        subset_weights: float32 [M] with mean one, which the plan's weights carry (those of a core-set).
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
    pool: float = 1.0
    subset: np.ndarray | None = None
    subset_weights: np.ndarray | None = None

    def __post_init__(self):
        if self.num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {self.num_samples}")
        if not 0 < self.budget <= 1:
            raise ValueError(f"budget is the share of samples drawn each epoch, in (0, 1], got {self.budget}")
        if self.design not in DESIGNS + SPECIAL_DESIGNS:
            raise ValueError(
                f"unknown design {self.design!r}: choose one of {', '.join(DESIGNS)} (or, for uniform, scan; for "
                "orderdp, pool)"
            )
        if self.unbiased and self.design in ("credit", "pool"):
            raise ValueError(f"design {self.design!r} has no unbiased weights; use 'systematic'")
        if self.design == "scan" and self.policy != "uniform":
            raise ValueError("design 'scan' visits all samples equally: use policy 'uniform', or design 'credit'")
        if self.design == "pool" and not self.budget <= self.pool <= 1:
            raise ValueError(f"a pool holds at least the budget's share {self.budget} and at most 1, got {self.pool}")
        resolve(self.policy, self.compat)
        for name, dtype in (("subset", np.int64), ("subset_weights", np.float32)):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, np.asarray(getattr(self, name), dtype))
        _check_subset(self.subset, self.subset_weights, self.num_samples)
        self._cut(self.num_draws)

    @property
    def num_draws(self) -> int:
        """K before the cut to whole batches: floor(N * budget)."""
        return floor_fraction(self.num_samples, self.budget)

    @property
    def num_items(self) -> int:
        """How many samples there are to draw from: M, or N without a subset."""
        return self.num_samples if self.subset is None else len(self.subset)

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

    def _known(self, scores: Snapshot | None) -> Snapshot:
        """The scores of the items."""
        if scores is None:
            return Snapshot(*[np.zeros(self.num_items, np.float32)] * len(Snapshot._fields))
        if len(scores.visits) != self.num_samples:
            raise ValueError(f"the scores are of {len(scores.visits)} samples, the scheduler is for {self.num_samples}")
        return scores if self.subset is None else Snapshot(*(values[self.subset] for values in scores))

    def _wanted(self, scores: Snapshot) -> tuple[np.ndarray | None, int, np.ndarray | None]:
        wanted = resolve(self.policy, self.compat)(scores)
        if not isinstance(wanted, Preference):
            return wanted, self.num_draws, None
        if self.design != "systematic":
            raise ValueError(f"policy {self.policy!r} sets exact chances: use design='systematic', not {self.design!r}")
        return wanted

    def weights(self, scores: Snapshot | None = None) -> np.ndarray | None:
        """What the policy makes of the scores: float [N], of a subset [M], or None for equal weights."""
        return self._wanted(self._known(scores))[0]

    def plan(self, epoch: int, scores: Snapshot | None = None) -> EpochPlan:
        """The order of one epoch.

        Args:
            epoch: 0, 1, ...
            scores: the importance table's snapshot after the previous epoch; None means that nothing is known yet.

        Raises:
            ValueError: weights that are negative, infinite or NaN, or fewer positive ones than draws; design "credit"
                with uneven weights in a later epoch, and no visits.
        """
        n, design, known = self.num_items, self.design, self._known(scores)
        wanted, num_draws, importance = self._wanted(known)
        k = self._cut(num_draws)
        passes = 0 if design in ("replacement", "scan") else (k - 1) // n  # whole ones, ahead of the last or only one
        k -= passes * n
        weights = sampling.check_weights(wanted, n, {"replacement": 1, "pool": 0}.get(design, k))
        if importance is None and (scores is None or not known.visits.any()) and _is_constant(weights):
            weights = None  # nothing is known: the draw of "uniform"
        key = fold_in(self.seed, DRAW, epoch)
        if design == "credit":
            if weights is not None and epoch and not known.visits.any():
                raise ValueError(
                    "design 'credit' owes each sample what it was drawn too little, and no visit is recorded before "
                    f"epoch {epoch}: record each batch in an ImportanceTable and pass its snapshot"
                )
            visits = known.visits - np.float32(passes * epoch) if passes else known.visits
            draw = sampling.credit(weights, n, k, fold_in(self.seed, DRAW), epoch, visits, key)
        elif design == "paged":
            draw = sampling.paged(weights, n, k, key, self.page, self.window)
        elif design == "pool":
            size = min(n, max(k, ceil_fraction(self.num_samples, self.pool)))
            draw = uniform_order.pool(weights, n, k, key, size)
        elif design == "scan":
            draw = uniform_order.scan(n, k, fold_in(self.seed, DRAW), epoch)
        else:
            draw = getattr(sampling, design)(weights, n, k, key)
        items = np.concatenate((uniform_order.passes(n, passes, key), draw.ids)) if passes else draw.ids
        if importance is not None:
            importance = importance[items]
        elif self.unbiased:
            importance = np.ones(len(items))
            importance[passes * n :] = k * sampling.inverse_inclusion(draw, weights, n)
        if self.subset_weights is not None:
            importance = self.subset_weights[items] * (1 if importance is None else importance)
        ids = items if self.subset is None else self.subset[items]
        return EpochPlan(ids, importance, epoch, fold_in(self.seed, AUGMENT, epoch))


def _check_subset(subset: np.ndarray | None, weights: np.ndarray | None, num_samples: int) -> None:
    if subset is None and weights is not None:
        raise ValueError("subset_weights need a subset, whose samples they are of")
    if subset is None:
        return
    if subset.ndim != 1 or not len(subset) or subset[0] < 0 or subset[-1] >= num_samples or np.any(np.diff(subset) < 1):
        raise ValueError(f"a subset is one or more different ids of 0..{num_samples - 1}, in ascending order")
    if weights is not None and (
        weights.shape != subset.shape or not np.all(weights >= 0) or not abs(weights.mean(dtype=np.float64) - 1) < 1e-3
    ):
        raise ValueError(f"subset_weights are one number >= 0 for each of {len(subset)} samples, of mean one")


def _is_constant(weights: np.ndarray | None) -> bool:
    return weights is not None and weights[0] == weights[-1] and np.ptp(weights) == 0
