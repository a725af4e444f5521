"""Any `.beton` through FFCV's decoder: raw, JPEG or both in one file, in our order.

Only FFCV's compiled library does work here: its `imdecode` turns one JPEG into pixels on our threads, then the fused
kernel augments them. The parts of FFCV 1.0.2 that hang, leak, cut orders, compile for ten seconds or set global thread
counts (its Loader, graph and memory managers) are not imported. Knows no order; raw pictures are copied as they are.
"""

import ctypes
import functools
import glob
import importlib.util
import os

import llvmlite.binding
import numpy as np
from numba import njit, types

from loaders.batches import Settings, one_size
from loaders.dataset import DatasetFile
from loaders.feed import Feed, Fetch
from loaders.parallel import for_blocks
from loaders.reference import decode
from loaders.simd import copy

_MISSING = (
    "backend 'ffcv' needs FFCV's compiled library ({reason}): install Debian's libopencv-dev libturbojpeg0-dev "
    'pkg-config g++, then pip install "rebar-loaders[ffcv]"'
)
_U32 = types.uint32
_SYMBOL = "rebar_ffcv_imdecode"
# imdecode(bytes, size, height, width, out, crop height, crop width, x, y, scale, of, crop?, flip?) -> 0 if all is well
_imdecode = types.ExternalFunction(
    _SYMBOL,
    types.int32(types.uintp, types.uint64, _U32, _U32, types.uintp, *[_U32] * 6, types.boolean, types.boolean),
)
_U = np.uint64


def open_backend(dataset: DatasetFile, settings: Settings) -> Feed:
    """Deliver a data set whose pictures have one size, JPEG or raw.

    Raises:
        ImportError: FFCV is not installed.
        ValueError: pictures of several sizes.
    """
    _load_library()
    shape = one_size(dataset, "ffcv")
    return Feed(dataset, shape, settings, lambda: _new_fetch(dataset, shape, settings))


@functools.cache
def _load_library() -> ctypes.CDLL:
    found = importlib.util.find_spec("ffcv")  # does not import it
    folders = found.submodule_search_locations if found else []
    libraries = [path for folder in folders for path in glob.glob(os.path.join(folder, "_libffcv*"))]
    if not libraries:
        raise ImportError(_MISSING.format(reason="it is not installed"))
    try:
        library = ctypes.CDLL(libraries[0])
    except OSError as error:
        raise ImportError(_MISSING.format(reason=error)) from error
    llvmlite.binding.add_symbol(_SYMBOL, ctypes.cast(library.imdecode, ctypes.c_void_p).value)
    return library


def _new_fetch(dataset: DatasetFile, shape: tuple[int, int, int], settings: Settings) -> Fetch:
    decoded = np.empty((settings.batch_size, *shape), np.uint8)
    readable = decoded.reshape(-1).view()
    offsets, failed = np.arange(settings.batch_size) * decoded[0].size, np.zeros(settings.batch_size, np.bool_)
    rows = np.arange(settings.batch_size)
    for array in (readable, offsets, rows):
        array.flags.writeable = False  # one type for the kernels, whether they read this or the file
    stored = (dataset.data, dataset.offsets, dataset.sizes, dataset.is_jpeg)

    def fetch(ids: np.ndarray):
        for_blocks(_decode, len(ids), *stored, ids, decoded, failed, threads=settings.num_threads)
        for i in np.flatnonzero(failed[: len(ids)]):
            # A warning (extra bytes) or an error (bytes lost): the strict decoder tells, and names the sample.
            decoded[i] = decode(dataset, ids[i])
        return readable, offsets, rows[: len(ids)]

    return fetch


@njit(nogil=True, cache=True)
def _jpeg_size(stream):
    """Height and width in the header of a JPEG stream, uint8 [n]; 0, 0 when there is none."""
    n = len(stream)
    if n < 4 or stream[0] != 0xFF or stream[1] != 0xD8:
        return 0, 0
    i = 2
    while i + 9 <= n and stream[i] == 0xFF:
        marker = stream[i + 1]
        if marker == 0xFF:  # a fill byte
            i += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker != 0xC4 and marker != 0xC8 and marker != 0xCC:  # a frame header
            return (int(stream[i + 5]) << 8) + stream[i + 6], (int(stream[i + 7]) << 8) + stream[i + 8]
        i += 2 + (int(stream[i + 2]) << 8) + stream[i + 3]
    return 0, 0


@njit(nogil=True, cache=True)
def _decode(first, last, data, offsets, sizes, is_jpeg, ids, out, failed):
    """Samples first..last-1 of a batch as stored pixels, `out` uint8 [B, H, W, 3]; failed[i]: no pixels for sample i.

    A stream whose size is not H x W is not decoded: FFCV would scale it and leave old bytes beside it.
    """
    height, width = out.shape[1], out.shape[2]
    for i in range(first, last):
        start, size = offsets[ids[i]], sizes[ids[i]]
        target, source = _U(out[i].ctypes.data), _U(data[start : start + size].ctypes.data)
        failed[i] = False
        if not is_jpeg[ids[i]]:
            copy(target, source, size)
        elif _jpeg_size(data[start : start + size]) != (height, width):
            failed[i] = True
        else:
            args = (_U32(height), _U32(width))
            status = _imdecode(source, _U(size), *args, target, *args, _U32(0), _U32(0), _U32(1), _U32(1), False, False)
            failed[i] = status != 0
