"""Active bias: samples whose prediction varies more often."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

from loaders.order import policies
from training.methods.base import Context, DesignOption, Method


@dataclass(frozen=True)
class ActiveBiasOptions(DesignOption):
    """how uncertainty is measured, and how samples are drawn

    Args:
        warmup_epochs: number of first epochs that are drawn uniformly; a tenth of the epochs when not given
        uncertainty: variance of p(true class) over the visits, or closeness p (1 - p) of its mean
        smoothing: fraction of the draws that is uniform; 0.5 as published
    """

    warmup_epochs: int | None = None
    uncertainty: Literal["variance", "closeness"] = "variance"
    smoothing: float = 0.5

    def __post_init__(self):
        if (self.warmup_epochs or 0) < 0:
            raise ValueError(f"warmup_epochs must not be negative, got {self.warmup_epochs}")


class ActiveBias(Method):
    """Weight by the uncertainty of the prediction (Chang, Learned-Miller and McCallum, "Active bias", NIPS 2017)."""

    Options = ActiveBiasOptions
    chooses = True

    def __init__(self, options: ActiveBiasOptions, context: Context):
        policy = partial(policies.active_bias, kind=options.uncertainty, smoothing=options.smoothing)
        tenth = max(1, context.config.epochs // 10)
        warmup_epochs = tenth if options.warmup_epochs is None else options.warmup_epochs
        super().__init__(context.scheduler(policy, design=options.design), warmup_epochs)
