"""JPEG and PNG of a `.beton` or a `.tar` decoded by NVIDIA DALI, in our order and cut by our draws.

DALI decodes and resizes, on the CPU or on a GPU. What comes after, up to the normalised batch, is the kernel that every
backend shares, so pixels of equal decoding are equal. Raw images that keep their size have nothing to decode: the
kernel reads them from the map; beside JPEG ones in the same file they are handed to DALI as PPM streams.

`nvidia.dali` is imported when a loader is opened, not with this module.
"""

import ctypes
import functools
import importlib
import os
from collections.abc import Generator
from typing import Any

import torch

from ..formats.claims import machine_memory
from ..formats.dataset import DatasetFile
from ..threads import available_cores
from ..types import EpochPlan
from .batching import DeviceFetch, HostImages, Settings, Span, delivered_shape
from .dali_decoder import AHEAD, Decoder, Source, dali_process
from .gpu.device import DeviceFeed
from .host import Feed

_MISSING = "backend 'dali' needs NVIDIA DALI ({reason}): pip install nvidia-dali-cuda120"


def open_backend(dataset: DatasetFile, settings: Settings) -> Feed:
    """Deliver a data set whose images have one size or are resized to one.

    Raises:
        ImportError: DALI is not installed.
        ValueError: images of several sizes.
    """
    _check_installed()
    shape = delivered_shape(dataset, settings.augment, "dali")
    if not _decodes(dataset, settings):

        def fetch(plan: EpochPlan, todo: list[Span]) -> Generator[HostImages]:
            for span in todo:
                yield dataset.data, dataset.offsets, plan.ids[span.first : span.last]

        return Feed(dataset, shape, settings, lambda: fetch)
    build, memory = functools.partial(pipeline, dataset=dataset, settings=settings, device_id=None), machine_memory()
    return Feed(dataset, shape, settings, lambda: Decoder(dataset, settings, shape, build, memory).fetch)


def open_on_device(dataset: DatasetFile, settings: Settings, device: torch.device) -> DeviceFeed:
    """Deliver a data set whose images are decoded on a GPU and stay there; a CPU as `device` is for tests.

    Raises:
        ImportError: DALI or Triton is not installed.
        ValueError: as in `open_backend`.
    """
    _check_installed()
    shape = delivered_shape(dataset, settings.augment, "dali")
    build = functools.partial(pipeline, dataset=dataset, settings=settings, device_id=device.index)
    residence = f"images decoded and batches made on {device}"

    def new_fetch() -> DeviceFetch:
        is_gpu = device.type == "cuda"
        memory = torch.cuda.get_device_properties(device).total_memory if is_gpu else machine_memory()
        return Decoder(dataset, settings, shape, build, memory).fetch_on(device)

    return DeviceFeed(dataset, shape, settings, device, new_fetch, residence)


def obstacle(dataset: DatasetFile, settings: Settings, device: torch.device) -> str | None:
    """Say why batches must be made on the host and copied, in half a sentence; None when the device can make them."""
    if settings.augment.randaugment is not None:
        return "RandAugment runs on the host"
    return None if _decodes(dataset, settings) else "raw images need no decoding, and backend 'fused' keeps them there"


def _decodes(dataset: DatasetFile, settings: Settings) -> bool:
    return dataset.kind != "raw" or settings.augment.resize > 0


def _check_installed() -> None:
    try:
        importlib.import_module("nvidia.dali")
    except ImportError as error:
        raise ImportError(_MISSING.format(reason=error)) from error


def pipeline(source: Source, batch_size: int, dataset: DatasetFile, settings: Settings, device_id: int | None) -> Any:
    """Build a pipeline of `graph` for batches up to a size, ready to run; `device_id` None is the CPU."""
    made = _pipeline_type()(
        batch_size=batch_size,
        num_threads=settings.num_threads or available_cores(),
        device_id=device_id,
        prefetch_queue_depth=AHEAD,
    )
    with made:
        made.set_outputs(graph(source, dataset.kind == "raw", settings.augment.resize, device_id is not None))
    made.build()
    return made


@functools.cache
def _pipeline_type() -> type[Any]:
    from nvidia.dali.pipeline import Pipeline

    class OwnPipeline(Pipeline):
        """A pipeline that only the process that built it shuts down.

        DALI calls `_shutdown` when a pipeline is deleted and, for all pipelines, when the program ends.
        """

        def _shutdown(self) -> None:
            if self._pipe and os.getpid() != dali_process():
                # In a forked child the C++ object must outlive the interpreter too: its destructor would wait for
                # threads that the child does not have. A reference that is never returned keeps it.
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._pipe))
                self._pipe = None
            super()._shutdown()

    return OwnPipeline


def graph(source: Source, raw: bool, size: int, on_gpu: bool) -> Any:
    """Describe what DALI does: decode or cut out a box, resize, and put out uint8 [B, H, W, 3].

    Args:
        source: gives images and, where `size` is not 0, the top left corners and the sizes of their boxes.
        raw: the images are pixels, not streams.
        size: of the result, in pixels; 0 keeps the size.
        on_gpu: decode and resize on the GPU. What cannot be decoded there (PNG, PPM) is decoded on the CPU and copied.
    """
    from nvidia.dali import fn
    from nvidia.dali.types import DALIDataType, DALIImageType, DALIInterpType

    inputs = fn.external_source(
        source,
        num_outputs=3 if size else 1,
        batch=True,
        batch_info=True,
        no_copy=True,
        dtype=[DALIDataType.UINT8, *([DALIDataType.INT32] * 2 if size else [])],
        ndim=[3 if raw else 1, *([1] * 2 if size else [])],
        layout=["HWC" if raw else "", *([""] * 2 if size else [])],
    )
    options = {
        "device": "mixed" if on_gpu else "cpu",
        "output_type": DALIImageType.RGB,
        "jpeg_fancy_upsampling": True,
        "adjust_orientation": False,  # no other backend looks at EXIF
    }
    if not size:
        return fn.decoders.image(*inputs, **options)
    if raw:
        images = fn.slice(*inputs, axis_names="HW")
        images = images.gpu() if on_gpu else images
    else:
        images = fn.decoders.image_slice(*inputs, axis_names="HW", **options)
    return fn.resize(images, size=[size, size], interp_type=DALIInterpType.INTERP_LINEAR, antialias=True)
