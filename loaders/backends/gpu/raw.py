"""The backend "gpu": every batch of raw images is made on a GPU, with every augmentation.

What "fused" leaves to the host is done there too: resizing, RandAugment, grey images, and a data set that is larger
than the GPU's memory. Its pixels are those of the backends on the CPU. It has not run on a GPU yet, only in Triton's
interpreter, so "auto" does not choose it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import NoReturn

import torch

from ...formats.dataset import DatasetFile
from ...types import EpochPlan
from ..batching import DeviceFetch, DeviceImages, Settings, Span, delivered_shape
from .device import DeviceFeed
from .kernels import resizing, through
from .partly import PartlyResident
from .residence import num_bytes, resident, too_large
from .transfer import sent


def open_backend(dataset: DatasetFile, settings: Settings) -> NoReturn:
    """Refuse to work on a CPU.

    Raises:
        ValueError: always.
    """
    raise ValueError("backend 'gpu' makes batches on a GPU: set device='cuda', or use backend='fused' or 'native'")


def obstacle(dataset: DatasetFile, settings: Settings, device: torch.device) -> None:
    """None: the device can always make the batches."""


def open_on_device(
    dataset: DatasetFile, settings: Settings, device: torch.device, capacity: int | None = None
) -> DeviceFeed:
    """Deliver a raw data set whose images have one size or are resized to one.

    Args:
        dataset: the open file.
        settings: how to deliver.
        device: a GPU; or the CPU, where Triton's interpreter runs the kernels.
        capacity: bytes of the device's memory that the images may take; None is half of what is free.

    Raises:
        ValueError: the file holds JPEG or PNG, or images of several sizes that are not resized.
        ImportError: Triton is not installed.
    """
    if dataset.kind != "raw":
        encoding = "PNG" if dataset.kind == "png" else "JPEG"
        raise ValueError(
            f"backend 'gpu' reads raw pixels, {dataset.path} holds {encoding}: use backend='dali', which decodes on a "
            "GPU, or 'native'"
        )
    shape = delivered_shape(dataset, settings.augment, "gpu")
    if capacity is None and too_large(dataset, device):
        capacity = torch.cuda.mem_get_info(device)[0] // 2
    if capacity is None or capacity >= num_bytes(dataset):
        new_fetch = _whole(dataset, device)
        what = f"holds the images ({num_bytes(dataset) / 1e6:,.1f} MB)"
    else:
        new_fetch, kept = _partly(dataset, settings, capacity, device)
        share = 100 * kept / dataset.num_samples
        what = f"holds {share:.0f} % of the images, those that are drawn most; the others are copied"
    if settings.augment.resize:
        new_fetch = through(new_fetch, resizing(dataset, settings.augment, device), shape, device)
    return DeviceFeed(dataset, shape, settings, device, new_fetch, f"batches made on {device}, whose memory {what}")


def _whole(dataset: DatasetFile, device: torch.device) -> Callable[[], DeviceFetch]:
    images = resident(dataset, device)

    def fetch(plan: EpochPlan, todo: list[Span]) -> Generator[DeviceImages]:
        starts = sent(torch.from_numpy(images.offsets[plan.ids]), device)
        for span in todo:
            yield images.data, starts[span.first : span.last]

    return lambda: fetch


def _partly(
    dataset: DatasetFile, settings: Settings, capacity: int, device: torch.device
) -> tuple[Callable[[], DeviceFetch], int]:
    """A `new_fetch`, and how many images stay on the device; of epochs that run at once only one keeps images there."""
    first = PartlyResident(dataset, settings, capacity, device)
    unused = [first]

    def new_fetch() -> DeviceFetch:
        try:
            return unused.pop().fetch
        except IndexError:  # taken, perhaps by another thread
            return PartlyResident(dataset, settings, 0, device).fetch

    return new_fetch, first.num_staying
