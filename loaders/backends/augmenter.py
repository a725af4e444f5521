"""Augment images that lie in memory: the part that the backends on the CPU share.

Knows the kernels and their arguments. Knows no file, no buffer and no thread.
"""

import numpy as np
import torch

from loaders.augment.config import Augment
from loaders.augment.mixers import Mixup, draw_mix
from loaders.augment.normalisation import normalisation_table
from loaders.backends.batching import Span
from loaders.backends.buffer_pool import patterns
from loaders.kernels import augment_cpu as kernels
from loaders.kernels import mix_cpu as mix_kernels
from loaders.threads import for_blocks
from loaders.types import EpochPlan, Mix


class Augmenter:
    """Fills batches with augmented images.

    Args:
        shape: (H, W, 3) of the images.
        dtype: of the batches.
        augment: what to do to an image.
        num_threads: None takes the cores that the process may use.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: torch.dtype, augment: Augment, num_threads: int | None):
        check_padding(augment, shape)
        self.augment, self.num_threads = augment, num_threads
        if dtype == torch.uint8:
            self._kernels, self._values = (kernels.pixels, mix_kernels.boxed_pixels, mix_kernels.blended_pixels), ()
        else:
            self._kernels = (kernels.normalised, mix_kernels.boxed_normalised, mix_kernels.blended_normalised)
            self._values = _values(augment, torch.float32 if isinstance(augment.mixer, Mixup) else dtype)

    def fill(
        self, plan: EpochPlan, span: Span, data: np.ndarray, offsets: np.ndarray, ids: np.ndarray, out: np.ndarray
    ) -> Mix | None:
        """Fill out[: len(ids)] with the images at data[offsets[ids]], drawn for the positions of `span`.

        Returns:
            how they were mixed; None without a mixer.
        """
        augment = self.augment
        recipe = kernels.Recipe(
            np.uint64(plan.key),
            plan.rank + plan.world_size * span.first,
            plan.world_size,
            augment.crop_padding,
            augment.pad_mode == "reflect",
            augment.flip,
            augment.cutout,
        )
        args, options = (data, offsets, ids, out, recipe, *self._values), {"threads": self.num_threads}
        plain, boxed, blended = self._kernels
        if augment.mixer is None:
            for_blocks(plain, len(ids), *args, **options)
            return None
        mixed = draw_mix(augment.mixer, plan.key, recipe.position, len(ids), *out.shape[1:3])
        if mixed.blend < 0:
            for_blocks(boxed, len(ids), *args, mixed.partners, mixed.boxes, **options)
        else:
            order = mix_kernels.cycles(mixed.partners)
            for_blocks(blended, len(ids), *args, mixed.partners, mixed.blend, order, **options)
        return Mix(torch.from_numpy(mixed.partners), torch.from_numpy(mixed.shares))


def check_padding(augment: Augment, shape: tuple[int, int, int]) -> None:
    """An image is reflected once at most.

    Raises:
        ValueError: it would be more often.
    """
    height, width, _ = shape
    if augment.pad_mode == "reflect" and augment.crop_padding >= min(height, width):
        raise ValueError(
            f"reflecting {augment.crop_padding} pixels needs a larger image than {height} x {width}: "
            "lower crop_padding, or use pad_mode='zero'"
        )


def _values(augment: Augment, dtype: torch.dtype) -> tuple:
    """The last arguments of `kernels.normalised`: table, scale, shift, and whether the formula may be used.

    The formula is about twice as fast as the table. It is used when it gives the table's bits for all 256 values.
    """
    table = patterns(torch.from_numpy(normalisation_table(augment)).to(dtype))
    mean, std = np.float64(augment.mean), np.float64(augment.std)
    scale, shift = np.tile(1 / (255 * std), 8), np.tile(-mean / std, 8)
    every_byte = np.repeat(np.arange(256, dtype=np.uint8), 3)
    every_byte.flags.writeable = False
    offsets = np.zeros(1, np.int64)
    offsets.flags.writeable = False
    recipe = kernels.Recipe(np.uint64(0), 0, 1, 0, False, False, 0)
    out = np.empty((1, 16, 16, 3), table.dtype)
    kernels.normalised(0, 1, every_byte, offsets, offsets, out, recipe, table, scale, shift, True)
    return table, scale, shift, np.array_equal(out.reshape(256, 3).T.view(_bits(table)), table.view(_bits(table)))


def _bits(table: np.ndarray) -> np.dtype:
    """An integer type of the table's width: zeros of both signs and NaNs compare as they are."""
    return np.dtype(f"u{table.itemsize}")
