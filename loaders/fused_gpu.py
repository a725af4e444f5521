"""The fused backend on a GPU: pictures, order and decisions lie in its memory, and one kernel makes a batch.

What an epoch needs goes to the device once, at its start, through page-locked memory; after that the host only queues
kernels and waits for nothing. Knows plans and arrays; the arithmetic is in `loaders.triton_kernels`.
"""

import contextlib
import importlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from loaders.augment import Augment, normalisation_table
from loaders.batches import Columns, Settings, Span, columns, nchw, spans
from loaders.dataset import DatasetFile
from loaders.device import sent
from loaders.fused import raw_shape
from loaders.mixers import Mixup, draw_mix
from loaders.painter import check_padding
from loaders.residence import num_bytes, resident, too_large
from loaders.rng import hash_array
from loaders.types import Batch, EpochPlan, Mix

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


class FusedOnDevice:
    """A backend whose pictures lie on the device.

    Args:
        dataset: raw pictures of one size.
        settings: how to deliver.
        device: a GPU; or the CPU, where Triton's interpreter runs the kernel.

    Raises:
        ValueError: as in `loaders.fused`.
        ImportError: Triton is not installed.
    """

    def __init__(self, dataset: DatasetFile, settings: Settings, device: torch.device):
        augment = settings.augment
        self.shape = raw_shape(dataset, settings)
        check_padding(augment, self.shape)
        self._kernels = _kernels()
        self.dataset, self.settings, self.device = dataset, settings, device
        self._resident = resident(dataset, device)
        self._table = _table(augment, settings.dtype, device)
        height, width, _ = self.shape
        self._options = {
            "height": height,
            "width": width,
            "PADDING": augment.crop_padding,
            "REFLECT": augment.pad_mode == "reflect",
            "FLIP": augment.flip,
            "CUTOUT": augment.cutout,
            "DTYPE": _NAMES[settings.dtype],
        }

    @property
    def residence(self) -> str:
        """Where the batches are made, for people."""
        size = num_bytes(self.dataset) / 1e6
        return f"batches made on {self.device}, whose memory holds the pictures ({size:,.1f} MB)"

    def epoch(self, plan: EpochPlan, start_batch: int = 0) -> Iterator[Batch]:
        """The batches of a plan, from `start_batch` on, made when they are asked for, on the current stream.

        Raises:
            ValueError: at once, when the plan does not fit the data set.
        """
        return self._batches(plan, spans(plan, self.dataset, self.settings, start_batch))

    def _batches(self, plan: EpochPlan, todo: list[Span]) -> Iterator[Batch]:
        beside = Columns(*(sent(column, self.device) for column in columns(plan, self.dataset)))
        starts = sent(torch.from_numpy(self._resident.offsets[plan.ids]), self.device)
        bits = sent(torch.from_numpy(hash_array(plan.key, plan.positions).view(np.int64)), self.device)
        mixing = self._mixing(plan, todo)
        begin = todo[0].first if todo else 0
        for n, span in enumerate(todo):
            mix, boxes = None, None
            if mixing is not None:
                mix = Mix(mixing.partners[span.first - begin : span.last - begin], mixing.shares[n])
                boxes = mixing.boxes[n]
            samples = slice(span.first, span.last)
            images = self._painted(starts[samples], bits[samples], mix, boxes)
            yield Batch(images, **beside.slice(span), mix=mix)
            del images, mix

    def _painted(self, starts: Tensor, bits: Tensor, mix: Mix | None, boxes: Tensor | None) -> Tensor:
        images = torch.empty((len(starts), *self.shape), dtype=self.settings.dtype, device=self.device)
        out = images.view(torch.int16) if images.dtype in (torch.bfloat16, torch.float16) else images
        partners = shares = None
        if mix is not None:
            partners, shares = mix
            boxes, shares = (None, shares) if self._blends else (boxes, None)
        arrays = (out, self._resident.data, starts, bits, self._table, partners, boxes, shares)
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


def obstacle(dataset: DatasetFile, settings: Settings, device: torch.device) -> str | None:
    """Why the batches are to be made on the host and copied, in half a sentence; None when the device can make them."""
    if settings.augment.randaugment is not None:
        return "RandAugment runs on the host"
    return too_large(dataset, device)


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
        return importlib.import_module("loaders.triton_kernels")
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        raise ImportError(
            "backend 'fused' on a GPU needs Triton, which torch's CUDA builds bring along: `pip install triton`"
        ) from None
