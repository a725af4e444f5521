"""Deliver an epoch from host memory: fetch bytes and augment them into batches, ahead of the consumer.

Small images are augmented one whole batch per thread, the threads taking batches in turn: handing a part of a batch to
a sleeping thread costs about as much as augmenting it. The backends on the CPU differ in how they fetch.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Generator

import torch

from ..formats.dataset import CHANNELS, DatasetFile
from ..kernels.jitter_cpu import jitter_block, prepare_jitter
from ..kernels.randaugment_cpu import randaugment_block
from ..threads import available_cores
from ..types import Batch, EpochPlan
from .augmenter import Augmenter
from .batching import Columns, HostFetch, Settings, Span, columns, longest, nchw, patterns, spans, watched
from .buffered import Fill, by_kernel, through_buffer
from .grey import widening, with_rgb_statistics
from .prefetch import prefetch_in_turn, stop_threads_at_exit
from .randaugment import prepare

AHEAD = 2  # batches ready or in the making, per thread
AHEAD_BYTES = 1 << 30  # of all these batches; large ones are made by several threads each, fewer at once


class Feed:
    """A backend on the CPU.

    Args:
        dataset: the open file.
        shape: (H, W, C) of its images.
        settings: how to deliver.
        new_fetch: makes the generator function that fetches the images of an epoch. What it yields stays valid until
            it is asked for the next; it is closed when the epoch ends early. Epochs that run at once get functions of
            their own, the next epoch gets one again.
        batch_per_thread: augment as many batches at once as there are threads, or as `AHEAD_BYTES` allows; otherwise
            one thread fills ahead and all work on its batch, which suits a fetch that takes long.
    """

    def __init__(
        self,
        dataset: DatasetFile,
        shape: tuple[int, int, int],
        settings: Settings,
        new_fetch: Callable[[], HostFetch],
        batch_per_thread: bool = False,
    ):
        self.fillers = 1
        if batch_per_thread:
            threads, batch_bytes = settings.num_threads or available_cores(), settings.batch_size * math.prod(shape)
            at_once = AHEAD_BYTES // (AHEAD * batch_bytes * settings.dtype.itemsize)
            self.fillers = max(1, min(threads, at_once))
            settings = dataclasses.replace(settings, num_threads=threads // self.fillers)
        settings, self.rgb_shape = with_rgb_statistics(settings, dataset), (*shape[:2], CHANNELS)
        self.dataset, self.shape, self.settings = dataset, shape, settings
        self.new_fetch = self.new_bare_fetch = new_fetch  # with the steps that follow it here, and without them
        augment, steps = settings.augment, list[Fill]()
        if shape != self.rgb_shape:
            steps.append(widening(settings))
        if augment.randaugment is not None:
            prepared = prepare(augment.randaugment, *shape[:2])
            steps.append(by_kernel(randaugment_block, prepared, self.rgb_shape, settings))
        if augment.color_jitter is not None:
            prepared = prepare_jitter(augment.color_jitter)
            steps.append(by_kernel(jitter_block, prepared, self.rgb_shape, settings))
        for step in steps:
            self.new_fetch = through_buffer(self.new_fetch, step, math.prod(self.rgb_shape))
        self.augmenter = Augmenter(self.rgb_shape, settings.dtype, augment, settings.num_threads)
        self._idle: list[HostFetch] = []  # of epochs that ended, for the next one
        self._group = object()  # names this feed's threads
        stop_threads_at_exit()  # before the library of the backend, which is imported by now

    def epoch(self, plan: EpochPlan, start_batch: int = 0) -> Generator[Batch]:
        """The batches of a plan, from `start_batch` on. Dropping the generator tells its threads to end.

        Raises:
            ValueError: at once, when the plan does not fit the data set.
        """
        todo = spans(plan, self.dataset, self.settings, start_batch)
        beside, fillers = columns(plan, self.dataset), min(self.fillers, max(1, len(todo)))
        parts = [functools.partial(self._batches, plan, todo[i::fillers], beside) for i in range(fillers)]
        return prefetch_in_turn(parts, AHEAD, self._group)

    def _batches(self, plan: EpochPlan, todo: list[Span], beside: Columns) -> Generator[Batch]:
        try:
            fetch = self._idle.pop()
        except IndexError:  # asked for no sooner: several threads take from the list
            fetch = self.new_fetch()
        settings, fetched = self.settings, fetch(plan, todo)
        is_grey = self.shape != self.rgb_shape
        rgb = torch.empty((longest(todo) if is_grey else 0, *self.rgb_shape), dtype=settings.dtype)
        try:
            for span, (data, offsets, rows) in zip(watched(self.dataset, todo, plan), fetched, strict=True):
                images = torch.empty((len(rows), *self.shape), dtype=settings.dtype, pin_memory=settings.pinned)
                target = rgb[: len(rows)] if is_grey else images
                mix = self.augmenter.fill(plan, span, data, offsets, rows, patterns(target))
                if is_grey:
                    images.copy_(target[..., :1])
                yield Batch(nchw(images), *beside.slice(span), mix)
                del images, target, mix
        finally:
            fetched.close()
            self._idle.append(fetch)
