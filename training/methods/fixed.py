"""A uniform draw, made once: every epoch trains on the same subset."""

import numpy as np

from loaders.order.permutation import permutation
from loaders.order.rng import ORDER, fold_in
from loaders.order.rounding import floor_fraction
from training.methods.base import Context, DesignOption, Method


class Fixed(Method):
    """A random subset of the budget's size, drawn once for the whole run and shuffled in each epoch."""

    Options = DesignOption
    chooses = True

    def __init__(self, options: DesignOption, context: Context):
        if context.config.coreset is not None:
            raise ValueError("method fixed draws its own subset: use method uniform with a core-set")
        items = np.arange(context.num_samples) if context.subset is None else context.subset
        count = floor_fraction(len(items), context.fraction)
        subset = np.sort(items[permutation(fold_in(context.config.seed, ORDER), len(items), 0, count)])
        super().__init__(context.scheduler(design=options.design, subset=subset))
