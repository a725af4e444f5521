"""Any `.beton` through FFCV's decoder: raw, JPEG or both in one file, in our order.

Only FFCV's compiled library does work here: its `imdecode` turns one JPEG into pixels on our threads, then the fused
kernel augments them. What is to be resized goes through `loaders.kernels.resize_cpu` (FFCV's area resize takes twice
as long as its decoding). The parts of FFCV 1.0.2 that hang, leak, cut orders, compile for ten seconds or set
global thread counts (its Loader, graph and memory managers) are not imported. Raw images are copied
as they are.
"""

import ctypes
import functools
import glob
import importlib.util
import math
import os
from collections.abc import Generator

import llvmlite.binding
import numpy as np
from numba import types

from ..augment.crop import boxes
from ..compiled import compiled
from ..formats.dataset import DatasetFile
from ..formats.image_header import jpeg_size
from ..kernels.augment_cpu import copy_bytes
from ..kernels.resize_cpu import resize_box
from ..threads import for_blocks
from ..types import EpochPlan
from .batching import HostFetch, HostImages, Settings, Span, back_to_back, delivered_shape, longest
from .host import Feed
from .reference import decode

_MISSING = (
    "backend 'ffcv' needs FFCV's compiled library ({reason}): install Debian's libopencv-dev libturbojpeg0-dev "
    "pkg-config g++, then pip install ffcv"
)
_U32 = types.uint32
# imdecode(bytes, size, height, width, out, crop height, crop width, x, y, scale, of, crop?, flip?) -> 0 if all is well
_imdecode = types.ExternalFunction(
    "rebar_ffcv_imdecode",
    types.int32(types.uintp, types.uint64, _U32, _U32, types.uintp, *[_U32] * 6, types.boolean, types.boolean),
)
_U = np.uint64


def open_backend(dataset: DatasetFile, settings: Settings) -> Feed:
    """Deliver a data set, JPEG or raw, whose images have one size or are resized to one.

    Raises:
        ImportError: FFCV is not installed.
        ValueError: images of several sizes, or PNG.
    """
    if dataset.kind == "png":
        raise ValueError(f"backend 'ffcv' reads no PNG, {dataset.path} holds some: use backend='native'")
    _load_library()
    shape = delivered_shape(dataset, settings.augment, "ffcv")
    return Feed(dataset, shape, settings, lambda: _new_fetch(dataset, shape, settings))


@functools.cache
def _load_library() -> ctypes.CDLL:
    found = importlib.util.find_spec("ffcv")  # does not import it
    folders = (found and found.submodule_search_locations) or []
    libraries = [path for folder in folders for path in glob.glob(os.path.join(folder, "_libffcv*"))]
    if not libraries:
        raise ImportError(_MISSING.format(reason="it is not installed"))
    try:
        library = ctypes.CDLL(libraries[0])
    except OSError as error:
        raise ImportError(_MISSING.format(reason=error)) from error
    llvmlite.binding.add_symbol("rebar_ffcv_imdecode", ctypes.cast(library.imdecode, ctypes.c_void_p).value)
    return library


def _new_fetch(dataset: DatasetFile, shape: tuple[int, int, int], settings: Settings) -> HostFetch:
    buffer = np.empty((0, *shape), np.uint8)
    stored = (dataset.data, dataset.offsets, dataset.sizes, dataset.is_jpeg)
    augment = settings.augment
    # FFCV's decoder keeps memory for each thread that ever called it, and an epoch's own thread ends with the epoch.
    decode_blocks = functools.partial(for_blocks, threads=settings.num_threads, caller_helps=dataset.kind == "raw")

    def fetch(plan: EpochPlan, todo: list[Span]) -> Generator[HostImages]:
        nonlocal buffer
        if len(buffer) < longest(todo):
            buffer = np.empty((longest(todo), *shape), np.uint8)
        decoded, failed = buffer, np.zeros(len(buffer), np.bool_)
        readable = decoded.reshape(-1).view()
        readable.flags.writeable = False
        offsets, rows = back_to_back(len(decoded), math.prod(shape))
        for span in todo:
            ids, box = plan.ids[span.first : span.last], None
            if augment.resize:
                heights, widths = dataset.heights[ids], dataset.widths[ids]
                box = boxes(augment, plan.key, plan.positions[span.first : span.last], heights, widths)
                decode_blocks(_decode_box, len(ids), *stored, heights, widths, ids, box, decoded, failed)
            else:
                decode_blocks(_decode, len(ids), *stored, ids, decoded, failed)
            for i in np.flatnonzero(failed[: len(ids)]):
                # A warning (extra bytes) or an error (bytes lost): the strict decoder tells, and names the sample.
                image = decode(dataset, ids[i])
                if box is None:
                    decoded[i] = image
                else:
                    resize_box(np.array(image), *_edges(box[i], 1.0), decoded[i])
            yield readable, offsets, rows[: len(ids)]

    return fetch


