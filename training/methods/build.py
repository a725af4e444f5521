"""From a method's name and its options to the order of the epochs.

Knows what each name means; must not know how samples are drawn, nor what happens in a batch.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from loaders.order import policies as policy
from loaders.order.designs import SPECIAL_DESIGNS
from loaders.order.permutation import permutation
from loaders.order.policies import Policy
from loaders.order.rng import ORDER, fold_in
from loaders.order.rounding import floor_fraction
from loaders.order.scheduler import IndexScheduler
from loaders.types import EpochPlan, Snapshot
from training.config import Config
from training.methods import batch_rules
from training.methods.own_policy import load_policy

NAMES = (
    *("uniform", "scan", "fixed", "p-sgd", "c-sgd", "active-bias", "rank", "loss", "el2n", "infobatch", "orderdp"),
    *batch_rules.NAMES,
)
OWN = "FILE.py:FUNCTION"
_WEIGHTED = ("p-sgd", "c-sgd", "active-bias", "loss", "el2n", OWN)
_READ_BY = {
    "smoothing": _WEIGHTED,
    "score": ("p-sgd", "c-sgd"),
    "score_decay": ("p-sgd", "c-sgd"),
    "warmup_epochs": (*_WEIGHTED, "rank", "orderdp"),
    "uncertainty": ("active-bias",),
    "pressure": ("rank",),
    "final_pressure": ("rank",),
    "prune_ratio": ("infobatch",),
    "prune_until": ("infobatch",),
    "pool_fraction": ("orderdp",),
    "keep": ("selective-backprop", "ordered-sgd", "random-batch"),
    "presample": ("grad-norm",),
    "tau_threshold": ("grad-norm",),
}
_DESIGNS = {"scan": "scan", "orderdp": "pool", "infobatch": "systematic"}


@dataclass(frozen=True, eq=False)
class MethodScheduler:
    """Plans the epochs of a run: an `IndexScheduler`, and when it does not choose.

    Attributes:
        scheduler: of the epochs in which the method chooses.
        warmup_epochs: the first epochs, drawn uniformly.
        until: share of the budget; epochs that begin behind it are drawn uniformly.
        annealed: progress, in [0, 1] -> policy, where it changes with progress.
        even_epochs: whether each epoch has len(scheduler) samples.
    """

    scheduler: IndexScheduler
    warmup_epochs: int = 0
    until: float = math.inf
    annealed: Callable[[float], Policy] | None = None
    even_epochs: bool = True

    @property
    def num_items(self) -> int:
        """How many samples there are to draw from."""
        return self.scheduler.num_items

    def at(self, epoch: int, progress: float) -> IndexScheduler:
        """The scheduler of an epoch that begins when the share `progress` of the budget is spent."""
        if epoch < self.warmup_epochs or progress >= self.until:
            return dataclasses.replace(self.scheduler, policy="uniform")
        if self.annealed:
            return dataclasses.replace(self.scheduler, policy=self.annealed(progress))
        return self.scheduler

    def plan(self, epoch: int, scores: Snapshot | None = None, progress: float = 0.0) -> EpochPlan:
        """The order of an epoch, a pure function (see `IndexScheduler.plan`)."""
        return self.at(epoch, progress).plan(epoch, scores)

    def weights(self, epoch: int, scores: Snapshot | None = None, progress: float = 0.0) -> np.ndarray | None:
        """What decides that plan: float [N], or None for equal weights."""
        return self.at(epoch, progress).weights(scores)


def make_scheduler(
    config: Config, num_samples: int, subset: np.ndarray | None = None, subset_weights: np.ndarray | None = None
) -> MethodScheduler:
    """The order of the epochs; tried once, so that what it compiles is not on the training clock.

    Args:
        subset, subset_weights: of a core-set (see `IndexScheduler`).

    Raises:
        ValueError: an unknown method or design, an option that the method does not read or that is out of bounds, a
            batch larger than the plan.
    """
    kind, share = _kind(config.method), batch_rules.offered_fraction(config)
    _check_options(config, kind)
    if kind == "fixed":
        if subset is not None:
            raise ValueError("method fixed chooses a subset of its own: take uniform with a core-set")
        count = floor_fraction(num_samples, share)
        subset = np.sort(permutation(fold_in(config.seed, ORDER), num_samples, 0, count))
    if kind == "infobatch":
        if config.epoch_fraction != 1:
            raise ValueError("infobatch decides how long an epoch is: leave epoch_fraction out")
        share = (num_samples if subset is None else len(subset)) / num_samples
    rising = (config.final_pressure or config.pressure) / config.pressure
    scheduler = IndexScheduler(
        num_samples,
        policy=_policy(config, kind),
        budget=share,
        design=_design(config, kind),
        seed=config.seed,
        batch_size=config.batch_size,
        pool=config.pool_fraction or min(1.0, share / 0.6),
        subset=subset,
        subset_weights=subset_weights,
    )
    made = MethodScheduler(
        scheduler,
        _warmup_epochs(config, kind),
        config.prune_until if kind == "infobatch" else math.inf,
        (lambda progress: partial(policy.rank, pressure=config.pressure * rising**progress)) if rising != 1 else None,
        even_epochs=kind != "infobatch",
    )
    scores = np.linspace(0, 1, num_samples, dtype=np.float32)
    for known in (None, Snapshot(np.ones_like(scores), *[scores] * (len(Snapshot._fields) - 1))):
        if len(scheduler.plan(0, known)) != len(scheduler) and made.even_epochs:
            raise ValueError(f"method {config.method} sets its own number of samples, which a budget does not allow")
    return made


def _kind(method: str) -> str:
    if ":" in method:
        return OWN
    if method not in NAMES:
        raise ValueError(f"unknown method {method!r}: allowed are {', '.join(NAMES)}, or {OWN} for one of your own")
    return method


def _check_options(config: Config, kind: str) -> None:
    for option, methods in _READ_BY.items():
        default = Config.__dataclass_fields__[option].default
        if kind not in methods and getattr(config, option) != default:
            raise ValueError(f"{option} is for {', '.join(methods)}, and {config.method} does not read it")
    bounds = {"prune_until": (0, 1), "pool_fraction": (config.draw_fraction, 1), "warmup_epochs": (0, math.inf)}
    for option, (low, high) in bounds.items():
        value = getattr(config, option)
        if value is not None and not low <= value <= high:
            raise ValueError(f"{option} is at least {low:g} and at most {high:g}, got {value:g}")
    if not min(config.pressure, config.final_pressure or 1) >= 1:
        raise ValueError(f"pressures are at least 1, got {config.pressure:g} and {config.final_pressure}")


def _design(config: Config, kind: str) -> str:
    needed = _DESIGNS.get(kind)
    if config.design == "auto":
        return needed or "race"
    if config.design != needed and (needed or config.design in SPECIAL_DESIGNS):
        raise ValueError(f"method {config.method} cannot draw by design {config.design!r}: leave --design out")
    return config.design


def _policy(config: Config, kind: str) -> str | Policy:
    share = config.smoothing
    half = 0.5 if share is None else share
    if kind in ("p-sgd", "c-sgd"):
        compat = "arazo" if config.compat == "arazo" else None
        return partial(policy.BY_NAME[kind], compat=compat, score=config.score, smoothing=half)
    if kind == "active-bias":
        return partial(policy.active_bias, kind=config.uncertainty, smoothing=half)
    if kind == "rank":
        return partial(policy.rank, pressure=config.pressure)
    if kind == "infobatch":
        return partial(policy.infobatch, ratio=config.prune_ratio)
    if kind in ("uniform", "scan", "fixed", *batch_rules.NAMES):
        return "uniform"
    chosen = load_policy(config.method) if kind == OWN else policy.BY_NAME[kind]
    return policy.mixture(chosen, share) if share else chosen


def _warmup_epochs(config: Config, kind: str) -> int:
    """In the reference W means W - 1 (it counts epochs from one, up to W)."""
    if config.warmup_epochs is None:
        return max(1, config.epochs // 10) if kind == "active-bias" else 0
    return max(0, config.warmup_epochs - (config.compat == "arazo" and kind in ("p-sgd", "c-sgd")))
