"""Online batch selection: the larger the rank of a sample's latest loss, the likelier it is drawn."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial

from loaders.order import policies
from loaders.order.scheduler import IndexScheduler
from training.methods.base import Context, Method, WeightedOptions


@dataclass(frozen=True)
class RankOptions(WeightedOptions):
    """how steeply the ranks of the losses count, and how samples are drawn

    Args:
        pressure: weight of the hardest sample over that of the easiest; drawn without replacement, its visits exceed
            the easiest's by less (40 times for 100 at a budget of 0.3); design replacement gives the ratio itself
        final_pressure: the same at the end of the run, reached geometrically; that of the beginning when not given
    """

    pressure: float = 100.0
    final_pressure: float | None = None

    def __post_init__(self):
        super().__post_init__()
        if not min(self.pressure, 1 if self.final_pressure is None else self.final_pressure) >= 1:
            raise ValueError(f"pressures are at least 1, got {self.pressure:g} and {self.final_pressure}")


class Rank(Method):
    """Weights that decay exponentially in the rank of the latest loss (Loshchilov and Hutter, "Online batch selection
    for faster training of neural networks", ICLR 2016 workshop)."""

    Options = RankOptions
    chooses = True

    def __init__(self, options: RankOptions, context: Context):
        policy = partial(policies.rank, pressure=options.pressure)
        super().__init__(context.scheduler(policy, design=options.design), options.warmup_epochs)
        self.options = options

    def scheduler_of(self, epoch: int, progress: float) -> IndexScheduler:
        first, last = self.options.pressure, self.options.final_pressure
        if epoch < self.warmup_epochs or last is None or last == first:
            return super().scheduler_of(epoch, progress)
        policy = partial(policies.rank, pressure=first * (last / first) ** progress)
        return dataclasses.replace(self.scheduler, policy=policy)