@compiled(nogil=True)
def _decode(first, last, data, offsets, sizes, is_jpeg, ids, out, failed):
    """Decode samples first..last-1 of a batch, `out` uint8 [B, H, W, 3]; failed[i]: no pixels for sample i.

    A stream whose size is not H x W is not decoded: FFCV would scale it and leave old bytes beside it. Where libjpeg
    reads a stream without an error, it sees the size that `jpeg_size` sees.
    """
    height, width = out.shape[1], out.shape[2]
    for i in range(first, last):
        start, size = offsets[ids[i]], sizes[ids[i]]
        target, source = _U(out[i].ctypes.data), _U(data[start : start + size].ctypes.data)
        failed[i] = False
        if not is_jpeg[ids[i]]:
            copy_bytes(out[i].reshape(-1), 0, data, start, size)
        elif jpeg_size(data[start : start + size]) != (height, width):
            failed[i] = True
        else:
            args = (_U32(height), _U32(width))
            status = _imdecode(source, _U(size), *args, target, *args, _U32(0), _U32(0), _U32(1), _U32(1), False, False)
            failed[i] = status != 0


@compiled(nogil=True)
def _decode_box(first, last, data, offsets, sizes, is_jpeg, heights, widths, ids, box, out, failed):
    """Decode as `_decode` does, cut boxes out and resize them to `out` uint8 [B, S, S, 3].

    `box` int64 [B, 4]: top, left, height, width; `heights`, `widths` int64 [B] of the stored images. A JPEG whose box
    is twice (4, 8 times) as large as the result is decoded at a half (a quarter, an eighth) of its size: the inverse
    transform then has less to do.
    """
    size_out = out.shape[1]
    room = 0
    for i in range(first, last):
        room = max(room, heights[i] * widths[i] * 3)
    scratch = np.empty(room, np.uint8)
    for i in range(first, last):
        start, size = offsets[ids[i]], sizes[ids[i]]
        height, width, eighths = heights[i], widths[i], 8
        stored = data[start : start + size]
        failed[i] = False
        if not is_jpeg[ids[i]]:
            copy_bytes(scratch, 0, stored, 0, size)
        elif jpeg_size(stored) != (height, width):
            failed[i] = True
        else:
            while eighths > 1 and min(box[i, 2], box[i, 3]) * eighths >= 16 * size_out:
                eighths //= 2
            full = (_U32(height), _U32(width))
            args = (*full, _U32(0), _U32(0), _U32(eighths), _U32(8), False, False)
            failed[i] = _imdecode(_U(stored.ctypes.data), _U(size), *full, _U(scratch.ctypes.data), *args) != 0
            height, width = (height * eighths + 7) // 8, (width * eighths + 7) // 8
        if not failed[i]:
            image = scratch[: height * width * 3].reshape(height, width, 3)
            resize_box(image, *_edges(box[i], eighths / 8), out[i])


@compiled(nogil=True)
def _edges(box, scale):
    """Top, left, bottom, right of a box (top, left, height, width), in pixels of a scaled image."""
    return scale * box[0], scale * box[1], scale * (box[0] + box[2]), scale * (box[1] + box[3])
