"""A policy of your own: `--method FILE.py:FUNCTION`."""

from __future__ import annotations

import dataclasses
import inspect
import random  # noqa: TID251 (to see whether a policy has used it)
from functools import partial
from typing import Any

import numpy as np
import torch

from loaders.order.policies import Policy, Preference, mixture
from loaders.order.rng import POLICY, fold_in
from loaders.order.scheduler import IndexScheduler
from loaders.types import EpochPlan, Snapshot
from training.methods.base import Context, trial_snapshots
from training.methods.latest_score import SmoothedOptions, Weighted
from training.own_code import load_function

TOLD = ("epoch", "progress", "key", "before")
"""Arguments that a function gets besides the snapshot, where it has a parameter of that name."""


class OwnPolicy(Weighted):
    """Weight by a function of your own: a `loaders.Snapshot` in, one weight per sample out."""

    def __init__(self, options: SmoothedOptions, context: Context):
        self.function = load_function(context.config.method, "method")
        self.wants = [name for name in TOLD if name in inspect.signature(self.function).parameters]
        self.method, self.seed, self.smoothing = context.config.method, context.config.seed, options.smoothing
        self.subset = context.subset
        self.planned = -1  # the epoch that was planned last
        self.latest: Snapshot | None = None  # what was known then
        self.before: Snapshot | None = None  # and in the epoch before it
        self.policy = self.policy_of(0, 0.0)
        super().__init__(options, context)
        if any(isinstance(self.policy(known), Preference) for known in trial_snapshots(context.num_items)):
            if options.smoothing:
                raise ValueError(
                    f"method {self.method} sets its own number of draws, which cannot be mixed with uniform ones: "
                    "leave --smoothing out"
                )
            self.scheduler = context.scheduler_of_own_length(self.policy)
            self.chooses, self.even_epochs, self.own_length = False, False, True

    def policy_of(self, epoch: int, progress: float) -> Policy:
        """The function with the arguments of one epoch that it has parameters for."""
        before = self.before
        if before is not None and self.subset is not None:
            before = Snapshot(*(values[self.subset] for values in before))
        key = fold_in(self.seed, POLICY, epoch)
        told: dict[str, Any] = {"epoch": epoch, "progress": progress, "key": key, "before": before}
        function = partial(self.function, **{name: told[name] for name in self.wants})
        return partial(without_global_draws, function, self.method)

    def plan(self, epoch: int, scores: Snapshot | None = None, progress: float = 0.0) -> EpochPlan:
        self._remember(epoch, scores)
        return super().plan(epoch, scores, progress)

    def weights(self, epoch: int, scores: Snapshot | None = None, progress: float = 0.0) -> np.ndarray | None:
        self._remember(epoch, scores)
        return super().weights(epoch, scores, progress)

    def _remember(self, epoch: int, scores: Snapshot | None) -> None:
        if "before" in self.wants and epoch != self.planned:
            self.planned, self.latest, self.before = epoch, scores, self.latest

    def state_dict(self) -> dict[str, Any]:
        if "before" not in self.wants:
            return {}
        snapshots = {name: getattr(self, name) for name in ("latest", "before")}
        tensors = {name: known and torch.from_numpy(np.stack(known)) for name, known in snapshots.items()}
        return {"planned": self.planned, **tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "before" in self.wants:
            self.planned = state["planned"]
            self.latest, self.before = (
                None if state[name] is None else Snapshot(*state[name].numpy()) for name in ("latest", "before")
            )

    def scheduler_of(self, epoch: int, progress: float) -> IndexScheduler:
        scheduler = super().scheduler_of(epoch, progress)
        if epoch < self.warmup_epochs or not self.wants:
            return scheduler
        policy = self.policy_of(epoch, progress)
        return dataclasses.replace(scheduler, policy=mixture(policy, self.smoothing) if self.smoothing else policy)


def without_global_draws(policy: Policy, method: str, snapshot: Snapshot) -> np.ndarray | Preference | None:
    """What the policy returns.

    Raises:
        ValueError: it has drawn from a global generator, whose state no checkpoint keeps.
    """
    before = _global_states()
    result = policy(snapshot)
    for name, changed in zip(before, map(np.array_equal, before.values(), _global_states().values()), strict=True):
        if not changed:
            raise ValueError(
                f"method {method} draws from the global generator of {name}, so that no run could be repeated: give "
                "the function a parameter named key, and draw from np.random.default_rng(key)"
            )
    return result


def _global_states() -> dict[str, np.ndarray]:
    _, numpy_key, numpy_position, *_ = np.random.get_state()  # noqa: NPY002 (to see whether a policy has used it)
    return {
        "numpy.random": np.append(numpy_key, numpy_position),
        "random": np.array(random.getstate()[1]),
        "torch": torch.get_rng_state().numpy(),
    }
