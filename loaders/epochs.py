"""Where a run stands in its epochs: one plan for each, drawn from one snapshot of the table.

`Loader` and `SchedulerSampler` share this. Positions count samples of the plan that this process is given.
"""

import contextlib
import warnings
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import torch

from .importance import ImportanceTable, place_among_ranks
from .order.identity import changed, order_of
from .order.scheduler import IndexScheduler
from .types import EpochPlan, Snapshot


class Epochs:
    """Counts epochs and samples, and draws a plan once per epoch.

    Args:
        scheduler: draws the plans.
        table: the scores that they follow; None: those that `set_epoch` is given, if any.
        place: returns rank and world size: this process takes the positions rank::world_size of the global plan.
        whole: samples are handed out in multiples of this number; what is left over of a plan is not.
        merge: whether the table's snapshots sum the records of all ranks.

    Attributes:
        epoch: the number of the epoch that is being handed out, or is next.
        done: samples of it that this process was handed, those of before a resume included.

    Raises:
        ValueError: the table is of another number of samples.
    """

    def __init__(
        self,
        scheduler: IndexScheduler,
        table: ImportanceTable | None,
        place: Callable[[], tuple[int, int]],
        whole: int = 1,
        merge: bool = True,
    ) -> None:
        if table is not None and table.num_samples != scheduler.num_samples:
            raise ValueError(
                f"the table is of {table.num_samples} samples, the scheduler of {scheduler.num_samples}: make both "
                "with the same num_samples"
            )
        self.scheduler, self.table, self._place, self._whole, self._merge = scheduler, table, place, whole, merge
        self.epoch, self.done = 0, 0
        self._start = 0  # where an iteration of this epoch begins: zero, or where a resumed run goes on
        self._scores: Snapshot | None = None  # that its plan follows, or is to follow
        self._drawn = False  # here, or by the run that saved the state; its scores are settled
        self._plan: EpochPlan | None = None  # this process's part of it
        self._open = 0  # iterations of it that `iterating` holds open
        self._again = False  # the next iteration is one of this epoch, though it is over
        self._resumed = False
        self._asked: int | None = None  # by `set_epoch`, at last
        self._previous: tuple[int, np.ndarray, np.ndarray] | None = None  # epoch, planned visits, visits before it
        self._any_drawn = False
        self._begun = 0  # iterations of this epoch that nobody asked for by `set_epoch`
        self._told: set[str] = set()

    def plan(self) -> EpochPlan:
        """This process's part of the plan of the current epoch: drawn once, from one snapshot of the table.

        In a process group with a table all ranks must ask together, since a snapshot merges their records.

        Raises:
            ValueError: the plan has fewer samples than there are ranks.
        """
        if self._plan is None:
            if not self._drawn:
                self._settle_scores()
            plan, (rank, ranks) = self._global_plan(), self._place()
            if 0 < len(plan) < ranks:
                raise ValueError(
                    f"epoch {self.epoch} has {len(plan)} samples, too few for equal parts of {ranks} ranks: "
                    "raise the budget or use fewer ranks; make_loader(ranks=None) gives every rank all of them"
                )
            if self.scheduler.design == "sequential" and len(plan) % ranks:
                self._tell(
                    "cut",
                    f"{ranks} ranks take equal parts of {len(plan):,} samples in sequence, so the last "
                    f"{len(plan) % ranks} are never delivered: make_loader(ranks=None) gives every rank all of them",
                )
            self._plan = plan if ranks == 1 else plan.shard(rank, ranks)
        return self._plan

    @property
    def is_over(self) -> bool:
        """Whether this process was handed the current epoch to its end."""
        return self._drawn and self.done >= len(self.plan()) // self._whole * self._whole

    def begin(self, peek: float) -> int:
        """Begin an iteration, of the next epoch where this one is over; returns the position of its first sample.

        Args:
            peek: an epoch of which at most so many samples were handed out is begun again; one with more of them was
                left on purpose, and the next one follows. It follows too while `iterating` holds this one open.
        """
        if not self._again and self._is_left(peek):
            self._go_to(self.epoch + 1)
        self._begun = 0 if self._again else self._begun + 1
        self._again = False
        if self._begun == 3:
            self._tell(
                "begun",
                f"epoch {self.epoch} is begun for the third time and was never delivered to its end, so the same "
                "samples come again: iterate through it, or choose another one with set_epoch",
            )
        self.plan()
        self.done = self._start
        return self._start

    def reached(self, plan: EpochPlan, done: int) -> None:
        """Note that so many samples of a plan were handed out; an iteration of an earlier plan changes nothing."""
        if plan is self._plan:
            self.done = done

    @contextlib.contextmanager
    def iterating(self) -> Generator[None]:
        """Hold the iteration open that has just begun, so that another one at the same time is of the next epoch."""
        plan = self._plan
        self._open += 1
        try:
            yield
        finally:
            if plan is self._plan:
                self._open -= 1

    def next_epoch(self, peek: float) -> int:
        """The epoch that a copy goes on with: this one, or the next where it is over or was left (see `begin`)."""
        return self.epoch + self._is_left(peek)

    def _is_left(self, peek: float) -> bool:
        return self.is_over or self._open > 0 or self.done - self._start > peek

    def set_epoch(self, epoch: int, scores: Snapshot | None = None) -> None:
        """Choose the epoch.

        Another epoch begins at its first sample. The current one keeps its scores; if a state of it was loaded, it goes
        on at the position of that state.
        """
        if epoch < self.epoch:
            self._tell(
                "back",
                f"set_epoch({epoch}) goes back from epoch {self.epoch}, and repeats what was drawn: a run that resumes "
                "counts on from the epoch of its state",
            )
        if epoch != self.epoch or (scores is not None and not self._resumed):
            self._go_to(epoch, scores)
        self._again, self._asked = True, epoch

    def state_dict(self, done: int) -> dict[str, Any]:
        """The current epoch, its scores, how many of its samples are done, and what their order depends on."""
        scores = None if self._scores is None else {k: torch.tensor(v) for k, v in self._scores._asdict().items()}
        return {"epoch": self.epoch, "samples_done": done, "scores": scores, "order": self._order()}

    def load_state_dict(self, state: dict[str, Any], batch_size: int = 1) -> None:
        """Go on from a `state_dict`.

        Args:
            batch_size: the position must be a multiple of it, or the end of the epoch.

        Raises:
            ValueError: the position is within an epoch of another order, or not the end of a batch.
        """
        epoch, done, scores = state["epoch"], state["samples_done"], state["scores"]
        differences = changed(state["order"], self._order()) if done and "order" in state else ""
        if differences:
            raise ValueError(
                f"{done:,} samples of epoch {epoch} are done, in another order ({differences}): resume with the "
                f"scheduler and the number of ranks that the state was saved with, or begin the next epoch with "
                f"set_epoch({epoch + 1})"
            )
        scores = None if scores is None else Snapshot(**{k: _read_only(v) for k, v in scores.items()})
        # Only the plan tells where an epoch ends, since a policy may set the number of draws.
        if done % batch_size and done < len(self.scheduler.plan(epoch, scores)) // self._place()[1]:
            raise ValueError(
                f"{done:,} samples of epoch {epoch} are done, and no batch of {batch_size} ends there: resume with "
                "the batch size that the state was saved with"
            )
        self.epoch, self.done, self._start, self._scores = epoch, done, done, scores
        # The scores of an epoch that has begun are those of the state: the table's of now belong to the next one.
        self._drawn, self._plan, self._open = done > 0 or scores is not None, None, 0
        self._resumed, self._again, self._previous, self._begun = True, self._asked == epoch, None, 0

    def _order(self) -> dict[str, str | float | None]:
        return order_of(self.scheduler) | {"ranks": self._place()[1]}

    def _go_to(self, epoch: int, scores: Snapshot | None = None) -> None:
        if self._scores is not None and self.is_over:
            self._previous = (self.epoch, self._planned_visits(), self._scores.visits)
        self.epoch, self.done, self._start = epoch, 0, 0
        self._scores, self._drawn, self._plan, self._open = scores, False, None, 0
        self._again, self._resumed, self._begun = False, False, 0

    def _global_plan(self) -> EpochPlan:
        return self.scheduler.plan(self.epoch, self._scores)

    def _planned_visits(self) -> np.ndarray:
        """int64 [N]: how often the current epoch was to visit each sample, over all ranks."""
        ids, ranks = self._global_plan().ids, self._place()[1]
        each = len(ids) // ranks // self._whole * self._whole
        return np.bincount(ids[: each * ranks], minlength=self.scheduler.num_samples)

    def _settle_scores(self) -> None:
        if self._scores is None and self.table is not None:
            self._scores = self.table.snapshot(self._merge)
        self._check_visits()
        self._check_scores()
        self._drawn = self._any_drawn = True

    def _check_visits(self) -> None:
        """Say so where what was recorded of the previous epoch is not its plan."""
        previous, self._previous = self._previous, None
        if previous is None or self._scores is None:
            return
        epoch, planned, before = previous
        recorded = np.rint(self._scores.visits.astype(np.float64) - before).astype(np.int64)
        if not recorded.any():
            return  # scores that are known, and stay as they are
        excess = recorded - planned
        missing, extra = -int(excess[excess < 0].sum()), int(excess[excess > 0].sum())
        if missing or extra:
            self._tell(
                "visits",
                f"of the {planned.sum():,} ids that epoch {epoch} planned for all ranks, {missing:,} were not recorded "
                f"and {extra:,} were recorded in excess: leave rank= and world_size= out where a framework shards, "
                "give them in plain torch, and draw whole batches of all ranks, IndexScheduler(batch_size=ranks * "
                "batch_size), where the end of an epoch is dropped or filled up",
            )

    def _check_scores(self) -> None:
        """Say so where a policy that follows scores has none in the second epoch."""
        if (self._scores is not None and self._scores.visits.any()) or not self._any_drawn:
            return
        if self.scheduler.needs_scores:
            reason = "no table: give the one that training records into as table="
            if self.table is not None or self._scores is not None:
                reason = "a table without records: call table.record(ids, scores) for every batch"
            policy = self.scheduler.policy
            name = repr(policy) if isinstance(policy, str) else "of your own"
            self._tell("scores", f"policy {name} follows scores, but draws all samples equally, since it has {reason}")

    def _tell(self, subject: str, sentence: str) -> None:
        if subject not in self._told and place_among_ranks()[0] == 0:
            warnings.warn(sentence, stacklevel=2)
        self._told.add(subject)


def _read_only(values: torch.Tensor) -> np.ndarray:
    """A copy on the host, wherever the state was loaded to; no policy may write into what is saved again."""
    array = values.cpu().numpy().copy()
    array.flags.writeable = False
    return array
