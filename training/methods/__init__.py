"""The methods by name. A new method is one file with a class, and one line here."""

from dataclasses import replace
from typing import Any

from training.budget import draw_fraction
from training.methods.active_bias import ActiveBias
from training.methods.base import Context, Method, trial_snapshots
from training.methods.c_sgd import CSGD
from training.methods.fixed import Fixed
from training.methods.infobatch import InfoBatch
from training.methods.latest_score import EL2N, Loss
from training.methods.orderdp import OrderDP
from training.methods.own_policy import OwnPolicy
from training.methods.p_sgd import PSGD
from training.methods.rank import Rank
from training.methods.scan import Scan
from training.methods.seta import SeTa
from training.methods.uniform import Uniform
from training.methods.within_batch.divbs import DivBS
from training.methods.within_batch.evolved_sampling import EvolvedSampling
from training.methods.within_batch.grad_norm import GradNorm
from training.methods.within_batch.ordered_sgd import OrderedSGD
from training.methods.within_batch.proxy_filter import ProxyFilter
from training.methods.within_batch.random_batch import RandomBatch
from training.methods.within_batch.rho_loss import RHOLoss
from training.methods.within_batch.selective_backprop import SelectiveBackprop
from training.own_code import is_own

METHODS: dict[str, type[Any]] = {
    "uniform": Uniform,
    "scan": Scan,
    "fixed": Fixed,
    "p-sgd": PSGD,
    "c-sgd": CSGD,
    "active-bias": ActiveBias,
    "rank": Rank,
    "loss": Loss,
    "el2n": EL2N,
    "infobatch": InfoBatch,
    "seta": SeTa,
    "orderdp": OrderDP,
    "selective-backprop": SelectiveBackprop,
    "es": EvolvedSampling,
    "divbs": DivBS,
    "rho-loss": RHOLoss,
    "proxy-filter": ProxyFilter,
    "ordered-sgd": OrderedSGD,
    "grad-norm": GradNorm,
    "random-batch": RandomBatch,
}


def method_class(name: str) -> type[Any]:
    """The class of a method's name, or of FILE.py:FUNCTION: a `Method` made from its options and a `Context`.

    Raises:
        ValueError: an unknown name.
    """
    if is_own(name):
        return OwnPolicy
    if name not in METHODS:
        raise ValueError(
            f"unknown method {name[:100]!r}: allowed are {', '.join(METHODS)}, or FILE.py:FUNCTION for your own"
        )
    return METHODS[name]


def make_method(context: Context) -> Method:
    """The method that the settings name; tried once, so that what it compiles is not on the training clock.

    Raises:
        ValueError: an unknown method, an option out of bounds, or a batch larger than an epoch.
    """
    config = context.config
    kind = method_class(config.method)
    context = replace(context, fraction=draw_fraction(config, kind.chooses))
    method = kind(config.options or kind.Options(), context)
    for known in trial_snapshots(context.num_samples):
        if len(method.scheduler.plan(0, known)) != len(method.scheduler) and method.even_epochs:
            raise ValueError(f"method {config.method} sets its own number of samples, which a budget does not allow")
    return method
