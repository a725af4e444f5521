"""A step between a backend's images in host memory and the rest of the augmentation, such as a compiled kernel.

Each batch goes from where the backend fetched it into a buffer, from which it is augmented further.
"""

import contextlib
from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from ..threads import for_blocks
from ..types import EpochPlan
from .batching import HostFetch, HostImages, Settings, Span, back_to_back, longest

Fill = Callable[[EpochPlan, Span, HostImages, np.ndarray], None]
"""Makes the images of a batch into the first rows of a buffer, uint8 [B, bytes of an image]."""


def through_buffer(new_fetch: Callable[[], HostFetch], fill: Fill, num_bytes: int) -> Callable[[], HostFetch]:
    """Wrap the `new_fetch` of a `host.Feed`: its images go through a step before anything else.

    Args:
        new_fetch: what is wrapped.
        fill: the step.
        num_bytes: of an image behind it.
    """

    def new_buffered_fetch() -> HostFetch:
        fetch, buffer = new_fetch(), np.empty((0, num_bytes), np.uint8)

        def buffered_fetch(plan: EpochPlan, todo: list[Span]) -> Generator[HostImages]:
            nonlocal buffer
            if len(buffer) < longest(todo):
                buffer = np.empty((longest(todo), num_bytes), np.uint8)
            out, readable = buffer, buffer.reshape(-1).view()
            readable.flags.writeable = False
            offsets, rows = back_to_back(*out.shape)
            with contextlib.closing(fetch(plan, todo)) as fetched:
                for span, images in zip(todo, fetched, strict=True):
                    fill(plan, span, images, out)
                    yield readable, offsets, rows[: len(images[2])]

        return buffered_fetch

    return new_buffered_fetch


def by_kernel(
    kernel: Callable[..., None], prepared: tuple[Any, ...], shape: tuple[int, int, int], settings: Settings
) -> Fill:
    """The step of a compiled kernel that draws from the key of the epoch.

    Args:
        kernel: (first, last, data, offsets, rows, out, height, width, key, position, stride, prepared), as
            `kernels.randaugment_cpu.randaugment_block`.
        prepared: what the kernel reads beside the images.
        shape: (H, W, 3) of the images.
        settings: for their number of threads.
    """
    height, width, _ = shape

    def fill(plan: EpochPlan, span: Span, images: HostImages, out: np.ndarray) -> None:
        where = np.uint64(plan.key), plan.rank + plan.world_size * span.first, plan.world_size
        args = (*images, out, height, width, *where, prepared)
        for_blocks(kernel, len(images[2]), *args, threads=settings.num_threads)

    return fill
