"""Run one DALI pipeline in the order of a plan, epoch after epoch, also after an epoch that was left early or failed.

The pipeline's external source asks for batch i of the epoch; what it gets follows from i and the plan: views of the
file's map (DALI reads them in place), or the parts that the boxes of `loaders.augment.crop` need, cut out where restart
markers divide the rows, and these boxes. DALI's own random numbers are not used.

A fork copies neither DALI's threads nor the state of its locks: a child process that ran, built or destroyed a pipeline
would hang. Only the process that first used DALI may do so; `dali_process` names it.
"""

import contextlib
import functools
import math
import os
import weakref
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import torch

from ..augment.crop import boxes
from ..formats.dataset import CHANNELS, DatasetFile
from ..formats.image_header import find_other_sizes
from ..formats.sentence import one_line
from ..types import EpochPlan
from .batching import DeviceFetch, DeviceImages, HostImages, Settings, Span, back_to_back, longest
from .jpeg_parts import cut_parts
from .reference import decode

# A callback of a pipeline: gives the inputs of batch number `info.iteration`. DALI's own objects are Any.
Source = Callable[[Any], tuple[Any, ...]]
AHEAD = 2  # batches that DALI holds ready or in the making
_NO_PLAN = EpochPlan(np.empty(0, np.int64))  # between epochs


@functools.cache
def dali_process() -> int:
    """The id of the process that first used DALI. Forked children inherit the answer, and so differ from it."""
    return os.getpid()


