"""The fused CPU backend: one compiled kernel gathers and augments straight from the file's memory into the batch.

The file is resident through its memory map. One thread fills buffers ahead of the consumer, all cores run the kernel.
"""

from collections.abc import Iterator

import torch

from loaders.augment import Augment
from loaders.batches import Span, check_batching, columns, one_size, spans
from loaders.dataset import DatasetFile
from loaders.device import IN_FLIGHT
from loaders.painter import Painter
from loaders.prefetch import prefetch
from loaders.slots import Slots
from loaders.types import Batch, EpochPlan

AHEAD = 2  # batches ready or in the making
SLOTS = AHEAD + 2  # and two with a consumer that has just asked for the next


class FusedBackend:
    """Delivers a raw data set whose pictures have one size.

    Args:
        dataset, batch_size, dtype, augment, drop_last, num_threads: as in `loaders.make_loader`.
        pinned: fill page-locked buffers, for copies to a device.
    """

    def __init__(
        self,
        dataset: DatasetFile,
        batch_size: int,
        dtype: torch.dtype = torch.float32,
        augment: Augment = Augment(),  # noqa: B008 (frozen)
        drop_last: bool = False,
        num_threads: int | None = None,
        pinned: bool = False,
    ):
        check_batching(batch_size, dtype)
        if dataset.kind != "raw":
            raise ValueError(f"backend 'fused' reads raw pixels, {dataset.path} holds JPEG: use backend='ffcv'")
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        shape = one_size(dataset, "fused")
        self.painter = Painter(shape, dtype, augment, num_threads)
        count = SLOTS + (IN_FLIGHT if pinned else 0)
        self._new_slots = lambda: Slots(count, (batch_size, *shape), dtype, pinned)
        self._idle: list[Slots] = []  # of epochs that ended; two epochs at once have buffers of their own

    def epoch(self, plan: EpochPlan, start_batch: int = 0) -> Iterator[Batch]:
        """The batches of a plan, from `start_batch` on. Dropping the iterator stops its thread."""
        todo = spans(plan, self.dataset, self.batch_size, self.drop_last, start_batch)
        return prefetch(lambda: self._batches(plan, todo), AHEAD)

    def _batches(self, plan: EpochPlan, todo: list[Span]) -> Iterator[Batch]:
        slots = self._idle.pop() if self._idle else self._new_slots()
        try:
            beside = columns(plan, self.dataset)
            for span in todo:
                out, ids = slots.free(), plan.ids[span.first : span.last]
                self.painter.paint(plan, span, self.dataset.data, self.dataset.offsets, ids, out)
                yield Batch(slots.tensor(out, len(ids)), **beside.slice(span))
                del out
        finally:
            self._idle.append(slots)
