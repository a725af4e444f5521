"""Augment images that lie in host memory: what all backends on the CPU share once they have the bytes."""

from collections.abc import Callable

import numpy as np
import torch

from ..augment.config import Augment
from ..augment.erasing import prepare_erasing
from ..augment.mixers import Mixup, draw_mix
from ..augment.normalisation import normalisation_table
from ..kernels import augment_cpu, mix_cpu
from ..threads import for_blocks
from ..types import EpochPlan, Mix
from .batching import Span, patterns

# Blends are computed in float32 and then rounded.
_ROUND: dict[torch.dtype, Callable[..., None]] = {
    torch.bfloat16: mix_cpu.to_bfloat16,
    torch.float16: mix_cpu.to_float16,
}


class Augmenter:
    """Fills batches with augmented images.

    Args:
        shape: (H, W, 3) of the images.
        dtype: of the batches.
        augment: what happens to an image.
        num_threads: threads for one batch; None takes the cores that the process may use.

    Raises:
        ValueError: the images are too small for the padding.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: torch.dtype, augment: Augment, num_threads: int | None):
        check_padding(augment, shape)
        self.augment, self.num_threads, self._erasing = augment, num_threads, prepare_erasing(augment.erasing)
        self._round = _ROUND.get(dtype) if isinstance(augment.mixer, Mixup) else None
        if dtype == torch.uint8:
            self._kernels = augment_cpu.pixels, mix_cpu.boxed_pixels, mix_cpu.blended_pixels
            self._table = ()
        else:
            self._kernels = augment_cpu.normalised, mix_cpu.boxed_normalised, mix_cpu.blended_normalised
            table = torch.from_numpy(normalisation_table(augment))
            self._table = (patterns(table if self._round else table.to(dtype)),)

    def fill(
        self, plan: EpochPlan, span: Span, data: np.ndarray, offsets: np.ndarray, ids: np.ndarray, out: np.ndarray
    ) -> Mix | None:
        """Fill a batch with augmented images, drawn for the positions of `span` in `plan`.

        Args:
            plan: of the epoch.
            span: the batch's positions in the plan.
            data: uint8, pixels of all images.
            offsets: int64, the first byte of each image in `data`.
            ids: int64 [B], into `offsets`.
            out: [at least B, H, W, 3], the batch; 16-bit floats as bit patterns.

        Returns:
            How the images were mixed; None without a mixer.
        """
        augment, threads = self.augment, self.num_threads
        recipe = augment_cpu.Recipe(
            np.uint64(plan.key),
            plan.rank + plan.world_size * span.first,
            plan.world_size,
            augment.crop_padding,
            augment.pad_mode == "reflect",
            augment.flip is True,
            augment.cutout,
            augment.vertical_flip,
        )
        extras, alternating = None, augment.flip == "alternating"
        if alternating or augment.erasing is not None:
            samples = plan.ids[span.first : span.last]
            extras = augment_cpu.Extras(self._erasing, alternating, plan.epoch % 2, np.uint64(plan.run_key), samples)
        plain, boxed, blended = self._kernels
        if augment.mixer is None:
            for_blocks(plain, len(ids), data, offsets, ids, out, recipe, extras, *self._table, threads=threads)
            return None
        mixed = draw_mix(augment.mixer, plan.key, recipe.position, len(ids), *out.shape[1:3])
        target = out if self._round is None else np.empty(out.shape, np.float32)
        args = (data, offsets, ids, target, recipe, extras, *self._table)
        if mixed.blend < 0:
            for_blocks(boxed, len(ids), *args, mixed.partners, mixed.boxes, threads=threads)
        else:
            order = mix_cpu.cycles(mixed.partners)
            for_blocks(blended, len(ids), *args, mixed.partners, mixed.blend, order, threads=threads)
        if self._round is not None:
            for_blocks(self._round, len(ids), target, out, threads=threads)
        return Mix(torch.from_numpy(mixed.partners), torch.from_numpy(mixed.shares))


def check_padding(augment: Augment, shape: tuple[int, int, int]) -> None:
    """Refuse a padding that would reflect an image more than once.

    Raises:
        ValueError: the padding is as large as the image, or larger.
    """
    height, width, _ = shape
    if augment.pad_mode == "reflect" and augment.crop_padding >= min(height, width):
        raise ValueError(
            f"reflecting {augment.crop_padding} pixels needs a larger image than {height} x {width}: "
            "lower crop_padding, or use pad_mode='zero'"
        )
