"""Deliver an epoch whose batches are made on a device, each by one kernel from images that lie there.

What an epoch needs goes to the device once, at its start, through page-locked memory; after that the host only queues
kernels and waits for nothing. The backends on a GPU differ in how images get there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...augment.config import Augment
from ...augment.draws import alternating_sides
from ...augment.erasing import erased_boxes, prepare_erasing
from ...augment.mixers import Mixup, draw_mix
from ...augment.normalisation import normalisation_table
from ...formats.dataset import CHANNELS, DatasetFile
from ...order.rng import hash_array
from ...threads import for_blocks
from ...types import Batch, EpochPlan, Mix
from ..augmenter import check_padding
from ..batching import Columns, DeviceFetch, Settings, Span, columns, nchw, spans, watched
from ..grey import with_rgb_statistics
from .kernels import gpu_kernels, jittering, randaugmenting, through, widening
from .transfer import sent, sent_if_any

_NAMES = {
    torch.uint8: "uint8",
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}


class _Mixing(NamedTuple):
    """How one batch is mixed, on the device; see `loaders.augment.mixers.MixGeometry`."""

    partners: Tensor  # int64 [B, P], places in the batch
    shares: Tensor  # float32 [P]
    boxes: Tensor  # int32 [P, 6]


class _Draws(NamedTuple):
    """What was drawn for the samples of an epoch, on the device; a batch is a slice of it."""

    bits: Tensor  # int64 [K], the random bits of each position
    sides: Tensor | None  # int8 [K], of an alternating flip
    erased: Tensor | None  # int32 [K, 4], top, left, height and width of what is erased

    def slice(self, span: Span) -> _Draws:
        sides, erased = (None if drawn is None else drawn[span.first : span.last] for drawn in self[1:])
        return _Draws(self.bits[span.first : span.last], sides, erased)


class DeviceFeed:
    """A backend on a device.

    Args:
        dataset: the open file.
        shape: (H, W, C) of its images.
        settings: how to deliver.
        device: a GPU; or the CPU, where Triton's interpreter runs the kernel.
        new_fetch: makes the generator function that fetches the images of an epoch, on the current stream; otherwise
            as in `loaders.backends.host`.
        residence: a phrase that says where the batches are made; see `loaders.loader.Loader`.

    Raises:
        ValueError: the images are too small for the padding.
        ImportError: Triton is not installed.
    """

    def __init__(
        self,
        dataset: DatasetFile,
        shape: tuple[int, int, int],
        settings: Settings,
        device: torch.device,
        new_fetch: Callable[[], DeviceFetch],
        residence: str,
    ):
        settings = with_rgb_statistics(settings, dataset)
        augment = settings.augment
        check_padding(augment, shape)
        self._kernels = gpu_kernels("augment_gpu")
        self.dataset, self.settings, self.device, self.residence = dataset, settings, device, residence
        self.shape, self.rgb_shape = shape, (*shape[:2], CHANNELS)
        stages = [] if shape == self.rgb_shape else [widening(self.rgb_shape, device)]
        if augment.randaugment is not None:
            stages += randaugmenting(augment.randaugment, self.rgb_shape, device)
        if augment.color_jitter is not None:
            stages.append(jittering(augment.color_jitter, self.rgb_shape, device))
        for stage in stages:
            new_fetch = through(new_fetch, stage, self.rgb_shape, device)
        self.new_fetch = new_fetch
        self._idle: list[DeviceFetch] = []  # of epochs that ended, for the next one
        self._table = _table(augment, settings.dtype, device)
        (height, width, _), erasing = shape, prepare_erasing(augment.erasing)
        self._options = {
            "height": height,
            "width": width,
            "PADDING": augment.crop_padding,
            "REFLECT": augment.pad_mode == "reflect",
            "FLIP": augment.flip is True,
            "VERTICAL_FLIP": augment.vertical_flip,
            "CUTOUT": augment.cutout,
            "ERASE": -1 if erasing.noise else erasing.red << 16 | erasing.green << 8 | erasing.blue,
            "DTYPE": _NAMES[settings.dtype],
        }

    def epoch(self, plan: EpochPlan, start_batch: int = 0) -> Generator[Batch]:
        """The batches of a plan, from `start_batch` on, made when they are asked for, on the current stream.

        Raises:
            ValueError: at once, when the plan does not fit the data set.
        """
        return self._batches(plan, spans(plan, self.dataset, self.settings, start_batch))

    def _batches(self, plan: EpochPlan, todo: list[Span]) -> Generator[Batch]:
        try:
            fetch = self._idle.pop()
        except IndexError:  # asked for no sooner: several threads take from the list
            fetch = self.new_fetch()
        labels, ids, weights = columns(plan, self.dataset)
        beside = Columns(sent(labels, self.device), sent(ids, self.device), sent_if_any(weights, self.device))
        draws = self._draws(plan)
        mixings = self._mixings(plan, todo)
        fetched = fetch(plan, todo)
        try:
            in_turn = zip(watched(self.dataset, todo), mixings, fetched, strict=True)
            for span, mixing, (data, starts) in in_turn:
                images = self._augmented(data, starts, draws.slice(span), mixing)
                del data, starts
                mix = None if mixing is None else Mix(mixing.partners, mixing.shares)
                yield Batch(images, *beside.slice(span), mix)
                del images, mix
        finally:
            fetched.close()
            self._idle.append(fetch)

    def _augmented(self, data: Tensor, starts: Tensor, draws: _Draws, mixing: _Mixing | None) -> Tensor:
        images = torch.empty((len(starts), *self.rgb_shape), dtype=self.settings.dtype, device=self.device)
        out = images.view(torch.int16) if images.dtype in (torch.bfloat16, torch.float16) else images
        partners, num_partners, boxes, fractions = None, 0, None, None
        if mixing is not None:
            partners, num_partners = mixing.partners, mixing.partners.shape[1]
            boxes, fractions = (None, mixing.shares) if self._blends else (mixing.boxes, None)
        arrays = (out, data, starts, *draws, self._table, partners, boxes, fractions)
        with torch.cuda.device(self.device) if images.is_cuda else contextlib.nullcontext():
            self._kernels.launch(*arrays, PARTNERS=num_partners, **self._options)
        return nchw(images if self.shape == self.rgb_shape else images[..., :1].contiguous())

    def _draws(self, plan: EpochPlan) -> _Draws:
        augment, sides, erased = self.settings.augment, None, None
        bits = hash_array(plan.key, plan.positions)
        if augment.flip == "alternating":
            sides = self._sent(alternating_sides(plan).astype(np.int8))
        if augment.erasing is not None:
            boxes = np.empty((len(bits), 4), np.int32)
            args = (bits, *self.shape[:2], prepare_erasing(augment.erasing), boxes)
            for_blocks(erased_boxes, len(bits), *args, threads=self.settings.num_threads, grain=4096)
            erased = self._sent(boxes)
        return _Draws(self._sent(bits.view(np.int64)), sides, erased)

    @property
    def _blends(self) -> bool:
        return isinstance(self.settings.augment.mixer, Mixup)

    def _mixings(self, plan: EpochPlan, todo: list[Span]) -> list[_Mixing] | list[None]:
        """Draw how each batch is mixed, and send the draws of the whole epoch in three copies."""
        mixer = self.settings.augment.mixer
        if mixer is None or not todo:
            return [None] * len(todo)
        height, width, _ = self.shape
        drawn = [
            draw_mix(mixer, plan.key, plan.rank + plan.world_size * first, last - first, height, width)
            for first, last in todo
        ]
        partners = self._sent(np.concatenate([mixed.partners for mixed in drawn]))
        shares = self._sent(np.stack([mixed.shares for mixed in drawn]))
        boxes = self._sent(np.stack([mixed.boxes for mixed in drawn]).astype(np.int32))
        sizes = [last - first for first, last in todo]
        return [_Mixing(*parts) for parts in zip(partners.split(sizes), shares, boxes, strict=True)]

    def _sent(self, array: np.ndarray) -> Tensor:
        return sent(torch.from_numpy(array), self.device)


def _table(augment: Augment, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """The value of each byte, [3, 256], as the kernel reads it: 16-bit floats as bit patterns, blends in float32."""
    if dtype == torch.uint8:
        return None
    table = torch.from_numpy(normalisation_table(augment))
    if dtype != torch.float32 and not isinstance(augment.mixer, Mixup):
        table = table.to(dtype).view(torch.int16)
    return table.to(device)
