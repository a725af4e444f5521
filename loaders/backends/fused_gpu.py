"""The fused backend on a GPU: the images lie in its memory, where one kernel makes a batch.

Knows where the images are and whether they may be there; `loaders.backends.device` does the rest.
"""

from collections.abc import Iterator

import torch

from loaders.backends.batching import Settings, Span
from loaders.backends.device import DeviceFeed, Images
from loaders.backends.fused import raw_shape
from loaders.backends.residence import num_bytes, resident, too_large
from loaders.backends.transfer import sent
from loaders.formats.dataset import DatasetFile
from loaders.types import EpochPlan


def open_on_device(dataset: DatasetFile, settings: Settings, device: torch.device) -> DeviceFeed:
    """Deliver a raw data set whose images have one size, from the device's memory.

    Raises:
        ValueError: as in `loaders.backends.fused`.
        ImportError: Triton is not installed.
    """

    def fetch(plan: EpochPlan, todo: list[Span]) -> Iterator[Images]:
        starts = sent(torch.from_numpy(images.offsets[plan.ids]), device)
        for span in todo:
            yield images.data, starts[span.first : span.last]

    size = num_bytes(dataset) / 1e6
    residence = f"batches made on {device}, whose memory holds the images ({size:,.1f} MB)"
    feed = DeviceFeed(dataset, raw_shape(dataset, settings), settings, device, lambda: fetch, residence)
    images = resident(dataset, device)  # after the checks: it takes time and memory
    return feed


def obstacle(dataset: DatasetFile, settings: Settings, device: torch.device) -> str | None:
    """Why the batches are to be made on the host and copied, in half a sentence; None when the device can make them."""
    if settings.augment.randaugment is not None:
        return "RandAugment runs on the host"
    return too_large(dataset, device)
