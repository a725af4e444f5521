"""The fused backend: one compiled kernel gathers and augments raw images straight into the batch.

On the CPU it reads the file's memory map; no byte is copied before that. On a GPU the images lie in its memory.
"""

from collections.abc import Generator

import torch

from ..formats.dataset import CHANNELS, DatasetFile
from ..types import EpochPlan
from .batching import DeviceImages, HostImages, Settings, Span, one_size
from .gpu.device import DeviceFeed
from .gpu.residence import num_bytes, resident, too_large
from .gpu.transfer import sent
from .host import Feed


def open_backend(dataset: DatasetFile, settings: Settings) -> Feed:
    """Deliver a raw data set whose images have one size.

    Raises:
        ValueError: the file holds JPEG, PNG or images of several sizes, or the images are to be resized.
    """
    shape = raw_shape(dataset, settings)

    def fetch(plan: EpochPlan, todo: list[Span]) -> Generator[HostImages]:
        for span in todo:
            yield dataset.data, dataset.offsets, plan.ids[span.first : span.last]

    return Feed(dataset, shape, settings, lambda: fetch, batch_per_thread=True)


def open_on_device(dataset: DatasetFile, settings: Settings, device: torch.device) -> DeviceFeed:
    """Deliver a raw data set whose images have one size, from the device's memory.

    Raises:
        ValueError: as in `open_backend`.
        ImportError: Triton is not installed.
    """

    def fetch(plan: EpochPlan, todo: list[Span]) -> Generator[DeviceImages]:
        starts = sent(torch.from_numpy(images.offsets[plan.ids]), device)
        for span in todo:
            yield images.data, starts[span.first : span.last]

    size = num_bytes(dataset) / 1e6
    residence = f"batches made on {device}, whose memory holds the images ({size:,.1f} MB)"
    feed = DeviceFeed(dataset, raw_shape(dataset, settings), settings, device, lambda: fetch, residence)
    images = resident(dataset, device)  # after the checks: it takes time and memory
    return feed


def obstacle(dataset: DatasetFile, settings: Settings, device: torch.device) -> str | None:
    """Say why batches must be made on the host and copied, in half a sentence; None when the device can make them."""
    if settings.augment.randaugment is not None:
        return "RandAugment runs on the host"
    if dataset.channels != CHANNELS:
        return "images of one channel are made there"
    return too_large(dataset, device)


def raw_shape(dataset: DatasetFile, settings: Settings) -> tuple[int, int, int]:
    """Find (H, W, C) of every image of a raw data set.

    Raises:
        ValueError: as in `open_backend`.
    """
    if dataset.kind != "raw":
        encoding = "PNG" if dataset.kind == "png" else "JPEG"
        raise ValueError(f"backend 'fused' reads raw pixels, {dataset.path} holds {encoding}: use backend='native'")
    if settings.augment.resize:
        raise ValueError("backend 'fused' does not resize: use backend='native'")
    return one_size(dataset, "fused")
