"""A step between a backend's images in host memory and the rest of the augmentation, by one compiled kernel.

Each batch goes from where the backend fetched it into a buffer, from which it is augmented further.
"""

import contextlib
from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from ..threads import for_blocks
from ..types import EpochPlan
from .batching import HostFetch, HostImages, Settings, Span, back_to_back, longest


def through_buffer(
    new_fetch: Callable[[], HostFetch],
    kernel: Callable[..., None],
    prepared: tuple[Any, ...],
    shape: tuple[int, int, int],
    settings: Settings,
) -> Callable[[], HostFetch]:
    """Wrap the `new_fetch` of a `host.Feed`: its images go through a kernel before anything else.

    Args:
        kernel: (first, last, data, offsets, rows, out, height, width, key, position, stride, prepared), as
            `kernels.randaugment_cpu.randaugment_block`.
        prepared: what the kernel reads beside the images.
        shape: (H, W, 3) of the images.
    """
    height, width, _ = shape

    def new_buffered_fetch() -> HostFetch:
        fetch, buffer = new_fetch(), np.empty((0, height * width * 3), np.uint8)

        def buffered_fetch(plan: EpochPlan, todo: list[Span]) -> Generator[HostImages]:
            nonlocal buffer
            if len(buffer) < longest(todo):
                buffer = np.empty((longest(todo), buffer.shape[1]), np.uint8)
            out, readable = buffer, buffer.reshape(-1).view()
            readable.flags.writeable = False
            offsets, rows = back_to_back(*out.shape)
            with contextlib.closing(fetch(plan, todo)) as fetched:
                for span, images in zip(todo, fetched, strict=True):
                    where = np.uint64(plan.key), plan.rank + plan.world_size * span.first, plan.world_size
                    args = (*images, out, height, width, *where, prepared)
                    for_blocks(kernel, len(images[2]), *args, threads=settings.num_threads)
                    yield readable, offsets, rows[: len(images[2])]

        return buffered_fetch

    return new_buffered_fetch
