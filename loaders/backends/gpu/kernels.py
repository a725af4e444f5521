"""The kernels for a GPU, imported when they are needed, and the stages ahead of the one that makes the batch.

A stage takes the images of a batch from where they lie, and leaves them changed in a buffer of its own, in one launch.
"""

import contextlib
import importlib
import math
from collections.abc import Callable, Generator
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from ...augment.color_jitter import ColorJitter, jitter_factors
from ...augment.config import Augment
from ...augment.crop import boxes
from ...augment.randaugment import RandAugment
from ...formats.dataset import CHANNELS, DatasetFile
from ...kernels.randaugment_cpu import RECTANGLE
from ...types import EpochPlan
from ..batching import DeviceFetch, DeviceImages, Span, longest
from ..randaugment import draw_rectangles, draw_round, prepare
from .transfer import sent

# (out, data, starts, span): makes uint8 [B, ...] `out` of the images that begin at data[starts[i]].
Make = Callable[[Tensor, Tensor, Tensor, Span], None]
# What is drawn for an epoch is drawn and sent at once; a batch takes its span of it.
Stage = Callable[[EpochPlan, list[Span]], Make]


def gpu_kernels(module: str) -> ModuleType:
    """Import a module of `loaders.kernels` that needs Triton.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.import_module(f"...kernels.{module}", __package__)
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        raise ImportError(
            "batches on a GPU need Triton, which torch's CUDA builds bring along: `pip install triton`"
        ) from None


def through(
    new_fetch: Callable[[], DeviceFetch], stage: Stage, shape: tuple[int, int, int], device: torch.device
) -> Callable[[], DeviceFetch]:
    """Wrap the `new_fetch` of a `device.DeviceFeed`: its images go through a stage before anything else.

    Args:
        shape: (H, W, 3) of what the stage makes.
    """
    size = math.prod(shape)

    def new_staged_fetch() -> DeviceFetch:
        fetch = new_fetch()

        def staged_fetch(plan: EpochPlan, todo: list[Span]) -> Generator[DeviceImages]:
            make = stage(plan, todo)
            out = torch.empty((longest(todo), *shape), dtype=torch.uint8, device=device)
            begins = torch.arange(longest(todo), device=device) * size
            with contextlib.closing(fetch(plan, todo)) as fetched:
                for span, (data, starts) in zip(todo, fetched, strict=True):
                    with torch.cuda.device(device) if out.is_cuda else contextlib.nullcontext():
                        make(out[: len(starts)], data, starts, span)
                    del data
                    yield out.view(-1), begins[: len(starts)]

        return staged_fetch

    return new_staged_fetch


def resizing(dataset: DatasetFile, augment: Augment, device: torch.device) -> Stage:
    """The box of each image becomes a square of `augment.resize` pixels; of RGB images that may vary in size."""
    size, kernels = augment.resize, gpu_kernels("resize_gpu")

    def stage(plan: EpochPlan, todo: list[Span]) -> Make:
        heights, widths = dataset.heights[plan.ids], dataset.widths[plan.ids]
        box = boxes(augment, plan.key, plan.positions, heights, widths)
        most = kernels.most_pixels(int(box[:, 2:].max(initial=1)), size)
        drawn, lines = (sent(torch.from_numpy(array.astype(np.int32)), device) for array in (box, widths))
        first = torch.empty((longest(todo), 2, size), dtype=torch.int32, device=device)
        weights = torch.empty((longest(todo), 2, most, size), device=device)

        def make(out: Tensor, data: Tensor, starts: Tensor, span: Span) -> None:
            mine = slice(*span)
            kernels.launch(out, data, starts, lines[mine], drawn[mine], first, weights, most)

        return make

    return stage


def widening(shape: tuple[int, int, int], device: torch.device) -> Stage:
    """Grey images become three equal channels; (H, W, 3) `shape`."""
    places = torch.arange(math.prod(shape) // CHANNELS, device=device)

    def stage(plan: EpochPlan, todo: list[Span]) -> Make:
        def make(out: Tensor, data: Tensor, starts: Tensor, span: Span) -> None:
            out.view(len(out), -1, CHANNELS).copy_(data[starts[:, None] + places][..., None])

        return make

    return stage


def randaugmenting(randaugment: RandAugment, shape: tuple[int, int, int], device: torch.device) -> list[Stage]:
    """The rounds of RandAugment, one after the other, for images of (H, W, 3) `shape`."""
    height, width, _ = shape
    launch, ops = gpu_kernels("randaugment_gpu").launch, prepare(randaugment, height, width)
    kinds, values = np.repeat(ops.kinds, 2), ops.values.reshape(-1)
    arrays = kinds.astype(np.int32), values.astype(np.float32), ops.tables, ops.matrices
    fixed = [torch.from_numpy(array).to(device) for array in arrays]
    has_rectangles = bool((kinds == RECTANGLE).any())

    def stage_of(number: int) -> Stage:
        def stage(plan: EpochPlan, todo: list[Span]) -> Make:
            where, rectangles = (number, plan.key, plan.positions), None
            drawn = draw_round(ops, *where)
            if has_rectangles:
                sizes = np.where(kinds == RECTANGLE, values, 0.0)[drawn]
                rectangles = sent(torch.from_numpy(draw_rectangles(sizes, *where, height, width)), device)
            operations = sent(torch.from_numpy(drawn.astype(np.int32)), device)

            def make(out: Tensor, data: Tensor, starts: Tensor, span: Span) -> None:
                mine = slice(*span)
                covered = None if rectangles is None else rectangles[mine]
                launch(out, data, starts, operations[mine], covered, *fixed, height=height, width=width)

            return make

        return stage

    return [stage_of(number) for number in range(ops.rounds)]


def jittering(jitter: ColorJitter, shape: tuple[int, int, int], device: torch.device) -> Stage:
    """The colours of images of (H, W, 3) `shape` are jittered."""
    size, launch = math.prod(shape), gpu_kernels("jitter_gpu").launch

    def stage(plan: EpochPlan, todo: list[Span]) -> Make:
        factors = sent(torch.from_numpy(jitter_factors(jitter, plan.key, plan.positions)), device)

        def make(out: Tensor, data: Tensor, starts: Tensor, span: Span) -> None:
            launch(out, data, starts, factors[slice(*span)], size // CHANNELS, jitter.changes)

        return make

    return stage
