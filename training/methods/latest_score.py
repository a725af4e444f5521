"""Samples with a large latest loss, or a large latest EL2N, more often."""

from dataclasses import dataclass

from loaders.order import policies
from loaders.order.policies import Policy, mixture
from training.methods.base import Context, Method, WeightedOptions


@dataclass(frozen=True)
class SmoothedOptions(WeightedOptions):
    """how samples are drawn

    Args:
        smoothing: fraction of the draws that is uniform
    """

    smoothing: float = 0.0


class Weighted(Method):
    """Draw by the weights of a policy, part of the draws uniform."""

    Options = SmoothedOptions
    chooses = True
    policy: Policy

    def __init__(self, options: SmoothedOptions, context: Context):
        policy = mixture(self.policy, options.smoothing) if options.smoothing else self.policy
        super().__init__(context.scheduler(policy, design=options.design), options.warmup_epochs)


class Loss(Weighted):
    """Weight by the latest loss of a sample."""

    policy = staticmethod(policies.loss)


class EL2N(Weighted):
    """Weight by the latest |softmax - onehot| of a sample (Paul et al., "Deep learning on a data diet", 2021)."""

    policy = staticmethod(policies.el2n)
