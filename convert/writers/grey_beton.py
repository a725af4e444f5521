"""Writes a `.beton` of grey images: FFCV's field of arrays, uint8 [H, W, 1], beside the label.

FFCV's field of images holds three channels, and its Loader would read beyond an image of one. Arrays of one channel it
reads, with NDArrayDecoder.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from convert.writers.arrays import check_arrays
from convert.writers.beton import write_raw
from loaders.formats.beton_layout import ARRAY, ARRAY_TYPE, INT_TYPE


def write_grey_beton(
    path: str | Path,
    images_NHWC: np.ndarray,
    labels_N: np.ndarray,
    on_samples: Callable[[int], None] | None = None,
) -> None:
    """Write grey images and labels as a `.beton` with fields `image` and `label`; sample id i is row i.

    Arguments and errors are those of `write_beton`, but that the images are uint8 [N, H, W, 1].
    """
    images_NHWC, labels_N = check_arrays(images_NHWC, labels_N)
    array, described = np.zeros(1, ARRAY), json.dumps(np.dtype(np.uint8).descr).encode()
    array["shape"][0, :3], array["type_length"] = images_NHWC.shape[1:], len(described)
    arguments = array.tobytes() + described
    write_raw(path, images_NHWC, labels_N, on_samples, {"image": ARRAY_TYPE, "label": INT_TYPE}, arguments)
