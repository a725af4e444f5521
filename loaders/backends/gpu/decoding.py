"""JPEG decoded on a device, one batch ahead of the consumer, by whatever library offers a decoder.

A thread cuts out of each stream what its box needs, has it decoded and resized on a side stream into one of two
buffers, and goes on while the consumer works on the other. The host waits for no consumer; the library's decoder may
keep the thread waiting. What the decoder does not know (progressive streams, four colours, PNG, raw pixels) is decoded
by the CPU, as backend `native` does it, and copied; a warning says so once.
"""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...augment.crop import boxes
from ...formats.dataset import CHANNELS, DatasetFile
from ...threads import available_cores
from ...types import EpochPlan
from ..batching import DeviceFetch, DeviceImages, Settings, Span, longest
from ..jpeg_parts import cut_parts
from ..native import Worker, decode_batch
from ..prefetch import prefetch, stop_threads_at_exit
from .transfer import sent

# JPEG streams -> their images, uint8 [H, W, 3] on the device, by the current stream; None for what cannot be decoded.
# The images may be overwritten by the next call's.
Decode = Callable[[list[np.ndarray]], "list[Tensor | None]"]
# Ratio of a resize up to which torch's own is used: on a GPU it keeps weights in 48 KB, which end at a ratio of 94.
STEEPEST = 64
AT_ONCE = 1 << 30  # bytes of whole images that one call may decode; a larger image is decoded alone


def decoding(
    dataset: DatasetFile,
    settings: Settings,
    shape: tuple[int, int, int],
    device: torch.device,
    new_decode: Callable[[], Decode],
) -> Callable[[], DeviceFetch]:
    """Make the `new_fetch` of a `DeviceFeed`.

    Args:
        dataset: the open file.
        settings: how to deliver.
        shape: (S, S, 3) of the resized images, or (H, W, 3) of all images.
        device: a GPU; or the CPU, for tests.
        new_decode: makes a decoder for the device, which one thread uses.
    """
    stop_threads_at_exit()  # before the decoder's library, which is imported by now
    return functools.partial(_Fetch, dataset, settings, shape, device, new_decode)


def resize_into(out: Tensor, image: Tensor, top: int, left: int, height: int, width: int) -> None:
    """Resize a box of an image with a triangle filter, widened where it shrinks; rounded once, half up.

    Args:
        out: uint8 [S, S, 3].
        image: uint8 [H, W, 3], on the same device.
    """
    box = image[top : top + height, left : left + width].permute(2, 0, 1)[None].float()
    size = len(out)
    if max(height, width) > STEEPEST * size:
        sums = _triangles(height, size, box.device) @ box @ _triangles(width, size, box.device).mT
    else:
        sums = torch.nn.functional.interpolate(box, (size, size), mode="bilinear", antialias=True, align_corners=False)
    out.copy_(sums[0].permute(1, 2, 0).add_(0.5))  # the copy truncates


def _triangles(length: int, size: int, device: torch.device) -> Tensor:
    """The weights of `length` pixels in each of `size` pixels of a resize: float32 [size, length], rows sum to one."""
    scale = length / size
    centers = (torch.arange(size, device=device) + 0.5) * scale
    apart = (torch.arange(length, device=device) + 0.5 - centers[:, None]).abs()
    weights = (1 - apart / max(scale, 1.0)).clamp_min(0)
    return weights / weights.sum(1, keepdim=True)


class _Signal:
    """An event that one stream records and another waits for; does nothing on a CPU, whose calls are synchronous."""

    def __init__(self, device: torch.device):
        self._event = torch.cuda.Event() if device.type == "cuda" else None

    def give(self, stream: torch.cuda.Stream | None) -> None:
        """Mark what the stream was given up to now."""
        if self._event is not None:
            self._event.record(stream)

    def wait(self, stream: torch.cuda.Stream | None) -> None:
        """Let the stream wait for what was marked last; the host goes on."""
        if self._event is not None:
            self._event.wait(stream)


class _Slot(NamedTuple):
    """Where the images of a batch lie: filled on the side stream, then read on the consumer's."""

    images: Tensor  # uint8 [B, H, W, 3]
    filled: _Signal
    read: _Signal


