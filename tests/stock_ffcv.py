"""What FFCV's own Loader reads from a file.

It runs in a process of its own: it marks Numba's type of uint8 arrays read-only for the whole process
(docs/formats.md), and what other libraries compile after that may fail.
"""

import itertools
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np


def read_by_stock_ffcv(*paths: Path, side: int | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """All of each file in its order: uint8 [N, H, W, 3] as stored, or centre crops of `side` pixels, and labels [N]."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return list(pool.map(_read, map(str, paths), itertools.repeat(side), timeout=400))


def _read(path: str, side: int | None) -> tuple[np.ndarray, np.ndarray]:
    from ffcv.fields.decoders import CenterCropRGBImageDecoder, IntDecoder, SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption

    decoder = SimpleRGBImageDecoder() if side is None else CenterCropRGBImageDecoder((side, side), 1.0)
    pipelines = {"image": [decoder], "label": [IntDecoder()]}
    loader = Loader(path, 8, 1, order=OrderOption.SEQUENTIAL, pipelines=pipelines, drop_last=False)
    images, labels = zip(*((images.copy(), labels.ravel().copy()) for images, labels in loader), strict=True)
    return np.concatenate(images), np.concatenate(labels)
