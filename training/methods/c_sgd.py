"""c-SGD: samples that the network is undecided about more often."""

from loaders.order import policies
from training.methods.p_sgd import PSGD


class CSGD(PSGD):
    """Weight s (1 - s) of the averaged error s, plus its mean (c-SGD of Arazo et al., section 3; threshold closeness
    of Chang et al., NIPS 2017)."""

    policy = staticmethod(policies.c_sgd)