class _Fetch:
    """A `DeviceFetch`, with its decoder and buffers, for one epoch after the other."""

    def __init__(
        self,
        dataset: DatasetFile,
        settings: Settings,
        shape: tuple[int, int, int],
        device: torch.device,
        new_decode: Callable[[], Decode],
    ):
        self._dataset, self._settings, self._shape, self._device = dataset, settings, shape, device
        self._decode = new_decode()
        self._workers = [Worker(dataset) for _ in range(settings.num_threads or available_cores())]
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._slots: list[_Slot] = []
        self._warned = False

    def __call__(self, plan: EpochPlan, todo: list[Span]) -> Generator[DeviceImages]:
        """The images of each span, one behind the other; see `loaders.backends.batching.DeviceFetch`."""
        slots = self._slots_for(longest(todo))
        starts = torch.arange(longest(todo), device=self._device) * math.prod(self._shape)
        with contextlib.closing(prefetch(functools.partial(self._filled, plan, todo, slots), 1, self)) as filled:
            for span, slot in zip(todo, filled, strict=True):
                stream = self._current()  # of whoever reads this batch
                slot.filled.wait(stream)
                try:
                    yield slot.images.view(-1), starts[: span.last - span.first]
                finally:
                    slot.read.give(stream)

    def _current(self) -> torch.cuda.Stream | None:
        return None if self._stream is None else torch.cuda.current_stream(self._device)

    def _slots_for(self, batch_size: int) -> list[_Slot]:
        """Two slots for batches up to a size: those of the last epoch if they are large enough."""
        if self._slots and len(self._slots[0].images) >= batch_size:
            return self._slots
        self._slots = []
        for _ in range(2):
            with torch.inference_mode(False):  # the thread that fills it is in no such mode
                images = torch.empty((batch_size, *self._shape), dtype=torch.uint8, device=self._device)
            if self._stream is not None:
                images.record_stream(self._stream)  # when it is dropped, a decoder may still write to it
            self._slots.append(_Slot(images, _Signal(self._device), _Signal(self._device)))
            self._slots[-1].read.give(self._current())  # by whoever had the memory before
        return self._slots

    def _filled(self, plan: EpochPlan, todo: list[Span], slots: list[_Slot]) -> Generator[_Slot]:
        """Fill one slot after the other, on the thread of `prefetch`."""
        with contextlib.ExitStack() as stack:
            if self._stream is not None:
                stack.enter_context(torch.cuda.device(self._device))
                stack.enter_context(torch.cuda.stream(self._stream))
            for number, span in enumerate(todo):
                slot = slots[number % 2]
                slot.read.wait(self._stream)
                self._fill(slot.images, plan, span)
                slot.filled.give(self._stream)
                yield slot

    def _fill(self, out: Tensor, plan: EpochPlan, span: Span) -> None:
        """Decode the images of a span and resize them into the first of `out`, uint8 [B, H, W, 3]."""
        dataset, augment, ids = self._dataset, self._settings.augment, plan.ids[span.first : span.last]
        heights, widths, box = dataset.heights[ids], dataset.widths[ids], None
        if augment.resize:
            box = boxes(augment, plan.key, plan.positions[span.first : span.last], heights, widths)
        whole = np.stack([np.zeros_like(heights), np.zeros_like(heights), heights, widths], axis=1)
        parts = cut_parts(dataset, ids, whole if box is None else box)
        left_over = np.flatnonzero(~parts.plain).tolist()
        for rows in _chunks(np.flatnonzero(parts.plain), CHANNELS * heights * widths):
            for row, image in zip(rows.tolist(), self._decode([parts.streams[i] for i in rows]), strict=True):
                if image is None:
                    left_over.append(row)
                elif box is None:
                    out[row].copy_(image)
                else:
                    resize_into(out[row], image, *parts.boxes[row].tolist())
        if left_over:
            rows = np.sort(np.array(left_over))
            images = np.empty((len(rows), *self._shape), np.uint8)
            decode_batch(self._workers, ids[rows], None if box is None else box[rows], images)
            out[sent(torch.from_numpy(rows), self._device)] = sent(torch.from_numpy(images), self._device)
            self._warn(int(ids[rows[0]]))

    def _warn(self, sample: int) -> None:
        if not self._warned:
            warnings.warn(
                f"{self._dataset.file_of(sample)}: sample {sample} is no baseline JPEG that the GPU's decoder knows: "
                "such images are decoded on the CPU and copied, which is slower (this warning is given once)",
                stacklevel=2,
            )
        self._warned = True


def _chunks(rows: np.ndarray, sizes: np.ndarray) -> Iterator[np.ndarray]:
    """Divide rows in their order so that the sizes of a part sum to `AT_ONCE` at most, or it is one row."""
    first, total = 0, 0
    for i, row in enumerate(rows.tolist()):
        if i > first and total + sizes[row] > AT_ONCE:
            yield rows[first:i]
            first, total = i, 0
        total += sizes[row]
    if first < len(rows):
        yield rows[first:]
