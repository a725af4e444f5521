"""Deliver an epoch whose batches are made on a device, each by one kernel from images that lie there.

What an epoch needs goes to the device once, at its start, through page-locked memory; after that the host only queues
kernels and waits for nothing. The backends on a GPU differ in how images get there.
"""

import contextlib
import importlib
from collections.abc import Callable, Generator
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..augment.config import Augment
from ..augment.mixers import Mixup, draw_mix
from ..augment.normalisation import normalisation_table
from ..formats.dataset import DatasetFile
from ..order.rng import hash_array
from ..types import Batch, EpochPlan, Mix
from .augmenter import check_padding
from .batching import Columns, Settings, Span, columns, nchw, spans, watched
from .transfer import sent, sent_if_any

# (plan, spans) -> for each span data uint8, starts int64 [B], on the device: image i begins at data[starts[i]].
DeviceImages = tuple[Tensor, Tensor]
DeviceFetch = Callable[[EpochPlan, list[Span]], Generator[DeviceImages]]

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


class DeviceFeed:
    """A backend on a device.

    Args:
        dataset: the open file.
        shape: (H, W, 3) of its images.
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
        augment = settings.augment
        check_padding(augment, shape)
        self._kernels = _kernels()
        self.dataset, self.shape, self.settings, self.device = dataset, shape, settings, device
        self.new_fetch, self.residence = new_fetch, residence
        self._idle: list[DeviceFetch] = []  # of epochs that ended, for the next one
        self._table = _table(augment, settings.dtype, device)
        height, width, _ = shape
        self._options = {
            "height": height,
            "width": width,
            "PADDING": augment.crop_padding,
            "REFLECT": augment.pad_mode == "reflect",
            "FLIP": augment.flip,
            "CUTOUT": augment.cutout,
            "DTYPE": _NAMES[settings.dtype],
        }

    def epoch(self, plan: EpochPlan, start_batch: int = 0) -> Generator[Batch]:
        """The batches of a plan, from `start_batch` on, made when they are asked for, on the current stream.

        Raises:
            ValueError: at once, when the plan does not fit the data set.
        """
        return self._batches(plan, spans(plan, self.dataset, self.settings, start_batch))

    def _batches(self, plan: EpochPlan, todo: list[Span]) -> Generator[Batch]:
        fetch = self._idle.pop() if self._idle else self.new_fetch()
        labels, ids, weights = columns(plan, self.dataset)
        beside = Columns(sent(labels, self.device), sent(ids, self.device), sent_if_any(weights, self.device))
        bits = self._sent(hash_array(plan.key, plan.positions).view(np.int64))
        mixings = self._mixings(plan, todo)
        fetched = fetch(plan, todo)
        try:
            in_turn = zip(watched(self.dataset, todo), mixings, fetched, strict=True)
            for span, mixing, (data, starts) in in_turn:
                images = self._augmented(data, starts, bits[span.first : span.last], mixing)
                del data, starts
                mix = None if mixing is None else Mix(mixing.partners, mixing.shares)
                yield Batch(images, *beside.slice(span), mix)
                del images, mix
        finally:
            fetched.close()
            self._idle.append(fetch)

    def _augmented(self, data: Tensor, starts: Tensor, bits: Tensor, mixing: _Mixing | None) -> Tensor:
        images = torch.empty((len(starts), *self.shape), dtype=self.settings.dtype, device=self.device)
        out = images.view(torch.int16) if images.dtype in (torch.bfloat16, torch.float16) else images
        partners, num_partners, boxes, fractions = None, 0, None, None
        if mixing is not None:
            partners, num_partners = mixing.partners, mixing.partners.shape[1]
            boxes, fractions = (None, mixing.shares) if self._blends else (mixing.boxes, None)
        arrays = (out, data, starts, bits, self._table, partners, boxes, fractions)
        with torch.cuda.device(self.device) if images.is_cuda else contextlib.nullcontext():
            self._kernels.launch(*arrays, PARTNERS=num_partners, **self._options)
        return nchw(images)

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


def _kernels() -> ModuleType:
    try:
        return importlib.import_module("..kernels.augment_gpu", __package__)
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        raise ImportError(
            "batches on a GPU need Triton, which torch's CUDA builds bring along: `pip install triton`"
        ) from None
