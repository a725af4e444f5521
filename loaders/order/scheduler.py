"""The index scheduler: policy, design, budget and key put together into the order of an epoch."""

from dataclasses import dataclass

import numpy as np

from ..types import EpochPlan, Snapshot
from .designs import DESIGNS, SPECIAL_DESIGNS
from .draw import Context, Design, check_weights
from .inclusion import inverse_inclusion
from .policies import Policy, Preference, resolve
from .policy_parts import FixedWeights
from .rng import AUGMENT, DRAW, IMAGE, fold_in
from .rounding import ceil_fraction, floor_fraction
from .uniform_order import whole_passes


@dataclass(frozen=True, eq=False)
class IndexScheduler:
    """Draw the ids of each epoch under a budget.

    `plan` is a pure function of its arguments and these attributes. Nothing is remembered between calls, so a run
    resumes from (epoch, scores) alone.

    Attributes:
        num_samples: N.
        policy: a name of `loaders.order.policies.BY_NAME`, a function `Snapshot -> weights`, or the weights themselves,
            one number >= 0 for each of N samples.
        budget: fraction of N drawn each epoch, in (0, 1]; K = floor(N * budget).
        design: "race", "systematic", "replacement", "paged", "scan", "sequential" or "pool" (see
            `loaders.order.designs`).
        seed: of the run; epochs and neighbouring seeds share no draws.
        batch_size: K is cut to whole batches, so that all epochs have the same number of steps; None does not cut.
        unbiased: whether plans carry weights K / (N pi), with pi the expected number of draws of a sample. They make
            batch means of weight * f unbiased for the mean of f over all samples.
        compat: "arazo" reproduces the oddities of Arazo et al.'s code in p-sgd and c-sgd.
        page, window: for "paged": samples per page of the file, and number of pages held in memory together.
        pool: for "pool": fraction of N from which the K largest weights are taken.
        subset: int64 [M], ascending ids: the only samples that are drawn, and the only ones whose scores the policy
            sees and gives weights for. K stays a fraction of N. Where it exceeds M, an epoch is whole shuffled passes
            over the subset, and the rest is drawn as from one more.
        subset_weights: float32 [M] with mean one, factors of the plan's weights (those of a core-set).

    Raises:
        ValueError: an argument is out of bounds or unknown, two do not go together, or K is less than one batch.
    """

    num_samples: int
    policy: str | Policy | np.ndarray = "uniform"
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

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {self.num_samples}")
        if not 0 < self.budget <= 1:
            raise ValueError(f"budget is the fraction of samples drawn each epoch, in (0, 1], got {self.budget}")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size is at least 1, or None for epochs of any length, got {self.batch_size}")
        if self.design not in DESIGNS and self.design not in SPECIAL_DESIGNS:
            raise ValueError(
                f"unknown design {self.design!r}: choose one of {', '.join(DESIGNS)} (or scan or sequential, for the "
                "policy 'uniform'; or pool, for the policy 'orderdp')"
            )
        if self.unbiased and self._design.inclusion is None:
            raise ValueError(f"design {self.design!r} has no unbiased weights: use 'systematic' or 'race'")
        if not isinstance(self.policy, str) and not callable(self.policy):
            object.__setattr__(self, "policy", _fixed(self.policy, self.num_samples))
        if not self._design.weighted and self._policy != "uniform":
            raise ValueError(
                f"design {self.design!r} visits all samples equally: use policy 'uniform', or another design"
            )
        if self.design == "pool" and not self.budget <= self.pool <= 1:
            raise ValueError(
                f"pool is a fraction of the samples, at least the budget {self.budget} and at most 1, got {self.pool}"
            )
        resolve(self._policy, self.compat)
        for name, dtype in (("subset", np.int64), ("subset_weights", np.float32)):
            if getattr(self, name) is not None:
                array = np.asarray(getattr(self, name))
                if name == "subset" and array.size and array.dtype.kind not in "iu":
                    raise ValueError(f"a subset is ids, integers, got {array.dtype}: of a mask take np.flatnonzero")
                array = array.astype(dtype)  # a copy: the caller may go on to change what was given
                array.flags.writeable = False
                object.__setattr__(self, name, array)
        _check_subset(self.subset, self.subset_weights, self.num_samples)
        self._cut(self.num_draws)

    @property
    def _design(self) -> Design:
        return DESIGNS[self.design] if self.design in DESIGNS else SPECIAL_DESIGNS[self.design]

    @property
    def _policy(self) -> str | Policy:
        assert isinstance(self.policy, str) or callable(self.policy), "weights were made a policy"
        return self.policy

    @property
    def needs_scores(self) -> bool:
        """Whether the policy draws by scores: those of fixed weights and "uniform" do not."""
        if isinstance(self.policy, FixedWeights):
            return False
        return _is_constant(
            self.weights(None)
        )  # any policy that tells samples apart before there are scores needs none

    @property
    def num_draws(self) -> int:
        """K before the cut to whole batches: floor(N * budget)."""
        return floor_fraction(self.num_samples, self.budget)

    @property
    def num_items(self) -> int:
        """Number of samples that may be drawn: M, or N without a subset."""
        return self.num_samples if self.subset is None else len(self.subset)

    def __len__(self) -> int:
        """Samples per epoch; for a policy that sets the number itself, an upper limit."""
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
        """The scores of the samples that may be drawn; zeros when nothing is known yet."""
        if scores is None:
            zeros = np.zeros(self.num_items, np.float32)
            zeros.flags.writeable = False  # they are all fields
            return Snapshot(*[zeros] * len(Snapshot._fields))
        if len(scores.visits) != self.num_samples:
            raise ValueError(
                f"the scores are of {len(scores.visits)} samples, the scheduler is for {self.num_samples}: "
                "make both with the same num_samples"
            )
        return scores if self.subset is None else Snapshot(*(values[self.subset] for values in scores))

    def _wanted(self, scores: Snapshot) -> tuple[np.ndarray | None, int, np.ndarray | None]:
        """The policy's weights, the number of draws, and the policy's factors of the losses (None: it has none)."""
        if isinstance(self.policy, FixedWeights):
            weights, is_of_all = self.policy.weights, len(self.policy.weights) == self.num_samples
            return weights[self.subset] if self.subset is not None and is_of_all else weights, self.num_draws, None
        wanted = resolve(self._policy, self.compat)(scores)
        if not isinstance(wanted, Preference):
            return wanted, self.num_draws, None
        if self.design != "systematic":
            raise ValueError(f"policy {self.policy!r} sets exact chances: use design='systematic', not {self.design!r}")
        return wanted

    def weights(self, scores: Snapshot | None = None) -> np.ndarray | None:
        """The policy's weights for these scores: float [N], or [M] with a subset; None is equal weights."""
        return self._wanted(self._known(scores))[0]

    def plan(self, epoch: int, scores: Snapshot | None = None) -> EpochPlan:
        """The order of one epoch.

        Args:
            epoch: 0, 1, ...
            scores: the importance table's snapshot after the previous epoch; None means that nothing is known yet.

        Raises:
            ValueError: weights that are negative, infinite or NaN; too few positive weights; scores of another number
                of samples; what the design refuses.
        """
        n, design, known = self.num_items, self._design, self._known(scores)
        wanted, num_draws, importance = self._wanted(known)
        k = self._cut(num_draws)
        passes = 0 if design.repeats else (k - 1) // n
        k -= passes * n
        weights = check_weights(wanted, n, design.num_positive(k))
        if importance is None and (scores is None or not known.visits.any()) and _is_constant(weights):
            weights = None  # nothing is known: the draw of "uniform"
        context = Context(
            key=fold_in(self.seed, DRAW, epoch),
            run_key=fold_in(self.seed, DRAW),
            epoch=epoch,
            page=self.page,
            window=self.window,
            pool_size=min(n, max(k, ceil_fraction(self.num_samples, self.pool))),
        )
        draw = design.draw(weights, n, k, context)
        items = np.concatenate((whole_passes(n, passes, context.key), draw.ids)) if passes else draw.ids
        if importance is not None:
            importance = importance[items]
        elif self.unbiased:
            assert design.inclusion is not None, "refused when the scheduler was made"
            importance = np.ones(len(items))
            importance[passes * n :] = k * inverse_inclusion(design.inclusion, draw, weights, n)
        if self.subset_weights is not None:
            importance = self.subset_weights[items] * (1 if importance is None else importance)
        ids = items if self.subset is None else self.subset[items]
        keys = {"key": fold_in(self.seed, AUGMENT, epoch), "run_key": fold_in(self.seed, IMAGE)}
        return EpochPlan(ids, importance, epoch, **keys)


