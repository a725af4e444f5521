"""Deliver an epoch whose batches are made on a device, each by one kernel from images that lie there.

What an epoch needs goes to the device once, at its start, through page-locked memory; after that the host only queues
kernels and waits for nothing. The backends on a GPU differ in how images get there.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from loaders.augment.config import Augment
from loaders.augment.mixers import Mixup, draw_mix
from loaders.augment.normalisation import normalisation_table
from loaders.backends.augmenter import check_padding
from loaders.backends.batching import Columns, Settings, Span, columns, nchw, spans
from loaders.backends.transfer import sent
from loaders.formats.dataset import DatasetFile
from loaders.order.rng import hash_array
from loaders.types import Batch, EpochPlan, Mix

# (plan, spans) -> for each span data uint8, starts int64 [B], on the device: image i begins at data[starts[i]].
Images = tuple[Tensor, Tensor]
Fetch = Callable[[EpochPlan, list[Span]], Iterator[Images]]

_NAMES = {
    torch.uint8: "uint8",
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}


class _Mixing(NamedTuple):
    """The mixing of an epoch's batches, on the device."""

    partners: Tensor  # int64 [samples of the epoch, P], places in the batch
    shares: Tensor  # float32 [batches, P]
    boxes: Tensor  # int32 [batches, P, 6]


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
        new_fetch: Callable[[], Fetch],
        residence: str,
    ):
        augment = settings.augment
        check_padding(augment, shape)
        self._kernels = _kernels()
        self.dataset, self.shape, self.settings, self.device = dataset, shape, settings, device
        self.new_fetch, self.residence = new_fetch, residence
        self._idle: list[Fetch] = []  # of epochs that ended, for the next one
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

    def epoch(self, plan: EpochPlan, start_batch: int = 0) -> Iterator[Batch]:
        """The batches of a plan, from `start_batch` on, made when they are asked for, on the current stream.

        Raises:
            ValueError: at once, when the plan does not fit the data set.
        """
        return self._batches(plan, spans(plan, self.dataset, self.settings, start_batch))

    def _batches(self, plan: EpochPlan, todo: list[Span]) -> Iterator[Batch]:
        fetch = self._idle.pop() if self._idle else self.new_fetch()
        beside = Columns(*(sent(column, self.device) for column in columns(plan, self.dataset)))
        bits = sent(torch.from_numpy(hash_array(plan.key, plan.positions).view(np.int64)), self.device)
        mixing = self._mixing(plan, todo)
        begin = todo[0].first if todo else 0
        fetched = fetch(plan, todo)
        try:
            for n, (span, (data, starts)) in enumerate(zip(todo, fetched, strict=True)):
                mix, boxes = None, None
                if mixing is not None:
                    mix = Mix(mixing.partners[span.first - begin : span.last - begin], mixing.shares[n])
                    boxes = mixing.boxes[n]
                images = self._augmented(data, starts, bits[span.first : span.last], mix, boxes)
                del data, starts
                yield Batch(images, **beside.slice(span), mix=mix)
                del images, mix
        finally:
            fetched.close()
            self._idle.append(fetch)

    def _augmented(self, data: Tensor, starts: Tensor, bits: Tensor, mix: Mix | None, boxes: Tensor | None) -> Tensor:
        images = torch.empty((len(starts), *self.shape), dtype=self.settings.dtype, device=self.device)
        out = images.view(torch.int16) if images.dtype in (torch.bfloat16, torch.float16) else images
        partners = shares = None
        if mix is not None:
            partners, shares = mix
            boxes, shares = (None, shares) if self._blends else (boxes, None)
        arrays = (out, data, starts, bits, self._table, partners, boxes, shares)
        with torch.cuda.device(self.device) if images.is_cuda else contextlib.nullcontext():
            self._kernels.launch(*arrays, PARTNERS=0 if mix is None else partners.shape[1], **self._options)
        return nchw(images)

    @property
    def _blends(self) -> bool:
        return isinstance(self.settings.augment.mixer, Mixup)

    def _mixing(self, plan: EpochPlan, todo: list[Span]) -> _Mixing | None:
        mixer = self.settings.augment.mixer
        if mixer is None or not todo:
            return None
        height, width, _ = self.shape
        drawn = [
            draw_mix(mixer, plan.key, plan.rank + plan.world_size * first, last - first, height, width)
            for first, last in todo
        ]
        partners = np.concatenate([mixed.partners for mixed in drawn])
        shares = np.stack([mixed.shares for mixed in drawn])
        boxes = np.stack([mixed.boxes for mixed in drawn]).astype(np.int32)
        return _Mixing(*(sent(torch.from_numpy(array), self.device) for array in (partners, shares, boxes)))


def _table(augment: Augment, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """The value of each byte, [3, 256], as the kernel reads it: 16-bit floats as bit patterns, blends in float32."""
    if dtype == torch.uint8:
        return None
    table = torch.from_numpy(normalisation_table(augment))
    if dtype != torch.float32 and not isinstance(augment.mixer, Mixup):
        table = table.to(dtype).view(torch.int16)
    return table.to(device)


def _kernels():
    try:
        return importlib.import_module("loaders.kernels.augment_gpu")
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        raise ImportError(
            "batches on a GPU need Triton, which torch's CUDA builds bring along: `pip install triton`"
        ) from None
