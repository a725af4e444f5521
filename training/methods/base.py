"""What a method is: it plans the epochs, may choose within a batch, and has options and a state of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from loaders.order.policies import Policy
from loaders.order.rounding import floor_fraction
from loaders.order.scheduler import IndexScheduler
from loaders.types import Batch, EpochPlan, Snapshot
from training.config import Config
from training.machine.distributed import Ranks

Design = Literal["race", "systematic", "replacement", "paged"]


@dataclass(frozen=True)
class NoOptions:
    """no options"""


@dataclass(frozen=True)
class DesignOption:
    """how samples are drawn

    Args:
        design: sampling design (docs/methods.md)
    """

    design: Design = "race"


@dataclass(frozen=True)
class WeightedOptions(DesignOption):
    """how samples are drawn

    Args:
        warmup_epochs: number of first epochs that are drawn uniformly
    """

    warmup_epochs: int = 0

    def __post_init__(self):
        if self.warmup_epochs < 0:
            raise ValueError(f"warmup_epochs must not be negative, got {self.warmup_epochs}")


@dataclass(frozen=True)
class Context:
    """What a method knows of its run.

    Attributes:
        config: the settings.
        num_samples: N, size of the training set.
        device: where the network is.
        ranks: the processes that train together.
        subset, subset_weights: ids and weights of a core-set, or the ids that are not held out for validation (see
            `IndexScheduler`), or None.
        reference_losses: of a network that was trained on other samples, float32, of each sample of the subset; None
            where there is no such network.
        num_held_out: samples of the training set that are kept for validation.
        make_network: makes another network of the run's kind on the device, from the factor on its channels and the key
            of its initial values; None where methods are only planned with.
        fraction: of the others that one epoch draws.
    """

    config: Config
    num_samples: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    ranks: Ranks = field(default_factory=Ranks)
    subset: np.ndarray | None = None
    subset_weights: np.ndarray | None = None
    reference_losses: np.ndarray | None = None
    num_held_out: int = 0
    make_network: Callable[[float, int], nn.Module] | None = None
    fraction: float = 1.0

    @property
    def num_items(self) -> int:
        """Number of samples that there are to draw."""
        return self.num_samples if self.subset is None else len(self.subset)

    def of_all(self, fraction: float) -> float:
        """A fraction of the samples that are not held out, as a fraction of all samples."""
        if not self.num_held_out:
            return fraction
        return max(1, floor_fraction(self.num_samples - self.num_held_out, fraction)) / self.num_samples

    def scheduler(
        self, policy: str | Policy = "uniform", fraction: float | None = None, **settings: Any
    ) -> IndexScheduler:
        """A scheduler of this run.

        Args:
            fraction: of the samples that one epoch draws; None is that of the run.
            settings: replace the scheduler's design, pool or subset.
        """
        scheduler = IndexScheduler(
            self.num_samples,
            budget=self.of_all(self.fraction if fraction is None else fraction),
            seed=self.config.seed,
            batch_size=self.config.batch_size,
            subset=self.subset,
            subset_weights=self.subset_weights,
        )
        return dataclasses.replace(scheduler, policy=policy, **settings)

    def scheduler_of_own_length(self, policy: Policy) -> IndexScheduler:
        """A scheduler whose policy decides how many of all samples an epoch draws, by returning a `Preference`.

        Raises:
            ValueError: the settings decide that already.
        """
        if self.config.epoch_fraction is not None:
            raise ValueError(f"{self.config.method} decides how long an epoch is: leave epoch_fraction out")
        whole = self.num_items / (self.num_samples - self.num_held_out)
        return self.scheduler(policy, whole, design="systematic")


def trial_snapshots(num_samples: int) -> tuple[Snapshot, Snapshot]:
    """What a method can be tried on: nothing is known of the samples; one visit each, and scores from 0 to 1."""
    fields, scores = len(Snapshot._fields), np.linspace(0, 1, num_samples, dtype=np.float32)
    return Snapshot(*[np.zeros_like(scores)] * fields), Snapshot(np.ones_like(scores), *[scores] * (fields - 1))


class Scorer(Protocol):
    """What a method may ask while it chooses within a batch; what it asks is paid from the budget.

    Attributes:
        progress: how far the run is, in [0, 1] (`Budget.progress`).
    """

    @property
    def progress(self) -> float: ...

    def __call__(self, batch: Batch) -> Tensor:
        """The logits [B, C] of a batch, by a forward pass in evaluation mode."""
        ...

    def with_features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The logits, and the features [B, D] that the network's last linear layer makes them of."""
        ...

    @property
    def forward_flops(self) -> float:
        """FLOPs of the network's forward pass over one image as it is now sized."""
        ...

    def sized(self, images_BCHW: Tensor) -> Tensor:
        """The images as large as a step would see them."""
        ...

    def logits(self, network: nn.Module, images_BCHW: Tensor) -> Tensor:
        """The logits of another network, in the run's precision, which are not paid yet (`pay`)."""
        ...

    def rate(self, base_lr: float) -> float:
        """The learning rate by the run's schedule, from `base_lr` at the first step."""
        ...

    def pay(self, num_forward: int, num_backward: int, flops: float) -> None:
        """Charge the run for passes of another network over so many images."""
        ...


