"""Keep a part of a data set on a device that cannot hold all of it: what a plan draws most. The rest is copied.

One buffer on the device has a place for each image that stays, and behind these some parts, of a batch each, for the
others. So a batch's images lie in one piece of memory, wherever they come from, and one kernel makes it. A thread works
ahead of the consumer: it gathers what is missing from the file into page-locked memory, and a side stream copies it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any, NamedTuple

import numpy as np
import torch

from ...formats.dataset import DatasetFile
from ...kernels.gather_cpu import gather_block
from ...threads import for_blocks
from ...types import EpochPlan
from ..batching import DeviceImages, Settings, Span, watched
from ..prefetch import prefetch, stop_threads_at_exit
from .transfer import sent

AHEAD = 2  # batches that the thread is ahead
PARTS = AHEAD + 1  # the one more is the consumer's


class Arrangement(NamedTuple):
    """Where the images of an epoch lie, in units of one image.

    Attributes:
        staying: int64 [N], the place of each image that is on the device already and stays; -1 of the others.
        starts: int64 [K], the place of each image of the plan, for its own batch.
        missing: for each batch the ids that are copied for it, int64 [M], each once; those that stay come first.
        places: for each batch where the first ones of `missing` go and stay, int64.
    """

    staying: np.ndarray
    starts: np.ndarray
    missing: list[np.ndarray]
    places: list[np.ndarray]


def arrange(ids: np.ndarray, todo: list[Span], held: np.ndarray, capacity: int, part: int) -> Arrangement:
    """Choose what stays on the device: the `capacity` images that the plan draws most.

    Of those that it draws equally often, what is there already stays; so an image is copied once or, if it does not
    stay, once for each batch that shows it.

    Args:
        ids: int64 [K], of the plan.
        todo: its batches that are to be made.
        held: int64 [N], the place of each image that is on the device; -1 of the others.
        capacity: places for images that stay.
        part: images in one of the parts behind these places; batch b uses part b modulo `PARTS`.
    """
    counts = np.zeros(len(held), np.int64)
    for first, last in todo:
        counts += np.bincount(ids[first:last], minlength=len(held))
    wanted = np.zeros(len(held), np.bool_)
    wanted[np.lexsort((held < 0, -counts))[:capacity]] = True
    wanted &= (counts > 0) | (held >= 0)
    staying = np.where(wanted, held, -1)
    free = np.setdiff1d(np.arange(capacity), staying)
    entering = np.flatnonzero(wanted & (held < 0))
    goal = np.full(len(held), -1, np.int64)
    goal[entering] = free[: len(entering)]
    now, starts, missing, places = staying.copy(), np.zeros(len(ids), np.int64), [], []
    for number, (first, last) in enumerate(todo):
        absent = np.unique(ids[first:last])
        absent = absent[now[absent] < 0]
        stays = goal[absent] >= 0
        missing.append(np.concatenate([absent[stays], absent[~stays]]))
        places.append(goal[absent[stays]])
        begin = capacity + number % PARTS * part
        now[missing[-1]] = begin + np.arange(len(absent))  # in this batch they are all where they were copied to
        starts[first:last] = now[ids[first:last]]
        now[absent] = goal[absent]
    return Arrangement(staying, starts, missing, places)


class PartlyResident:
    """Fetches the images of an epoch, as the `fetch` of a `device.DeviceFeed`; for one epoch at a time.

    Args:
        dataset: the open file; of raw images.
        settings: how to deliver.
        capacity: bytes of the device's memory that the images may take. Three batches of them must fit, and are taken
            where they do not.
        device: a GPU; or the CPU, where nothing overlaps but everything else is the same.
    """

    def __init__(self, dataset: DatasetFile, settings: Settings, capacity: int, device: torch.device):
        self.dataset, self.threads, self.device = dataset, settings.num_threads, device
        self._module: Any = torch.cuda if device.type == "cuda" else torch.cpu
        self._image = int(dataset.sizes.max())  # bytes of a place
        self._part = min(settings.batch_size, dataset.num_samples)
        self.num_staying = min(max(capacity // self._image - PARTS * self._part, 0), dataset.num_samples)
        shape = self.num_staying + PARTS * self._part, self._image
        with torch.inference_mode(False):  # the thread that fills it is in no such mode
            self._places = torch.empty(shape, dtype=torch.uint8, device=device)
        is_gpu, shape = device.type == "cuda", (self._part, self._image)
        self._host = [torch.empty(shape, dtype=torch.uint8, pin_memory=is_gpu) for _ in range(PARTS)]
        with torch.cuda.device(device) if is_gpu else contextlib.nullcontext():
            self._stream = self._module.Stream()
            if is_gpu:
                self._places.record_stream(self._stream)  # not freed while a copy writes to it
            self._copied, self._read = ([self._module.Event() for _ in range(PARTS)] for _ in range(2))
            for event in self._read:
                event.record(self._module.current_stream(device))  # by whoever had the memory before
        self._held = np.full(dataset.num_samples, -1, np.int64)
        self._group = object()  # names the threads of this one's epochs
        stop_threads_at_exit()

    def fetch(self, plan: EpochPlan, todo: list[Span]) -> Generator[DeviceImages]:
        """The images of each span. Dropping the generator tells its thread to end."""
        data = self._places.view(-1)
        with contextlib.closing(prefetch(lambda: self._copies(plan, todo), AHEAD, self._group)) as copies:
            for number, starts in enumerate(copies):
                part, current = number % PARTS, self._module.current_stream(self.device)
                self._copied[part].wait(current)
                if starts.is_cuda:
                    starts.record_stream(current)
                try:
                    yield data, starts
                finally:
                    self._read[part].record(current)

    def _copies(self, plan: EpochPlan, todo: list[Span]) -> Generator[torch.Tensor]:
        """Queue the copies for batch after batch on the side stream; yields where each batch's images begin."""
        arranged = arrange(plan.ids, todo, self._held, self.num_staying, self._part)
        self._held = arranged.staying
        stored = self.dataset.data, self.dataset.offsets, self.dataset.sizes
        with self._module.stream(self._stream):
            for event in self._read:  # of the last batches of the epoch before
                event.wait(self._stream)
            starts = sent(torch.from_numpy(arranged.starts * self._image), self.device)
            goals = sent(torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *arranged.places])), self.device)
        kept, done = self._places[: self.num_staying], 0
        for number, span in enumerate(watched(self.dataset, todo, plan)):
            part, missing, places = number % PARTS, arranged.missing[number], arranged.places[number]
            self._copied[part].synchronize()  # the page-locked memory is free again
            host = self._host[part][: len(missing)]
            for_blocks(gather_block, len(missing), *stored, missing, host.numpy(), threads=self.threads)
            begin = self.num_staying + part * self._part
            with self._module.stream(self._stream):
                self._read[part].wait(self._stream)
                arrived = self._places[begin : begin + len(missing)]
                arrived.copy_(host, non_blocking=True)
                if len(places):
                    kept.index_copy_(0, goals[done : done + len(places)], arrived[: len(places)])
                self._copied[part].record(self._stream)
            self._held[missing[: len(places)]] = places
            done += len(places)
            yield starts[span.first : span.last]
