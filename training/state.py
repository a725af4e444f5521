"""A run as one value: what it is made of, and what changes while it goes on."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from loaders.importance import ImportanceTable
from loaders.types import EpochPlan, Snapshot
from training.budget import Budget
from training.config import Config
from training.data.loading import Data
from training.ledger import Flops, Ledger
from training.machine.distributed import Ranks
from training.machine.precision import Precision
from training.machine.signals import Stopped, StopRequest
from training.methods.base import Method
from training.schedules import Schedule
from training.step.average import Average
from training.step.graph import StepGraph


@dataclass
class Run:
    """One training run.

    Attributes:
        config: all settings, those that depend on the machine resolved.
        ranks: the processes that train together.
        stop: whether a signal has asked to stop.
        data: manifest and loaders.
        method: chooses the samples.
        budget, schedule: when the run ends, and what changes until then.
        flops: per sample, by the images' size; None is their own.
        model: the trained network.
        network: what a step calls: the model, or what distributes or compiles it; shares the model's parameters.
        optimizers: stepped in this order; each parameter belongs to one. Their groups have `base_lr`.
        scaler: of the loss in fp16; disabled otherwise.
        average: running average of the model, or None.
        table: the scores and visits of the samples.
        ledger: what is spent.
        epoch, batch: the position: `batch` batches of epoch `epoch` are done, each a step unless the method chooses.
        plan: the order of the running epoch; None between epochs.
        scores: the table's snapshot at the end of the epoch before; None when it was not taken in this process.
        draws: whether the network draws at random in a step, as dropout does.
        graphs: the recorded steps, by their kind (`training.step.graph`); None where each step is launched anew.
        loss_sum: float64 scalar on the device, summed loss of the running epoch's samples of this rank.
        trained: number of the running epoch's samples of all ranks.
        train_loss: mean loss of the epoch that has ended last; None when it had no step.
    """

    config: Config
    ranks: Ranks
    stop: StopRequest
    device: torch.device
    precision: Precision
    data: Data
    method: Method
    budget: Budget
    schedule: Schedule
    flops: dict[int | None, Flops]
    model: nn.Module
    network: nn.Module
    optimizers: list[torch.optim.Optimizer]
    scaler: torch.amp.GradScaler
    average: Average | None
    table: ImportanceTable
    ledger: Ledger
    epoch: int = 0
    batch: int = 0
    plan: EpochPlan | None = None
    scores: Snapshot | None = None
    draws: bool = False
    graphs: dict[Hashable, StepGraph] | None = None
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    trained: int = 0
    train_loss: float | None = None

    @property
    def batch_size(self) -> int:
        """Samples of a batch on this rank."""
        return self.config.batch_size // self.ranks.world_size

    @property
    def progress(self) -> float:
        """Fraction of the budget that is spent, in [0, 1]."""
        return self.budget.progress(self.ledger)

    def work(self, progress: float) -> float:
        """Fraction of the run's work that is done at that progress, in [0, 1]: the time left follows it."""
        if self.budget.unit == "seconds":
            return progress
        return self.schedule.work(progress, lambda size: self.flops[size].step)

    @property
    def is_over(self) -> bool:
        """Whether the budget pays for no further step."""
        return self.budget.is_spent(self.ledger)

    @property
    def evaluated_model(self) -> nn.Module:
        """The averaged weights where there are any, else the trained ones."""
        return self.model if self.average is None else self.average.module

    def agree(self) -> None:
        """Let all ranks read the slowest one's clock, and stop together when one was asked to.

        Raises:
            Stopped: a rank was asked to stop.
        """
        number, self.ledger.train_seconds = self.ranks.all_reduce_max(self.stop.signal or 0, self.ledger.train_seconds)
        if number:
            raise Stopped(int(number))

    def shard(self, plan: EpochPlan) -> EpochPlan:
        """This rank's part of a plan."""
        return plan if self.ranks.is_alone else plan.shard(self.ranks.rank, self.ranks.world_size)

    def next_epoch(self) -> None:
        """Count the epoch as covered, and move the position to the beginning of the next one."""
        assert self.plan is not None, "no epoch has been planned"
        size = self.config.batch_size
        whole_batches = self.method.scheduler.num_items // size * size
        self.ledger.covered_samples += self.batch * size / len(self.plan) * whole_batches
        self.epoch, self.batch, self.plan, self.trained = self.epoch + 1, 0, None, 0
        self.loss_sum.zero_()
