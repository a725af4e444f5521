"""A uniform draw, made once: every epoch trains on the same subset."""

import numpy as np

from loaders.order.permutation import permutation
from loaders.order.rng import ORDER, fold_in
from loaders.order.rounding import floor_fraction
from training.methods.base import Context, DesignOption, Method


class Fixed(Method):
    """A random subset of the budget's size, drawn once for the whole run and shuffled in each epoch."""

    Options = DesignOption

    def __init__(self, options: DesignOption, context: Context):
        if context.subset is not None:
            raise ValueError("method fixed draws its own subset: use method uniform with a core-set")
        config, n = context.config, context.num_samples
        count = floor_fraction(n, config.draw_fraction)
        subset = np.sort(permutation(fold_in(config.seed, ORDER), n, 0, count))
        super().__init__(context.scheduler(design=options.design, subset=subset))
