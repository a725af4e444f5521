"""From a plan to its batches: their spans, labels and ids, which every backend needs before it makes a pixel."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from ..augment.config import Augment
from ..formats.dataset import CHANNELS, DatasetFile
from ..types import EpochPlan
from .read_ahead import ReadAhead

DTYPES = (torch.uint8, torch.float32, torch.bfloat16, torch.float16)
_PATTERNS = {torch.bfloat16: torch.uint16, torch.float16: torch.int16}


@dataclass(frozen=True)
class Settings:
    """How a backend delivers; see `loaders.make_loader`.

    Attributes:
        batch_size: samples of a whole batch.
        dtype: torch.uint8 (pixels), or float32, bfloat16, float16 (normalised).
        augment: what happens to an image.
        drop_last: leave out a last batch that is not whole.
        num_threads: threads of the kernels; None takes the cores that the process may use.
        pinned: fill page-locked buffers, for copies to a device.
    """

    batch_size: int
    dtype: torch.dtype = torch.float32
    augment: Augment = field(default_factory=Augment)
    drop_last: bool = False
    num_threads: int | None = None
    pinned: bool = False

    def __post_init__(self):
        size = self.batch_size
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"batch_size is a number of samples >= 1, got {size!r}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype is one of {', '.join(map(str, DTYPES))}, got {self.dtype!r}")
        if self.num_threads is not None and self.num_threads < 1:
            raise ValueError(f"num_threads is at least 1, or None for all cores, got {self.num_threads}")
        if len(self.augment.mean) not in (1, CHANNELS):
            raise ValueError(
                f"mean and std need {CHANNELS} values, one a channel, or 1 of grey images, got {self.augment.mean}"
            )


class Span(NamedTuple):
    """Positions first..last-1 of a plan."""

    first: int
    last: int


class Columns(NamedTuple):
    """What an epoch carries beside the images, in the order of the plan; a batch is a slice of it."""

    labels: torch.Tensor  # int64 [K]
    ids: torch.Tensor  # int64 [K]
    weights: torch.Tensor | None  # float32 [K]

    def slice(self, span: Span) -> Columns:
        first, last = span
        weights = None if self.weights is None else self.weights[first:last]
        return Columns(self.labels[first:last], self.ids[first:last], weights)


# The images of a batch on the CPU: data uint8, offsets int64, rows int64 [B]. Image i begins at data[offsets[rows[i]]].
HostImages = tuple[np.ndarray, np.ndarray, np.ndarray]
# (plan, spans) -> the images of each span; what it yields stays valid until it is asked for the next.
HostFetch = Callable[[EpochPlan, list[Span]], Generator[HostImages]]
# The same on a device: for each span data uint8, starts int64 [B]. Image i begins at data[starts[i]].
DeviceImages = tuple[torch.Tensor, torch.Tensor]
DeviceFetch = Callable[[EpochPlan, list[Span]], Generator[DeviceImages]]


class Rows(NamedTuple):
    """Where the images of a batch lie, one behind the other, as the kernels read it; read-only."""

    offsets: np.ndarray  # int64 [B], the first byte of each
    rows: np.ndarray  # int64 [B], 0 to B-1


def back_to_back(num: int, image_bytes: int) -> Rows:
    """`Rows` of `num` images of `image_bytes` each."""
    found = Rows(np.arange(num) * image_bytes, np.arange(num))
    for array in found:
        array.flags.writeable = False  # one type for the kernels, whether they read this or the file
    return found


def watched(dataset: DatasetFile, todo: list[Span], plan: EpochPlan | None = None) -> Generator[Span]:
    """Yield the spans of an epoch, each after a check that the file is unchanged (`DatasetFile.check_in_place`).

    With the plan, only the shards that hold samples of the span are checked, and pages that are not in memory are
    requested ahead of their batch.
    """
    ahead = None if plan is None else ReadAhead(dataset, plan, todo)
    for number, span in enumerate(todo):
        dataset.check_in_place(None if plan is None else plan.ids[span.first : span.last])
        if ahead is not None:
            ahead.reach(number)
        yield span


def longest(todo: list[Span]) -> int:
    """Length of the longest batch of an epoch, for which memory is needed; a batch_size may be any number."""
    return max((last - first for first, last in todo), default=0)


def spans(plan: EpochPlan, dataset: DatasetFile, settings: Settings, start_batch: int) -> list[Span]:
    """Cut an epoch into batches, from `start_batch` on; a plan that does not fit is refused before the epoch starts.

    The files that hold its samples are readable afterwards (`DatasetFile.touch`).

    Raises:
        ValueError: an id that the file does not hold, a plan without a whole batch where only whole ones are wanted, or
            a start after the end.
    """
    ids, num_samples = plan.ids, dataset.num_samples
    if len(ids) and (ids.min() < 0 or ids.max() >= num_samples):
        bad = int(np.flatnonzero((ids < 0) | (ids >= num_samples))[0])
        raise ValueError(
            f"the plan's id {ids[bad]} at position {bad} is not in 0..{num_samples - 1}, the samples of {dataset.path}"
        )
    batch_size = settings.batch_size
    num_batches = count_batches(len(ids), batch_size, settings.drop_last)
    if not 0 <= start_batch <= num_batches:
        raise ValueError(f"start_batch is {start_batch}, the plan has {num_batches} batches")
    dataset.touch(ids)
    starts = range(start_batch * batch_size, num_batches * batch_size, batch_size)
    return [Span(start, min(start + batch_size, len(ids))) for start in starts]


def count_batches(num_samples: int, batch_size: int, drop_last: bool) -> int:
    """Count the batches of an epoch.

    Raises:
        ValueError: only whole batches are wanted and there is none.
    """
    if drop_last and num_samples < batch_size:
        raise ValueError(
            f"a batch of {batch_size} is larger than the plan of {num_samples} samples, and drop_last leaves nothing: "
            "lower batch_size, or use drop_last=False"
        )
    return num_samples // batch_size if drop_last else -(-num_samples // batch_size)


def columns(plan: EpochPlan, dataset: DatasetFile) -> Columns:
    """Labels, ids and weights of the whole epoch, as fresh tensors (one gather; a few ms for a million samples)."""
    weights = None if plan.weights is None else torch.from_numpy(plan.weights.copy())
    return Columns(torch.from_numpy(dataset.labels[plan.ids]), torch.from_numpy(plan.ids.copy()), weights)


def nchw(images_NHWC: torch.Tensor) -> torch.Tensor:
    """[B, C, H, W] in channels-last memory: a view."""
    return images_NHWC.permute(0, 3, 1, 2)


def patterns(values: torch.Tensor) -> np.ndarray:
    """The bit patterns of a tensor on the CPU, as an array over the same memory, for the compiled kernels.

    NumPy has no bfloat16 and Numba no float16; the type of the array tells the kernels which of the two is meant.
    """
    return values.view(_PATTERNS.get(values.dtype, values.dtype)).numpy()


def delivered_shape(dataset: DatasetFile, augment: Augment, backend: str) -> tuple[int, int, int]:
    """(H, W, C) of every delivered image: the square that they are resized to, or their own size.

    Raises:
        ValueError: the images vary in size and are not resized; or they are grey and are to be resized.
    """
    if not augment.resize:
        return one_size(dataset, backend)
    if dataset.channels != CHANNELS and backend != "reference":
        raise ValueError(
            f"{dataset.path} holds images of one channel, which no quick backend resizes: leave the resize out, or "
            "convert them with --channels 3"
        )
    return augment.resize, augment.resize, dataset.channels


def one_size(dataset: DatasetFile, backend: str) -> tuple[int, int, int]:
    """(H, W, C) of every image.

    Raises:
        ValueError: the images vary in size.
    """
    shape = dataset.image_shape
    if shape is None:
        raise ValueError(
            f"backend {backend!r} needs images of one size, those of {dataset.path} are "
            f"{dataset.heights.min()} to {dataset.heights.max()} pixels high and "
            f"{dataset.widths.min()} to {dataset.widths.max()} wide: set resize and random_resized_crop or center_crop"
        )
    return shape
