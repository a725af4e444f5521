"""From a method's name and its options to the order of the epochs.

Knows what each name means; must not know how samples are drawn, nor what happens in a batch.
"""

import numpy as np

from loaders.policy import BY_NAME
from loaders.scheduler import IndexScheduler
from loaders.types import Snapshot
from training.config import Config


def make_scheduler(
    config: Config, num_samples: int, subset: np.ndarray | None = None, subset_weights: np.ndarray | None = None
) -> IndexScheduler:
    """The order of the epochs; tried once, so that what it compiles is not on the training clock.

    Args:
        subset, subset_weights: of a core-set (see `IndexScheduler`).

    Errors:
        ValueError: an unknown method or design, a batch larger than the plan, or a method that ignores the budget.
    """
    if config.method not in BY_NAME:
        raise ValueError(f"unknown method {config.method!r}: allowed are {', '.join(BY_NAME)}")
    scheduler = IndexScheduler(
        num_samples,
        policy=config.method,
        budget=config.draw_share,
        design=config.design,
        seed=config.seed,
        batch_size=config.batch_size,
        compat="arazo" if config.compat == "arazo" else None,
        subset=subset,
        subset_weights=subset_weights,
    )
    scores = np.linspace(0, 1, num_samples, dtype=np.float32)
    scheduler.plan(0, Snapshot(np.ones_like(scores), *[scores] * (len(Snapshot._fields) - 1)))
    if len(scheduler.plan(0)) != len(scheduler):
        raise ValueError(f"method {config.method} sets its own number of samples, which a budget does not allow")
    return scheduler