class Method:
    """How a run chooses its samples; by default an epoch is its scheduler's plan, and every batch is trained on whole.

    A method overrides what it does differently. Its class has a docstring for people, `Options` for the command line,
    and a constructor that takes the options and a `Context`.

    Attributes:
        scheduler: draws the epochs in which the method chooses.
        warmup_epochs: number of first epochs that are drawn uniformly.
    """

    Options: ClassVar[type] = NoOptions
    chooses: bool = False
    """Whether it chooses once an epoch, so that an epoch must leave samples out."""
    makes_passes: bool = False
    """Whether there are forward passes for scores alone."""
    even_epochs: bool = True
    """Whether all epochs are equally long and each of their batches is one step."""
    own_length: bool = False
    """Whether its policy decides how many samples an epoch draws (see `Context.scheduler_of_own_length`)."""

    def __init__(self, scheduler: IndexScheduler, warmup_epochs: int = 0):
        self.scheduler, self.warmup_epochs = scheduler, warmup_epochs

    def scheduler_of(self, epoch: int, progress: float) -> IndexScheduler:
        """The scheduler of an epoch that begins when the fraction `progress` of the budget is spent."""
        return dataclasses.replace(self.scheduler, policy="uniform") if epoch < self.warmup_epochs else self.scheduler

    def plan(self, epoch: int, scores: Snapshot | None = None, progress: float = 0.0) -> EpochPlan:
        """The order of an epoch: a pure function of its arguments (see `IndexScheduler.plan`)."""
        return self.scheduler_of(epoch, progress).plan(epoch, scores)

    def weights(self, epoch: int, scores: Snapshot | None = None, progress: float = 0.0) -> np.ndarray | None:
        """What decides that plan: float [N], or None for equal weights."""
        return self.scheduler_of(epoch, progress).weights(scores)

    def select(self, batch: Batch, plan: EpochPlan, index: int, score: Scorer) -> Batch | None:
        """What the next step trains on, or None when no whole batch is together yet.

        Args:
            batch: number `index` of this rank's `plan`.
            score: gives the logits of a batch, paid from the budget, and says how much of that is spent.
        """
        return batch

    def keep(self, batch: Batch, logits_BC: Tensor, losses_B: Tensor) -> Tensor | None:
        """Positions whose losses a step descends on, after its own forward pass: int64 [K]; None is all of them."""
        return None

    def did_not_choose(self) -> str | None:
        """At the end of a run: why it trained as if the method were not there; None where the method chose."""
        return None

    def describe(self) -> dict[str, float]:
        """What decides from here on, for the record of an epoch; the host may wait for it."""
        return {}

    def end_epoch(self, ranks: Ranks) -> None:
        """Called by all ranks together when an epoch has been trained."""

    def merge(self, ranks: Ranks) -> None:
        """Move what the ranks have summed in this epoch to rank 0, for a checkpoint; all ranks call it together."""

    def forget_sums(self) -> None:
        """Called on all ranks but rank 0 when they have loaded a checkpoint: rank 0 goes on with the sums."""

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors: what a resumed run needs beyond the table of scores."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
