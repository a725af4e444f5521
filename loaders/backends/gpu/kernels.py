"""The kernels for a GPU, imported when they are needed, and the one that jitters colours ahead of the other."""

import contextlib
import importlib
import math
from collections.abc import Callable, Generator
from types import ModuleType

import torch

from ...augment.color_jitter import ColorJitter, jitter_factors
from ...types import EpochPlan
from ..batching import DeviceFetch, DeviceImages, Span, longest
from .transfer import sent


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


def jittering(
    new_fetch: Callable[[], DeviceFetch],
    jitter: ColorJitter,
    shape: tuple[int, int, int],
    device: torch.device,
) -> Callable[[], DeviceFetch]:
    """Wrap the `new_fetch` of a `device.DeviceFeed`: the colours of its images are jittered before anything else.

    Args:
        shape: (H, W, 3) of the images.
    """
    size, launch = math.prod(shape), gpu_kernels("jitter_gpu").launch

    def new_jittered_fetch() -> DeviceFetch:
        fetch = new_fetch()

        def jittered_fetch(plan: EpochPlan, todo: list[Span]) -> Generator[DeviceImages]:
            factors = sent(torch.from_numpy(jitter_factors(jitter, plan.key, plan.positions)), device)
            out = torch.empty(longest(todo) * size, dtype=torch.uint8, device=device)
            begins = torch.arange(longest(todo), device=device) * size
            with contextlib.closing(fetch(plan, todo)) as fetched:
                for span, (data, starts) in zip(todo, fetched, strict=True):
                    with torch.cuda.device(device) if out.is_cuda else contextlib.nullcontext():
                        launch(out, data, starts, factors[span.first : span.last], size // 3, jitter.changes)
                    del data
                    yield out, begins[: len(starts)]

        return jittered_fetch

    return new_jittered_fetch