def _check_subset(subset: np.ndarray | None, weights: np.ndarray | None, num_samples: int) -> None:
    if subset is None and weights is not None:
        raise ValueError("subset_weights need a subset: they are the weights of its samples")
    if subset is None:
        return
    if subset.ndim != 1 or not len(subset) or subset[0] < 0 or subset[-1] >= num_samples or np.any(np.diff(subset) < 1):
        raise ValueError(
            f"a subset is one or more different ids of 0..{num_samples - 1}, in ascending order; got an array of shape "
            f"{subset.shape} that is not: use np.unique(ids)"
        )
    if weights is not None and (
        weights.shape != subset.shape or not np.all(weights >= 0) or not abs(weights.mean(dtype=np.float64) - 1) < 1e-3
    ):
        raise ValueError(
            f"subset_weights are one number >= 0 for each of {len(subset)} samples, of mean one; got shape "
            f"{weights.shape} and mean {weights.mean():g}: divide them by their mean"
        )


def _fixed(weights: object, num_samples: int) -> FixedWeights:
    """Weights of one's own as a policy.

    Raises:
        ValueError: they are not one finite number >= 0 for each sample.
    """
    array = np.asarray(weights)
    if array.dtype.kind not in "fiub" or array.shape != (num_samples,):
        raise ValueError(
            f"a policy is a name, a function, or an array of one weight for each of {num_samples} samples, got "
            f"{type(weights).__name__} of shape {array.shape} and type {array.dtype}"
        )
    array = array.astype(np.float32 if array.dtype == np.float32 else np.float64)
    if not np.all(np.isfinite(array) & (array >= 0)):
        raise ValueError("weights of your own are finite and >= 0, some are negative, infinite or NaN")
    array.flags.writeable = False
    return FixedWeights(array)


def _is_constant(weights: np.ndarray | None) -> bool:
    return weights is not None and weights[0] == weights[-1] and np.ptp(weights) == 0
