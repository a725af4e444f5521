"""The fused CPU backend: one compiled kernel gathers and augments straight from the file's memory into the batch.

The file is resident through its memory map. One thread fills buffers ahead of the consumer, all cores run the kernel.
"""

from collections.abc import Iterator

import numpy as np
import torch

from loaders import kernels
from loaders.augment import Augment, normalisation_table
from loaders.batches import Span, check_batching, columns, one_size, spans
from loaders.dataset import DatasetFile
from loaders.device import IN_FLIGHT
from loaders.parallel import for_blocks
from loaders.prefetch import prefetch
from loaders.slots import PATTERN, Slots
from loaders.types import Batch, EpochPlan

AHEAD = 2  # batches ready or in the making
SLOTS = AHEAD + 2  # and two with a consumer that has just asked for the next


class Painter:
    """Augments pictures that lie in memory; the part that the backends on the CPU share.

    Args:
        shape: (H, W, 3) of the pictures.
        dtype: of the batches.
        augment: what to do to a picture.
        num_threads: None takes the cores that the process may use.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: torch.dtype, augment: Augment, num_threads: int | None):
        height, width, _ = shape
        if augment.pad_mode == "reflect" and augment.crop_padding >= min(height, width):
            raise ValueError(
                f"reflecting {augment.crop_padding} pixels needs a larger picture than {height} x {width}: "
                "lower crop_padding, or use pad_mode='zero'"
            )
        self.augment, self.num_threads = augment, num_threads
        self.table = None
        if dtype != torch.uint8:
            rounded = torch.from_numpy(normalisation_table(augment)).to(dtype)
            self.table = rounded.view(torch.from_numpy(np.empty(0, PATTERN[dtype])).dtype).numpy()

    def paint(
        self, plan: EpochPlan, span: Span, data: np.ndarray, offsets: np.ndarray, ids: np.ndarray, out: np.ndarray
    ) -> None:
        """Fill out[: len(ids)] with the pictures at data[offsets[ids]], drawn for the positions of `span`."""
        augment = self.augment
        recipe = kernels.Recipe(
            np.uint64(plan.key),
            plan.rank + plan.world_size * span.first,
            plan.world_size,
            augment.crop_padding,
            augment.pad_mode == "reflect",
            augment.flip,
            augment.cutout,
        )
        kernel, more = (kernels.pixels, ()) if self.table is None else (kernels.through_table, (self.table,))
        for_blocks(kernel, len(ids), data, offsets, ids, out, recipe, *more, threads=self.num_threads)


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
