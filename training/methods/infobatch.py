"""InfoBatch: part of the samples that are easy already is left out of an epoch, and the rest of them weighs more."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial

from loaders.order import policies
from loaders.order.scheduler import IndexScheduler
from training.methods.base import Context, Method


@dataclass(frozen=True)
class InfoBatchOptions:
    """how much is left out

    Args:
        prune_ratio: fraction of the samples below the mean loss that is left out
        prune_until: fraction of the budget from which on none is left out
    """

    prune_ratio: float = 0.5
    prune_until: float = 0.875

    def __post_init__(self):
        if not 0 <= self.prune_until <= 1:
            raise ValueError(f"prune_until is at least 0 and at most 1, got {self.prune_until:g}")


class InfoBatch(Method):
    """An epoch is all samples but a random part of those below the mean loss, whose rest weighs 1 / (1 - ratio) (Qin et
    al., "InfoBatch", ICLR 2024)."""

    Options = InfoBatchOptions
    even_epochs = False
    own_length = True

    def __init__(self, options: InfoBatchOptions, context: Context):
        super().__init__(context.scheduler_of_own_length(partial(policies.infobatch, ratio=options.prune_ratio)))
        self.prune_until = options.prune_until

    def scheduler_of(self, epoch: int, progress: float) -> IndexScheduler:
        if progress >= self.prune_until:
            return dataclasses.replace(self.scheduler, policy="uniform")
        return self.scheduler
