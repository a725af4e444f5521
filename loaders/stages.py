"""How long the stages of a batch take: reading, decoding, resizing, augmenting, copying."""

from __future__ import annotations

import contextlib
import dataclasses
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from .augment.crop import boxes
from .backends.batching import HostFetch, Settings, Span, longest, patterns, spans
from .backends.gpu.transfer import OnDevice, sent
from .backends.host import Feed
from .compiled import compiled
from .formats.dataset import DatasetFile
from .kernels.resize_cpu import resize_box
from .types import Backend, EpochPlan

_PAGE = 4096  # bytes
_NUM_DECODED = 64  # images that are decoded one by one


@dataclass(frozen=True)
class Stages:
    """Seconds per batch, by the clock and on all threads.

    Attributes:
        batch_size: images in a batch, on average.
        delivered: from one batch to the next where the consumer does nothing; stages overlap.
        read: look at the stored bytes for the first time.
        from_disk: whether some of them had to come from the disk, since they were not in the page cache.
        decode, resize, augment, copy: the other stages; `resize` is in `decode` where a backend does both at once, and
            all are None where batches are made on a GPU.
    """

    batch_size: float
    delivered: float
    read: float
    from_disk: bool
    decode: float | None
    resize: float | None
    augment: float | None
    copy: float | None


def measure(
    dataset: DatasetFile, settings: Settings, backend: str, engine: Backend, device: torch.device, num_batches: int = 6
) -> Stages:
    """Measure some batches of random samples, a second or a few; where a file is not in memory yet, reading takes long.

    Args:
        dataset, settings, backend, engine, device: those of a loader; `backend` is the module's name in `loaders`.
        num_batches: how many, at most as many as the file has.
    """
    ids = np.random.default_rng(0).permutation(dataset.num_samples)[: num_batches * settings.batch_size]
    settings = dataclasses.replace(settings, drop_last=False)
    plan = EpochPlan(ids, key=1)
    todo = spans(plan, dataset, settings, 0)
    num, per_batch = len(todo), 1 / len(todo)
    stored = dataset.data, dataset.offsets, dataset.sizes
    _touch(*stored, ids[:0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    read = _seconds(lambda: _touch(*stored, ids))
    from_disk = resource.getrusage(resource.RUSAGE_SELF).ru_majflt > before
    _consume(engine, EpochPlan(ids[: settings.batch_size], key=1))  # what is compiled is compiled now
    delivered = _seconds(lambda: _consume(engine, plan))
    feed = engine.host if isinstance(engine, OnDevice) else engine
    if not isinstance(feed, Feed):
        return Stages(len(ids) * per_batch, delivered * per_batch, read * per_batch, from_disk, None, None, None, None)
    augment = _augmenting(feed, plan, todo)
    fetch = _fetching(feed, feed.new_bare_fetch, plan, todo)
    if feed.new_fetch is not feed.new_bare_fetch:  # RandAugment, colour jitter and the channels of grey images
        augment += max(_fetching(feed, feed.new_fetch, plan, todo) - fetch, 0.0)
    resize = fetch * _resizing(dataset, settings, plan) if backend.endswith(".native") else 0.0
    copy = 0.0
    if device.type == "cuda":
        batch = next(feed.epoch(plan))
        copy = num * _seconds(lambda: (sent(batch.images, device), torch.cuda.synchronize(device)))
    delivered, read, decode, resize, augment, copy = (
        total * per_batch for total in (delivered, read, fetch - resize, resize, augment, copy)
    )
    return Stages(len(ids) * per_batch, delivered, read, from_disk, decode, resize, augment, copy)


@compiled(nogil=True)
def _touch(data, offsets, sizes, ids):
    """Look at a byte of each page of these images, so that the system brings it in."""
    total = 0
    for i in ids:
        for at in range(offsets[i], offsets[i] + sizes[i], _PAGE):
            total += data[at]
    return total


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _consume(engine: Backend, plan: EpochPlan) -> None:
    with contextlib.closing(engine.epoch(plan)) as batches:
        for batch in batches:
            del batch


def _fetching(feed: Feed, new_fetch: Callable[[], HostFetch], plan: EpochPlan, todo: list[Span]) -> float:
    """Seconds that a feed takes to fetch the images; divided among the threads that make a batch each."""
    fetch = new_fetch()
    for _ in fetch(plan, todo[:1]):  # memory is set aside
        pass

    def all_batches() -> None:
        for _ in fetch(plan, todo):
            pass

    return _seconds(all_batches) / feed.fillers


def _augmenting(feed: Feed, plan: EpochPlan, todo: list[Span]) -> float:
    """Seconds that the kernels take from the fetched bytes to the batches, divided among threads as in `_fetching`."""
    total, settings = 0.0, feed.settings
    images = torch.empty((longest(todo), *feed.rgb_shape), dtype=settings.dtype)
    for span, (data, offsets, rows) in zip(todo, feed.new_fetch()(plan, todo), strict=True):
        out, began = patterns(images[: span.last - span.first]), time.perf_counter()
        feed.augmenter.fill(plan, span, data, offsets, rows, out)
        total += time.perf_counter() - began
    return total / feed.fillers


def _resizing(dataset: DatasetFile, settings: Settings, plan: EpochPlan) -> float:
    """The fraction of fetching that the resize takes, from some images on one thread."""
    augment = settings.augment
    if not augment.resize:
        return 0.0
    from .backends.native import Worker  # a backend is imported by who uses it

    ids = plan.ids[:_NUM_DECODED]
    box = boxes(augment, plan.key, plan.positions[:_NUM_DECODED], dataset.heights[ids], dataset.widths[ids])
    worker, out, spent = Worker(dataset), np.empty((augment.resize, augment.resize, 3), np.uint8), np.zeros(2)
    for sample, (top, left, height, width) in zip(ids.tolist(), box.tolist(), strict=True):
        began = time.perf_counter()
        image, *edges = worker.decode_box(sample, top, left, height, width, augment.resize)
        decoded = time.perf_counter()
        resize_box(image, *edges, out)
        spent += decoded - began, time.perf_counter() - decoded
    return float(spent[1] / spent.sum())
