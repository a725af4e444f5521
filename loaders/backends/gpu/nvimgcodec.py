"""JPEG of a `.beton` or a `.tar` decoded on a GPU by NVIDIA's nvImageCodec, in our order and cut by our draws.

A smaller alternative to `dali`: 32 MB to download, a decoder alone. Crop boxes, resizing and augmentation are Rebar's
own (`loaders.backends.gpu.decoding`). Where batches are made on the host, backend `native` makes them.

`nvidia.nvimgcodec` is imported when a loader is opened, not with this module.
"""

import functools
import importlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...formats.dataset import DatasetFile
from ...threads import available_cores
from .. import native
from ..batching import Settings, delivered_shape
from ..host import Feed
from .decoding import AT_ONCE, Decode, decoding
from .device import DeviceFeed

_MISSING = (
    "backend 'nvimgcodec' needs NVIDIA nvImageCodec ({reason}): pip install 'nvidia-nvimgcodec-cu12[nvjpeg]', or "
    "'nvidia-nvimgcodec-cu13[nvjpeg]' beside a torch for CUDA 13"
)
_OPTIONS = ":fancy_upsampling=1"  # smooth colours, as every other backend makes them
_KEPT = 2 * AT_ONCE  # bytes of images whose memory is kept: in the end, each would be as large as the largest image


def open_backend(dataset: DatasetFile, settings: Settings) -> Feed:
    """Deliver on the host what `native` delivers.

    Raises:
        ValueError: images of several sizes.
    """
    return native.open_backend(dataset, settings)


def open_on_device(dataset: DatasetFile, settings: Settings, device: torch.device) -> DeviceFeed:
    """Deliver a data set whose images are decoded on a GPU and stay there; a CPU as `device` is for tests.

    Raises:
        ImportError: nvImageCodec or Triton is not installed.
        ValueError: images of several sizes.
    """
    _library()
    shape = delivered_shape(dataset, settings.augment, "nvimgcodec")
    new_decode = functools.partial(decoder, device, settings.num_threads or available_cores())
    new_fetch = decoding(dataset, settings, shape, device, new_decode)
    return DeviceFeed(dataset, shape, settings, device, new_fetch, f"images decoded and batches made on {device}")


def obstacle(dataset: DatasetFile, settings: Settings, device: torch.device) -> str | None:
    """Say why batches must be made on the host and copied, in half a sentence; None when the device can make them."""
    if settings.augment.randaugment is not None:
        return "RandAugment runs on the host"
    return None if dataset.is_jpeg.any() else "none of the images is a JPEG"


def remark(dataset: DatasetFile) -> str:
    """Say who decodes where batches are made on the host, as the end of a sentence."""
    return f"; decoded there by backend 'native'{native.remark(dataset)}"


def _library() -> Any:
    try:
        return importlib.import_module("nvidia.nvimgcodec")
    except ImportError as error:
        raise ImportError(_MISSING.format(reason=error)) from error


def decoder(device: torch.device, num_threads: int, kinds: tuple[str, ...] = ()) -> Decode:
    """Make nvImageCodec's decoder for a GPU, or the one for a CPU that it also has.

    Args:
        device: where the images go.
        num_threads: threads of the CPU's share of the work.
        kinds: names of its `BackendKind` that may decode; all of them when none is named.
    """
    nvimgcodec, is_gpu = _library(), device.type == "cuda"
    allowed = kinds or (() if is_gpu else ("CPU_ONLY",))
    library = nvimgcodec.Decoder(
        device_id=device.index if is_gpu else nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY,
        max_num_cpu_threads=num_threads,
        backends=[nvimgcodec.Backend(getattr(nvimgcodec.BackendKind, kind)) for kind in allowed] or None,
        options=_OPTIONS,
    )
    params = nvimgcodec.DecodeParams(  # no other backend looks at EXIF
        apply_exif_orientation=False,
        color_spec=nvimgcodec.ColorSpec.SRGB,
        sample_format=nvimgcodec.SampleFormat.I_RGB,
    )
    as_tensor = torch.from_dlpack if is_gpu else lambda image: torch.from_numpy(np.asarray(image))
    kept: list[Any] = []  # their memory is used again

    def decode(streams: list[np.ndarray]) -> list[Tensor | None]:
        nonlocal kept
        reused = kept[: len(streams)] if len(kept) >= len(streams) else None
        images = library.decode(
            [nvimgcodec.CodeStream(stream) for stream in streams],
            images=reused,
            params=params,
            cuda_stream=torch.cuda.current_stream(device).cuda_stream if is_gpu else 0,
        )
        if reused is None:
            kept = [image for image in images if image is not None]
        if sum(image.capacity for image in kept) > _KEPT:
            kept = []
        return [None if image is None else as_tensor(image) for image in images]

    return decode