class Decoder:
    """One pipeline, built when first needed and used for one epoch after the other.

    Args:
        dataset: the open file.
        settings: how to deliver.
        shape: (H, W, 3) of the decoded (and resized) images.
        build: makes a pipeline from its external source, for batches up to a size; its one output is uint8
            [B, H, W, 3].
        memory: bytes, where the images are decoded. Batches in the making may take half of it.
    """

    def __init__(
        self,
        dataset: DatasetFile,
        settings: Settings,
        shape: tuple[int, int, int],
        build: Callable[[Source, int], Any],
        memory: int,
    ):
        self.dataset, self.settings, self._build, self._memory = dataset, settings, build, memory
        self._pipeline: Any = None
        self._max_batch = 0  # of the pipeline
        self._plan = _NO_PLAN
        self._todo: list[Span] = []
        self._shape = shape

    def fetch(self, plan: EpochPlan, todo: list[Span]) -> Generator[HostImages]:
        """Decode the images of each span, on the host; see `loaders.backends.host`."""
        offsets, rows = back_to_back(longest(todo), math.prod(self._shape))
        with contextlib.closing(self._outputs(plan, todo, lambda: None)) as outputs:
            for span, decoded in zip(todo, outputs, strict=True):
                pixels = np.asarray(decoded.as_tensor()).reshape(-1)
                pixels.flags.writeable = False
                yield pixels, offsets, rows[: span.last - span.first]
                del decoded, pixels

    def fetch_on(self, device: torch.device) -> DeviceFetch:
        """Make a `DeviceFetch` that leaves the images where DALI decoded them, on the device."""

        def stream() -> torch.cuda.Stream | None:
            return torch.cuda.current_stream(device) if device.type == "cuda" else None

        def fetch(plan: EpochPlan, todo: list[Span]) -> Generator[DeviceImages]:
            starts = torch.arange(longest(todo), device=device) * math.prod(self._shape)
            with contextlib.closing(self._outputs(plan, todo, stream)) as outputs:
                for span, decoded in zip(todo, outputs, strict=True):
                    yield torch.from_dlpack(decoded.as_tensor()).view(-1), starts[: span.last - span.first]
                    del decoded

        return fetch

    def _outputs(
        self, plan: EpochPlan, todo: list[Span], stream: Callable[[], torch.cuda.Stream | None]
    ) -> Generator[Any]:
        """The pipeline's output for each span, ordered before what comes next on `stream()`, or finished when None."""
        if not todo:
            return
        self._check_memory(plan, todo)
        pipeline = self._ready(longest(todo))
        self._plan, self._todo = plan, todo
        try:
            for span in todo:
                self._check_sizes(plan.ids[span.first : span.last])
                pipeline.schedule_run()
                (decoded,) = pipeline.share_outputs(cuda_stream=stream())
                self._check_decoded(plan.ids[span.first : span.last], decoded.shape())
                yield decoded
                del decoded
                pipeline.release_outputs()
        except RuntimeError as error:
            self._pipeline = None  # a pipeline of DALI cannot be used after an error
            self._name_culprit()
            reason = one_line(str(error).replace("Critical error in pipeline:", ""))
            raise ValueError(f"{self.dataset.path}: DALI could not decode a batch of its images: {reason}") from error
        finally:
            self._plan, self._todo = _NO_PLAN, []  # what is in the making goes on; the next epoch waits for it

    def _source(self, info: Any) -> tuple[Any, ...]:
        """The input of batch number `info.iteration`: streams or raw images, and the boxes where there are any."""
        if info.iteration >= len(self._todo):
            raise StopIteration
        dataset, augment = self.dataset, self.settings.augment
        span = self._todo[info.iteration]
        ids = self._plan.ids[span.first : span.last]
        heights, widths = dataset.heights[ids], dataset.widths[ids]
        images = [dataset.bytes(sample) for sample in ids]
        if dataset.kind == "raw":
            images = [p.reshape(h, w, 3) for p, h, w in zip(images, heights, widths, strict=True)]
        elif dataset.kind == "mixed":
            for i in np.flatnonzero(~dataset.is_jpeg[ids]):
                images[i] = _as_ppm(images[i], heights[i], widths[i])
        if not augment.resize:
            return (images,)
        box = boxes(augment, self._plan.key, self._plan.positions[span.first : span.last], heights, widths)
        if dataset.kind != "raw":
            parts = cut_parts(dataset, ids, box)
            box = parts.boxes
            for i in np.flatnonzero(dataset.is_jpeg[ids]):
                images[i] = parts.streams[i]
        box = box.astype(np.int32)
        return images, box[:, :2].copy(), box[:, 2:].copy()

    def _ready(self, batch_size: int) -> Any:
        """The pipeline of this process, for batches up to this size, before its first batch.

        Raises:
            RuntimeError: this process was forked off one that had decoded with DALI.
        """
        if os.getpid() != dali_process():
            raise RuntimeError(
                "DALI does not survive a fork, and the process that this one was forked from had decoded with it: "
                "start this process with multiprocessing's 'spawn', fork before the first epoch, or use "
                "backend='native'"
            )
        if self._pipeline is not None:
            self._rewind()
        if batch_size > self._max_batch:
            self._pipeline, self._max_batch = None, batch_size
        if self._pipeline is None:
            # A weak reference makes no circle: the pipeline's threads end with the loader.
            decoder = weakref.proxy(self)
            self._pipeline = self._build(lambda info: decoder._source(info), self._max_batch)
        return self._pipeline

    def _rewind(self) -> None:
        """Take what the last epoch left in the making, so that the next one begins with its own first batch."""
        pipeline = self._pipeline
        pipeline.release_outputs()
        try:
            while True:
                pipeline.schedule_run()
                pipeline.share_outputs()
                pipeline.release_outputs()
        except StopIteration:
            pipeline.reset()
        except RuntimeError:
            self._pipeline = None  # a batch that nobody asked for could not be decoded

    def _check_memory(self, plan: EpochPlan, todo: list[Span]) -> None:
        """DALI decodes all images of a batch at once: refuse batches that do not fit into half of the memory.

        Raises:
            ValueError: names the batch's size in memory.
        """
        if self.dataset.kind == "raw":
            return
        decoded = CHANNELS * self.dataset.heights[plan.ids] * self.dataset.widths[plan.ids]
        ends = np.concatenate([[0], np.cumsum(decoded)])
        most = max((int(ends[last] - ends[first]) for first, last in todo), default=0)
        if AHEAD * most > self._memory // 2:
            raise ValueError(
                f"{self.dataset.path}: the images of a batch take {most / 1e9:.1f} GB when they are decoded, {AHEAD} "
                f"batches are made at once, and half of the memory is {self._memory / 2e9:.1f} GB: lower batch_size, "
                "make the images smaller, or use backend='native'"
            )

    def _check_sizes(self, ids: np.ndarray) -> None:
        """DALI goes by the header of a JPEG, boxes and kernels by its record: raise the ValueError where they part."""
        stored = self.dataset
        fields = stored.data, stored.offsets, stored.sizes, stored.heights, stored.widths, stored.is_jpeg
        other = np.empty(len(ids), np.bool_)
        find_other_sizes(*fields, ids, other)
        for i in np.flatnonzero(other):
            decode(stored, ids[i])

    def _check_decoded(self, ids: np.ndarray, shapes: list[tuple[int, ...]]) -> None:
        """Raise ValueError where DALI read another size from a stream: the kernels would read beside the image."""
        for sample, shape in zip(ids, shapes, strict=True):
            if tuple(shape) != self._shape:
                (height, width, *_), (wanted_height, wanted_width, _) = shape, self._shape
                raise ValueError(
                    f"{self.dataset.file_of(sample)}: the image of sample {sample} cannot be used: DALI decodes "
                    f"{height} x {width} pixels, its record says {wanted_height} x {wanted_width}; convert the data "
                    "again"
                )

    def _name_culprit(self) -> None:
        """Raise the ValueError of the first image of the epoch that the strict decoder cannot read either."""
        for span in self._todo:
            for sample in self._plan.ids[span.first : span.last]:
                decode(self.dataset, sample)


def _as_ppm(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Raw pixels as a stream of their own, that DALI may decode beside JPEG streams."""
    return np.concatenate((np.frombuffer(b"P6 %d %d 255\n" % (width, height), np.uint8), pixels))
