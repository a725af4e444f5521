"""OrderDP: the samples with the largest losses of a pool that is drawn uniformly."""

from dataclasses import dataclass

from training.methods.base import Context, Method


@dataclass(frozen=True)
class OrderDPOptions:
    """how large the pool is

    Args:
        warmup_epochs: number of first epochs that are drawn uniformly
        pool_fraction: fraction of the training set in the pool; budget / 0.6 when not given
    """

    warmup_epochs: int = 0
    pool_fraction: float | None = None

    def __post_init__(self):
        if self.warmup_epochs < 0:
            raise ValueError(f"warmup_epochs must not be negative, got {self.warmup_epochs}")


class OrderDP(Method):
    """The top of a uniform pool by the latest loss, samples never seen first (OrderDP, ICLR 2026)."""

    Options = OrderDPOptions
    chooses = True

    def __init__(self, options: OrderDPOptions, context: Context):
        budget = context.fraction
        pool = min(1.0, budget / 0.6) if options.pool_fraction is None else options.pool_fraction
        if not budget <= pool <= 1:
            raise ValueError(f"pool_fraction is at least {budget:g}, the budget, and at most 1, got {pool:g}")
        super().__init__(context.scheduler("orderdp", design="pool", pool=context.of_all(pool)), options.warmup_epochs)
