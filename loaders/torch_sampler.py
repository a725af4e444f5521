"""An `IndexScheduler` as a torch `Sampler`, for code that keeps its own `DataLoader` (Lightning, Hugging Face)."""

import math
from collections.abc import Iterator, Sized
from typing import Any

from torch.utils.data import Sampler

from .epochs import Epochs
from .importance import ImportanceTable
from .order.scheduler import IndexScheduler
from .types import EpochPlan, Snapshot


class SchedulerSampler(Sampler[int]):
    """Yields the ids of an epoch's plan, drawn by the scores of a table.

        table = ImportanceTable(len(dataset))
        scheduler = IndexScheduler(len(dataset), "p-sgd", budget=0.3, seed=1)
        sampler = SchedulerSampler(scheduler, table=table, dataset=dataset)
        loader = DataLoader(dataset, batch_size=128, sampler=sampler, num_workers=4)
        for epoch in range(epochs):
            for ids, images, labels in loader:
                ...
                table.record(ids, loaders.scores(logits, labels))

    An iteration after a whole epoch is the next epoch; one that was left early is begun again. `set_epoch` chooses an
    epoch, as with torch's `DistributedSampler`. The table is read once per epoch, at its first id; in a process group
    all ranks read it together. What was recorded of an epoch is compared with its plan at the start of the next.

    Args:
        scheduler: draws the plans.
        rank, world_size: this process takes the positions rank::world_size of the global plan. For plain torch only:
            Lightning, accelerate and transformers' Trainer shard the global order themselves.
        table: the scores that the order follows, into which training records.
        dataset: what the ids index, only to compare its length: no sampler is told the data set of its `DataLoader`,
            which fails at ids beyond its end, and never delivers samples beyond those of the scheduler.

    Raises:
        ValueError: the rank is not below `world_size`; or the table or the data set is of another number of samples.
    """

    def __init__(
        self,
        scheduler: IndexScheduler,
        rank: int = 0,
        world_size: int = 1,
        *,
        table: ImportanceTable | None = None,
        dataset: Sized | None = None,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not in 0..{world_size - 1}")
        if dataset is not None and len(dataset) != scheduler.num_samples:
            raise ValueError(
                f"the scheduler is of {scheduler.num_samples} samples, the data set of {len(dataset)}: make it with "
                "IndexScheduler(len(dataset))"
            )
        self.scheduler, self.rank, self.world_size = scheduler, rank, world_size
        self._epochs = Epochs(scheduler, table, self._place)

    def _place(self) -> tuple[int, int]:
        return self.rank, self.world_size

    def set_epoch(self, epoch: int, scores: Snapshot | None = None) -> None:
        """Choose the epoch. It begins at its first sample, or goes on at the position of a loaded state of this epoch.

        Args:
            epoch: 0, 1, ...
            scores: that its order follows, for code that has no table here; None is the table's snapshot.
        """
        self._epochs.set_epoch(epoch, scores)

    def plan(self) -> EpochPlan:
        """This rank's plan of the current epoch, the same at each call."""
        return self._epochs.plan()

    def __len__(self) -> int:
        """Number of samples of a whole epoch on this rank."""
        return len(self.scheduler) // self.world_size

    def __iter__(self) -> Iterator[int]:
        start = self._epochs.begin(peek=math.inf)
        plan = self.plan()
        for done, sample_id in enumerate(plan.ids[start:].tolist(), start + 1):
            self._epochs.reached(plan, done)
            yield sample_id

    def state_dict(self, samples_done: int | None = None) -> dict[str, Any]:
        """The position in the epoch, from which `load_state_dict` goes on with the first sample that is not done.

        The table has a state of its own, to be saved beside this one.

        Args:
            samples_done: number of samples of this epoch that training on this rank has used; None is all that were
                handed out. Give it when the DataLoader has workers: they prefetch, so more were handed out than used.
                torchdata's `StatefulDataLoader` keeps count itself. Zero for frameworks that skip the batches
                themselves (accelerate's `skip_first_batches`, the Trainer).

        Raises:
            ValueError: `samples_done` is negative, or more than the epoch has.
        """
        done = self._epochs.done if samples_done is None else samples_done
        if not 0 <= done <= len(self):
            raise ValueError(f"samples_done must be in 0..{len(self)}, got {done}")
        return self._epochs.state_dict(done)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`; the scheduler must have been made with the same arguments.

        From the state of an epoch that was done, the next iteration is the next epoch, unless `set_epoch` asks for the
        rest of that one, which is empty.

        Raises:
            ValueError: the position is within an epoch of another order.
        """
        self._epochs.load_state_dict(state)
