"""Grey images through the kernels of RGB: made as three equal channels, of which the first is delivered.

So a grey image becomes what its RGB copy becomes, to the bit, under every augmentation.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Generator

import numpy as np

from ..formats.dataset import CHANNELS, DatasetFile
from ..kernels.grey_cpu import widen
from ..threads import for_blocks
from ..types import EpochPlan
from .batching import HostFetch, HostImages, Settings, Span, back_to_back, longest


def with_rgb_statistics(settings: Settings, dataset: DatasetFile) -> Settings:
    """The settings with a mean and a std for each of the three channels that are made.

    Raises:
        ValueError: mean and std have not one value for each channel of the images.
    """
    augment, channels = settings.augment, dataset.channels
    mean, std = augment.mean, augment.std
    if channels == 1 and len(set(mean)) == len(set(std)) == 1:
        return dataclasses.replace(
            settings, augment=dataclasses.replace(augment, mean=mean[:1] * CHANNELS, std=std[:1] * CHANNELS)
        )
    if len(mean) != channels:
        values = f"{channels} value{'s' * (channels > 1)}"
        raise ValueError(f"mean and std need {values}, one a channel of {dataset.path}, got {mean} and {std}")
    return settings


def widening(
    new_fetch: Callable[[], HostFetch], shape: tuple[int, int, int], settings: Settings
) -> Callable[[], HostFetch]:
    """Wrap the `new_fetch` of a `host.Feed`: its grey images, of (H, W, 1) `shape`, become three equal channels."""
    num_bytes = CHANNELS * shape[0] * shape[1]

    def new_wide_fetch() -> HostFetch:
        fetch, buffer = new_fetch(), np.empty((0, num_bytes), np.uint8)

        def wide_fetch(plan: EpochPlan, todo: list[Span]) -> Generator[HostImages]:
            nonlocal buffer
            if len(buffer) < longest(todo):
                buffer = np.empty((longest(todo), num_bytes), np.uint8)
            out, readable = buffer, buffer.reshape(-1).view()
            readable.flags.writeable = False
            offsets, rows = back_to_back(*out.shape)
            with contextlib.closing(fetch(plan, todo)) as fetched:
                for images in fetched:
                    for_blocks(widen, len(images[2]), *images, out, threads=settings.num_threads)
                    yield readable, offsets, rows[: len(images[2])]

        return wide_fetch

    return new_wide_fetch
