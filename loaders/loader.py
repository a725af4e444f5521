"""`make_loader`, and the `Loader` that it puts together."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from .augment.config import Augment
from .backends.batching import Settings, count_batches
from .backends.gpu.transfer import sent
from .batch_transform import BatchTransform, apply, transformed
from .engine import BACKENDS, checked_device, choose_backend, open_engine
from .epochs import Epochs
from .formats.dataset import DatasetFile
from .formats.open import AnyPath, open_dataset
from .importance import ImportanceTable, place_among_ranks
from .order.scheduler import IndexScheduler
from .stages import measure
from .types import Batch, EpochPlan
from .verdict import Clock, Explanation, judge


class Loader:
    """Batches of one data set. Built by `make_loader`.

    `for batch in loader` delivers the next epoch. An epoch that was left early is over, unless only its first batch was
    looked at, as by `next(iter(loader))`: then it begins again. Two iterations at once, as in `zip(loader, loader)`,
    are of two epochs. `state_dict` and `load_state_dict` resume in the middle of an epoch, also in Lightning, which
    calls them.

    A loader pickles, and copies, as what it was made of: another process opens the file and its backend itself. A
    running epoch stays behind; `for batch in loader` goes on with the next plan, from a table of its own.

    Attributes:
        dataset: the open file.
        settings: how it is delivered.
        backend: the name of what delivers it; "auto" is resolved.
        residence: a phrase that says where batches are made and, if they are copied to a GPU, why.
        scheduler: draws the plans of `for batch in loader`.
    """

    def __init__(
        self,
        dataset: DatasetFile,
        settings: Settings,
        backend: str,
        device: torch.device,
        scheduler: IndexScheduler,
        table: ImportanceTable | None,
        ranks: Literal["auto"] | None = "auto",
        deliver: tuple[str, ...] | None = None,
        batch_transform: BatchTransform | None = None,
        next_epoch: int = 0,
    ):
        self.dataset, self.settings, self.backend, self.scheduler = dataset, settings, backend, scheduler
        self._backend, self.residence = open_engine(backend, dataset, settings, device)
        self._device, self._table, self._ranks, self._deliver = device, table, ranks, deliver
        self._transform = batch_transform
        whole = settings.batch_size if settings.drop_last else 1
        self._epochs = Epochs(scheduler, table, self._place, whole, merge=ranks is not None)
        self._epochs.epoch = next_epoch
        self._clock = Clock()

    def __reduce__(self) -> tuple[object, ...]:
        made_of = (self.dataset, self.settings, self.backend, self._device, self.scheduler, self._table)
        options = self._ranks, self._deliver, self._transform
        return type(self), (*made_of, *options, self._epochs.next_epoch(self.settings.batch_size))

    def __repr__(self) -> str:
        return (
            f"Loader({self.dataset.path!r}, {self.dataset.num_samples:,} samples, batches of "
            f"{self.settings.batch_size}, backend {self.backend!r}: {self.residence})"
        )

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The name of each label, as `DatasetFile.classes`."""
        return self.dataset.classes

    def epoch(self, plan: EpochPlan, start_batch: int = 0) -> Generator[Batch]:
        """Deliver a plan: any ids of the data set in any order, repeats included.

        Args:
            plan: the order; a plan of another length may follow in the next epoch.
            start_batch: batches to leave out, for a run that resumes; the others are as in a whole epoch.

        Returns:
            An iterator; dropping it or leaving the loop frees its thread and buffers. Errors of any stage come from it.

        Raises:
            ValueError: at once, when the plan does not fit the data set.
        """
        if not isinstance(plan, EpochPlan):
            raise ValueError(
                f"a plan is an EpochPlan, got {type(plan).__name__}: make one of ids with EpochPlan(np.asarray(ids))"
            )
        batches = self._backend.epoch(plan, start_batch)
        if self._transform is None:
            return batches
        return transformed(batches, self._transform, plan, start_batch * self.settings.batch_size)

    def __iter__(self) -> Iterator[Any]:
        """Deliver the next epoch: `Batch` by `Batch`, or tuples of what `deliver` names.

        The plan is drawn when the first batch is asked for, from the table's snapshot where there is a table; in a
        process group all ranks must ask together then, and each is given its shard.
        """
        size = self.settings.batch_size
        done = self._epochs.begin(peek=size)
        plan = self._epochs.plan()
        if plan.weights is not None and self._deliver is not None and "weights" not in self._deliver:
            raise ValueError(
                f"the plan weighs the samples, and deliver={self._deliver} leaves the weights out: add 'weights', and "
                "multiply the losses by them"
            )
        # A state that was saved behind a last batch that was not whole has nothing left.
        with self._epochs.iterating(), contextlib.closing(self._backend.epoch(plan, -(-done // size))) as batches:
            asked = time.perf_counter()
            for batch in batches:
                first, planned, given = done, plan.ids[done : done + len(batch.ids)], batch.ids
                if self._transform is not None:
                    batch = apply(self._transform, batch, plan, first)
                ready = time.perf_counter()
                done = first + len(planned)
                self._epochs.reached(plan, done)
                # A function of the user's own may reorder the samples, and then the ids are read back from the batch.
                ids = planned if batch.ids is given else None
                yield batch if self._deliver is None else self._picked(batch, ids)
                del batch, given
                self._clock.waited += ready - asked
                asked = time.perf_counter()
                self._clock.worked += asked - ready
                self._clock.batches += 1

    def _picked(self, batch: Batch, ids: np.ndarray | None) -> tuple[Any, ...]:
        """The fields that `deliver` names: those of the batch, and further ones of the file.

        Args:
            ids: int64 [B], of the batch; None copies them from the device, which waits for it.
        """
        assert self._deliver is not None
        columns = {name: self.dataset.columns[name] for name in self._deliver if name not in Batch._fields}
        further: dict[str, torch.Tensor] = {}
        if columns:
            wanted = batch.ids.cpu().numpy() if ids is None else ids
            self.dataset.check_in_place(wanted)
            rows = {name: torch.from_numpy(column.take(wanted)) for name, column in columns.items()}
            further = {name: sent(values, self._device) for name, values in rows.items()}
        return tuple(further[name] if name in further else getattr(batch, name) for name in self._deliver)

    def explain(self) -> Explanation:
        """Say why this loader is slow: seconds per batch of each stage, the ceiling, and what to change.

        It measures some batches, which takes a few seconds, so call it beside an epoch and not inside one. What `for
        batch in loader` has waited so far is told too. Printed, it is a few lines; so does `python -m loaders.explain`.
        """
        module = BACKENDS[self.backend]
        stages = measure(self.dataset, self.settings, module, self._backend, self._device)
        return judge(self.dataset, self.settings, self.backend, self.residence, stages, self._clock)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next `for` delivers. Of the epoch of a loaded state only the rest is delivered."""
        self._epochs.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """The position behind the last batch that was delivered, and the scores that its epoch's order follows.

        The table has a state of its own, to be saved beside this one.
        """
        return self._epochs.state_dict(self._epochs.done)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict` with the next batch; from that of an epoch that was done, with the next epoch.

        The loader must have been made with the same scheduler, and for the same number of ranks. With mixed images it
        needs the same batch size too.

        Raises:
            ValueError: the position is within an epoch of another order, or not the end of a batch.
        """
        self._epochs.load_state_dict(state, self.settings.batch_size)

    def __len__(self) -> int:
        """Batches of `for batch in loader`; right before the first epoch too."""
        _, ranks = self._place()
        return count_batches(len(self.scheduler) // ranks, self.settings.batch_size, self.settings.drop_last)

    def _place(self) -> tuple[int, int]:
        return (0, 1) if self._ranks is None else place_among_ranks()


def make_loader(
    path: AnyPath | Sequence[AnyPath],
    batch_size: int,
    *,
    backend: str = "auto",
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    augment: Augment = Augment(),  # noqa: B008 (frozen)
    batch_transform: BatchTransform | None = None,
    scheduler: IndexScheduler | None = None,
    sequential: bool = False,
    table: ImportanceTable | None = None,
    ranks: Literal["auto"] | None = "auto",
    deliver: Sequence[str] | None = None,
    fields: Mapping[str, str] | None = None,
    drop_last: bool = False,
    num_threads: int | None = None,
) -> Loader:
    """Open a data set for training or evaluation.

    Args:
        path: a `.beton`, or a `.tar` with its `.idx`; or a folder or list of such files that are one data set, see
            `open_dataset`.
        batch_size: samples a batch.
        backend: "auto", or one of `BACKENDS`; see `choose_backend`.
        device: where the batches go, "cpu" or "cuda". On a GPU, "fused" keeps the images in the GPU's memory, where
            they take at most half of what is free, and makes the batches there; "dali" and "nvimgcodec" decode JPEG
            there and make the batches there; "gpu" makes batches of raw images there whatever is asked for: resizing,
            RandAugment, grey images, and more images than fit, of which those that are drawn most stay there. The last
            three have not run on a GPU yet. The loader's `residence` says which of these happened.
        dtype: torch.uint8 (pixels as they are), or float32, bfloat16, float16 (normalised).
        augment: what happens to an image.
        batch_transform: a function of your own, (batch, key) -> Batch, on each batch after all else; `key` is 64 random
            bits of this batch of this epoch, a seed for what the function draws. It runs where the next batch is asked
            for, on tensors that lie on `device`, not on a thread that works ahead; its errors come from there. One that
            reorders samples returns ids of its own: those that it was given are not to be written into.
        scheduler: draws the plans of `for batch in loader`; None is every sample once, in random order.
        sequential: every sample once, ids 0 to N - 1 in each epoch, as for a test set; in place of a scheduler.
        table: the scores that the scheduler follows.
        ranks: "auto": in a process group each rank is given its part of every plan, so nothing else may shard; None
            gives every rank the whole, by what this rank alone recorded in its table.
        deliver: names of the fields of `Batch` that `for batch in loader` yields, as a plain tuple in that order, such
            as ("images", "labels"); also further fields of a `.beton`, numbers and arrays, by name. None yields the
            `Batch`.
        fields: what the fields of a `.beton` that others wrote are called, such as {"image": "img", "label": "target"}.
        drop_last: leave out a last batch that is not whole.
        num_threads: threads of the kernels; None takes the cores that the process may use. Pixels do not depend on it.

    Raises:
        ValueError: an argument that is not allowed, or a file that is not whole.
        FileNotFoundError: no such file.
        ImportError: the backend's library is not installed.
    """
    device = checked_device(device)
    if not isinstance(augment, Augment):
        raise ValueError(f"augment is a value such as Augment(flip=True), got {augment!r}")
    if not (batch_transform is None or callable(batch_transform)):
        raise ValueError(f"batch_transform is a function (batch, key) -> Batch, got {batch_transform!r}")
    if ranks not in ("auto", None):
        raise ValueError(f"ranks is 'auto', or None to give every rank the whole plan, got {ranks!r}")
    settings = Settings(batch_size, dtype, augment, drop_last, num_threads, pinned=device.type == "cuda")
    if backend != "auto" and backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}: choose one of auto, {', '.join(BACKENDS)}")
    dataset = open_dataset(path, fields)
    deliver = None if deliver is None else _delivered(deliver, dataset, augment)
    if sequential and scheduler is not None:
        raise ValueError("sequential=True is an order of its own: leave it out, or the scheduler")
    if table is not None and scheduler is None:
        raise ValueError(
            "a table chooses nothing without a scheduler that reads it: give scheduler=IndexScheduler(N, 'p-sgd'), or "
            "leave the table out and record into it yourself"
        )
    if scheduler is None:
        scheduler = IndexScheduler(dataset.num_samples, design="sequential" if sequential else "race")
    if scheduler.num_samples != dataset.num_samples:
        raise ValueError(
            f"the scheduler is for {scheduler.num_samples} samples, {dataset.path} has {dataset.num_samples}"
        )
    if backend == "auto":
        backend = choose_backend(dataset, augment)
    return Loader(dataset, settings, backend, device, scheduler, table, ranks, deliver, batch_transform)


def _delivered(names: Sequence[str], dataset: DatasetFile, augment: Augment) -> tuple[str, ...]:
    """The fields of a batch, and of the file, that are wanted.

    Raises:
        ValueError: there is no such field, or two of one name; or mixed images would come without what they were mixed
            of.
    """
    known = (*Batch._fields, *dataset.columns)
    if isinstance(names, str) or not names or not set(names) <= set(known):
        raise ValueError(f"deliver names fields of a batch, of {', '.join(known)}, got {names!r}")
    twice = [name for name in names if name in Batch._fields and name in dataset.columns]
    if twice:
        raise ValueError(
            f"deliver={tuple(names)} asks for {twice[0]!r}, a field of the batch and one of {dataset.path} too: give "
            f"that of the file another name, such as fields={{'my_{twice[0]}': {twice[0]!r}}}"
        )
    if augment.mixer is not None and "mix" not in names:
        raise ValueError(
            f"{type(augment.mixer).__name__} mixes labels too, and deliver={tuple(names)} leaves out how: add 'mix'"
        )
    return tuple(names)
