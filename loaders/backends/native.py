"""Any data set on the CPU, decoded by libraries that come as wheels: JPEG by libjpeg-turbo (simplejpeg), PNG by Pillow.

A JPEG stream is decoded from the file's map, only the part that its box needs where restart markers divide its rows
(`loaders.formats.jpeg.cut`), and resized into the batch. Streams of four colours, and those that libjpeg-turbo is not
content with, are left to the decoder of the reference, which delivers them or says what is wrong. Threads take the
images of a batch one by one, as each is ready, and hold Python's lock only between the steps.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import simplejpeg

from ..augment.crop import boxes
from ..formats.dataset import CHANNELS, DatasetFile
from ..formats.jpeg.cut import WRONG
from ..kernels.resize_cpu import resize_box
from ..threads import available_cores, for_blocks
from ..types import EpochPlan
from .batching import HostFetch, HostImages, Settings, Span, back_to_back, delivered_shape, longest
from .host import Feed
from .jpeg_parts import OTHER, cut_part
from .reference import decode


def open_backend(dataset: DatasetFile, settings: Settings) -> Feed:
    """Deliver a data set whose images have one size or are resized to one.

    Raises:
        ValueError: images of several sizes.
    """
    shape = delivered_shape(dataset, settings.augment, "native")
    return Feed(dataset, shape, settings, lambda: _new_fetch(dataset, shape, settings))


def remark(dataset: DatasetFile) -> str:
    """Say how much slower the images are that are no JPEG, as the end of a sentence; "" where there are none.

    The factors are those of a photograph of 450 x 450 pixels on one core.
    """
    others = int((~dataset.is_jpeg).sum()) if dataset.kind == "png" else 0
    if not others:
        return ""
    return (
        f"; {others:,} of {dataset.num_samples:,} images are PNG or WebP, which Pillow decodes about 12 and 7 times "
        "slower than libjpeg-turbo a JPEG"
    )


def _new_fetch(dataset: DatasetFile, shape: tuple[int, int, int], settings: Settings) -> HostFetch:
    augment, buffer = settings.augment, np.empty((0, *shape), np.uint8)
    workers = [Worker(dataset) for _ in range(settings.num_threads or available_cores())]

    def fetch(plan: EpochPlan, todo: list[Span]) -> Generator[HostImages]:
        nonlocal buffer
        if len(buffer) < longest(todo):
            buffer = np.empty((longest(todo), *shape), np.uint8)
        images, readable = buffer, buffer.reshape(-1).view()
        readable.flags.writeable = False
        offsets, rows = back_to_back(len(images), math.prod(shape))
        for span in todo:
            ids, box = plan.ids[span.first : span.last], None
            if augment.resize:
                positions = plan.positions[span.first : span.last]
                box = boxes(augment, plan.key, positions, dataset.heights[ids], dataset.widths[ids])
            decode_batch(workers, ids, box, images)
            yield readable, offsets, rows[: len(ids)]

    return fetch


def decode_batch(workers: list[Worker], ids: np.ndarray, box: np.ndarray | None, out: np.ndarray) -> None:
    """Fill the first of out, uint8 [B, H, W, 3], with box i of image ids[i], resized, or with all of it.

    Args:
        workers: one for each thread.
        ids: int64 [K], K <= B.
        box: int64 [K, 4], top, left, height and width; None takes whole images of one size.

    Raises:
        ValueError: as `Worker.decode`.
    """
    num, undone = min(len(workers), len(ids)), iter(range(len(ids)))
    for_blocks(_work, num, workers, undone, ids, box, out, threads=num)


def _work(
    first: int, last: int, workers: list[Worker], undone: Iterator[int], ids: np.ndarray, box: Any, out: np.ndarray
) -> None:
    """Fill out[i], uint8 [S, S, 3], with box i of image ids[i], or all of it, for each i that no other thread took."""
    for worker in workers[first:last]:
        for i in undone:
            if box is None:
                worker.decode(int(ids[i]), 0, 0, out.shape[1], out.shape[2], 1, out[i])
            else:
                image, *edges = worker.decode_box(int(ids[i]), *box[i].tolist(), size=len(out[i]))
                resize_box(image, *edges, out[i])


class Worker:
    """What one thread needs to decode image after image: memory that grows to the largest of them."""

    def __init__(self, dataset: DatasetFile):
        self._dataset = dataset
        self._stream, self._pixels = np.empty(0, np.uint8), np.empty(0, np.uint8)

    def decode_box(
        self, sample: int, top: int, left: int, height: int, width: int, size: int
    ) -> tuple[np.ndarray, float, float, float, float]:
        """Decode a box of an image, and maybe more: uint8 [H, W, 3], and the box's top, left, bottom and right in it.

        A box that is at least four times as large as its result, `size`, is decoded at a half, a quarter or an eighth
        of its size, so that it is still twice as large. The pixels are overwritten by the next image.

        Raises:
            ValueError: as `decode`.
        """
        factor = 1
        while factor < 8 and min(height, width) >= 4 * factor * size:
            factor *= 2
        around = 2 * factor if factor > 1 else 0  # pixels to every side that smoothing of colours may look at
        new_top, new_left = max(top - around, 0), max(left - around, 0)
        bottom = min(top + height + around, int(self._dataset.heights[sample]))
        right = min(left + width + around, int(self._dataset.widths[sample]))
        height_around, width_around = bottom - new_top, right - new_left
        image, new_top, new_left, factor = self.decode(sample, new_top, new_left, height_around, width_around, factor)
        edges = top - new_top, left - new_left, top - new_top + height, left - new_left + width
        top_edge, left_edge, bottom_edge, right_edge = (edge / factor for edge in edges)
        return image, top_edge, left_edge, bottom_edge, right_edge

    def decode(
        self, sample: int, top: int, left: int, height: int, width: int, factor: int, out: np.ndarray | None = None
    ) -> tuple[np.ndarray, int, int, int]:
        """Decode a box of an image, and maybe more: uint8 [H, W, 3], the place of its first pixel, and a factor.

        Args:
            factor: 1, 2, 4 or 8: by which the result may be smaller than the image on each side; the factor that is
                returned was used.
            out: where a whole image goes; None takes memory that is overwritten by the next image.

        Raises:
            ValueError: names the sample and what is wrong with it.
        """
        dataset = self._dataset
        if dataset.is_jpeg[sample]:
            self._stream = _at_least(dataset.sizes[sample], self._stream)
            stored = dataset.data, dataset.offsets, dataset.sizes, dataset.heights, dataset.widths
            cut = cut_part(*stored, sample, top, left, top + height, left + width, self._stream)
            if cut.size == WRONG:
                raise ValueError(
                    f"{dataset.file_of(sample)}: the JPEG of sample {sample} cannot be decoded: it is not whole, or "
                    "its restart markers are not those of its rows; convert the data again"
                )
            if cut.size != OTHER:
                stream = self._stream[: cut.size] if cut.size else dataset.bytes(sample)
                size = -(-cut.height // factor), -(-cut.width // factor)
                image = self._space(*size) if out is None else out
                try:
                    simplejpeg.decode_jpeg(
                        stream, "RGB", min_height=size[0], min_width=size[1], min_factor=factor, buffer=image
                    )
                except ValueError:
                    pass  # a warning or an error: the strict decoder tells, and names the sample
                else:
                    return image, cut.top, cut.left, factor
        whole = decode(dataset, sample)
        image = self._space(*whole.shape[:2]) if out is None else out
        image[:] = whole[..., : image.shape[2]]  # one channel where grey images are delivered as such
        return image, 0, 0, 1

    def _space(self, height: int, width: int) -> np.ndarray:
        num = height * width * CHANNELS
        self._pixels = _at_least(num, self._pixels)
        return self._pixels[:num].reshape(height, width, CHANNELS)


def _at_least(size: int, space: np.ndarray) -> np.ndarray:
    return space if len(space) >= size else np.empty(size, np.uint8)
