"""The oracle: what every backend must deliver, written one picture and one step at a time in NumPy.

Slow on purpose. It shares the draws and the normalisation table with the other backends, and no pixel code.
"""

import io
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image

from loaders.augment import CROP_X, CROP_Y, CUTOUT_X, CUTOUT_Y, FLIP, Augment, draw, normalisation_table
from loaders.batches import check_batching, columns, nchw, one_size, spans
from loaders.dataset import DatasetFile
from loaders.types import Batch, EpochPlan


class ReferenceBackend:
    """Delivers a data set without a thread, a buffer or a trick.

    Args:
        dataset, batch_size, dtype, augment, drop_last: as in `loaders.make_loader`.
        num_threads, pinned: taken like in the other backends, and not used.
    """

    def __init__(
        self,
        dataset: DatasetFile,
        batch_size: int,
        dtype: torch.dtype = torch.float32,
        augment: Augment = Augment(),  # noqa: B008 (frozen)
        drop_last: bool = False,
        num_threads: int | None = None,
        pinned: bool = False,
    ):
        check_batching(batch_size, dtype)
        self.shape = one_size(dataset, "reference")
        self.dataset, self.batch_size, self.dtype = dataset, batch_size, dtype
        self.augment, self.drop_last = augment, drop_last

    def epoch(self, plan: EpochPlan, start_batch: int = 0) -> Iterator[Batch]:
        """The batches of a plan, from `start_batch` on."""
        todo = spans(plan, self.dataset, self.batch_size, self.drop_last, start_batch)
        return self._batches(plan, todo)

    def _batches(self, plan: EpochPlan, todo) -> Iterator[Batch]:
        beside = columns(plan, self.dataset)
        for span in todo:
            ids, positions = plan.ids[span.first : span.last], plan.positions[span.first : span.last]
            pixels = np.stack([augmented(decode(self.dataset, i), self.augment, plan.key, p) for i, p in
                               zip(ids, positions, strict=True)])  # fmt: skip
            images = pixels if self.dtype == torch.uint8 else normalised(pixels, self.augment)
            yield Batch(nchw(torch.from_numpy(images)).to(self.dtype), **beside.slice(span))


def decode(dataset: DatasetFile, sample: int) -> np.ndarray:
    """One picture as it was stored: uint8 [H, W, 3]."""
    stored, shape = dataset.bytes(sample), (dataset.heights[sample], dataset.widths[sample], 3)
    if not dataset.is_jpeg[sample]:
        return stored.reshape(shape)
    try:
        pixels = np.asarray(Image.open(io.BytesIO(stored.tobytes()), formats=["JPEG"]).convert("RGB"))
    except OSError as error:
        raise ValueError(f"{dataset.path}: the JPEG of sample {sample} cannot be decoded: {error}") from error
    if pixels.shape != shape:
        raise ValueError(f"{dataset.path}: the JPEG of sample {sample} is {pixels.shape}, its record says {shape}")
    return pixels


def augmented(image_HWC: np.ndarray, augment: Augment, key: int, position: int) -> np.ndarray:
    """Pad and crop, flip, cut out: uint8 [H, W, 3] from the draws of one global position."""

    def drawn(slot: int, n: int) -> int:
        return int(draw(key, np.array([position]), slot, n)[0])

    height, width, _ = image_HWC.shape
    p = augment.crop_padding
    if p:
        mode = "constant" if augment.pad_mode == "zero" else "reflect"
        padded = np.pad(image_HWC, ((p, p), (p, p), (0, 0)), mode=mode)
        y, x = drawn(CROP_Y, 2 * p + 1), drawn(CROP_X, 2 * p + 1)
        image_HWC = padded[y : y + height, x : x + width]
    if augment.flip and drawn(FLIP, 2):
        image_HWC = image_HWC[:, ::-1]
    if augment.cutout:
        y, x = drawn(CUTOUT_Y, height) - augment.cutout // 2, drawn(CUTOUT_X, width) - augment.cutout // 2
        image_HWC = image_HWC.copy()
        image_HWC[max(y, 0) : max(y + augment.cutout, 0), max(x, 0) : max(x + augment.cutout, 0)] = 0
    return image_HWC


def normalised(images_NHWC: np.ndarray, augment: Augment) -> np.ndarray:
    """float32 of the same shape: (pixel / 255 - mean) / std, through the table."""
    table = normalisation_table(augment)
    return np.stack([table[c][images_NHWC[..., c]] for c in range(3)], axis=-1)
