"""The control of the methods that choose within a batch: it keeps as many, at random."""

import numpy as np

from loaders.order.rounding import floor_fraction
from loaders.types import Batch, EpochPlan
from training.methods.base import Context, Scorer
from training.methods.within_batch.gathering import GatheringMethod, KeepOptions
from training.methods.within_batch.keyed_draws import random_bits, to_device
from training.step import batch_ops


class RandomBatch(GatheringMethod):
    """A random part of every batch: what selective backprop does without looking at the losses."""

    Options = KeepOptions

    def __init__(self, options: KeepOptions, context: Context):
        super().__init__(options.keep, options.design, context)

    def select(self, batch: Batch, plan: EpochPlan, index: int, score: Scorer) -> Batch | None:
        num = len(batch.images)
        bits = random_bits(plan, index * self.batch_size, num)
        positions = random_subset(bits, even_fraction(self.keep_fraction, num, index))
        return self.gather(batch_ops.take(batch, to_device(positions, batch.images.device)))


def random_subset(bits_B: np.ndarray, num: int) -> np.ndarray:
    """`num` positions of 0..B-1, every subset equally likely: those of the smallest bits; int64, ascending."""
    return np.sort(np.argsort(bits_B)[:num])


def even_fraction(fraction: float, batch_size: int, index: int) -> int:
    """How many of batch `index` (0, 1, ...) to keep so that floor(fraction * images) of all batches so far are kept."""
    so_far, before = (floor_fraction(batch_size * k, fraction) for k in (index + 1, index))
    return so_far - before
