"""Grey images through the kernels of RGB: made as three equal channels, of which the first is delivered.

So a grey image becomes what its RGB copy becomes, to the bit, under every augmentation.
"""

import dataclasses

import numpy as np

from ..formats.dataset import CHANNELS, DatasetFile
from ..kernels.grey_cpu import widen
from ..threads import for_blocks
from ..types import EpochPlan
from .batching import HostImages, Settings, Span
from .buffered import Fill


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


def widening(settings: Settings) -> Fill:
    """The step that makes three equal channels of grey images."""

    def fill(plan: EpochPlan, span: Span, images: HostImages, out: np.ndarray) -> None:
        for_blocks(widen, len(images[2]), *images, out, threads=settings.num_threads)

    return fill
