"""p-SGD: samples that the network gets wrong more often."""

from dataclasses import dataclass
from functools import partial

from loaders.order import policies
from training.methods.base import Context, Method, WeightedOptions


@dataclass(frozen=True)
class ErrorOptions(WeightedOptions):
    """by which error samples are weighted, and how they are drawn

    Args:
        score: mean of the errors over all visits (as published), the latest one, or a moving average
        score_decay: what is left of that moving average when an epoch's error comes in
        smoothing: fraction of the draws that is uniform; 0.5 as published
    """

    score: policies.Score = "mean"
    score_decay: float = 0.9
    smoothing: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing must be at least 0 and below 1, got {self.smoothing:g}")


class PSGD(Method):
    """Weight 1 - p(true class), averaged over the visits so far, plus its mean (p-SGD of Arazo et al., section 3)."""

    Options = ErrorOptions
    chooses = True
    policy = staticmethod(policies.p_sgd)

    def __init__(self, options: ErrorOptions, context: Context):
        is_arazo = context.config.compat == "arazo"
        policy = partial(
            self.policy,
            compat="arazo" if is_arazo else None,
            score=options.score,
            smoothing=options.smoothing,
        )
        # The reference counts epochs from one and draws uniformly while epoch < W: W means W - 1.
        warmup_epochs = max(0, options.warmup_epochs - is_arazo)
        super().__init__(context.scheduler(policy, design=options.design), warmup_epochs)
        self.score_decay = options.score_decay
