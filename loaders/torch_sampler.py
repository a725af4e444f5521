"""An `IndexScheduler` as a torch `Sampler`, for code that keeps its own `DataLoader` (Lightning, Hugging Face)."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Sampler

from .order.scheduler import IndexScheduler
from .types import EpochPlan, Snapshot


class SchedulerSampler(Sampler[int]):
    """Yields the ids of an epoch's plan; `set_epoch` chooses the epoch, as with torch's `DistributedSampler`.

        sampler = SchedulerSampler(IndexScheduler(len(dataset), "p-sgd", budget=0.3, seed=1))
        loader = DataLoader(dataset, batch_size=128, sampler=sampler, num_workers=4)
        for epoch in range(epochs):
            sampler.set_epoch(epoch, table.snapshot())

    Args:
        scheduler: draws the plans.
        rank, world_size: this process takes the positions rank::world_size of the global plan.

    Raises:
        ValueError: the rank is not below `world_size`.
    """

    def __init__(self, scheduler: IndexScheduler, rank: int = 0, world_size: int = 1) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not in 0..{world_size - 1}")
        self.scheduler, self.rank, self.world_size = scheduler, rank, world_size
        self._epoch, self._start, self._handed_out = 0, 0, 0
        self._scores: Snapshot | None = None

    def set_epoch(self, epoch: int, scores: Snapshot | None = None) -> None:
        """Choose the epoch, and the scores that its order follows; the next iteration starts at its first sample."""
        self._epoch, self._scores, self._start, self._handed_out = epoch, scores, 0, 0

    def plan(self) -> EpochPlan:
        """This rank's plan of the current epoch, the same at each call."""
        return self.scheduler.plan(self._epoch, self._scores).shard(self.rank, self.world_size)

    def __len__(self) -> int:
        """Number of samples of a whole epoch on this rank."""
        return len(self.scheduler) // self.world_size

    def __iter__(self) -> Iterator[int]:
        start, self._start = self._start, 0
        self._handed_out = start
        for sample_id in self.plan().ids[start:].tolist():
            self._handed_out += 1
            yield sample_id

    def state_dict(self, samples_done: int | None = None) -> dict[str, Any]:
        """The position in the epoch, from which `load_state_dict` goes on with the first sample that is not done.

        Args:
            samples_done: number of samples of this epoch that training on this rank has used; None is all that were
                handed out. Give it when the DataLoader has workers: they prefetch, so more were handed out than used.

        Raises:
            ValueError: `samples_done` is negative, or more than the epoch has.
        """
        done = self._handed_out if samples_done is None else samples_done
        if not 0 <= done <= len(self.plan()):
            raise ValueError(f"samples_done must be in 0..{len(self.plan())}, got {done}")
        scores = None if self._scores is None else {k: torch.from_numpy(v) for k, v in self._scores._asdict().items()}
        return {"epoch": self._epoch, "samples_done": done, "scores": scores}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`; the scheduler must have been made with the same arguments."""
        scores = state["scores"]
        self._epoch = state["epoch"]
        self._scores = None if scores is None else Snapshot(**{k: v.numpy() for k, v in scores.items()})
        self._start = self._handed_out = state["samples_done"]
