"""From settings to optimisers: which parameter is stepped by what, and how fast. Knows no step and no batch."""

import torch
from torch import nn

from training.config import Config
from training.models import parameter_groups
from training.muon import Muon


def build_optimizers(model: nn.Module, config: Config) -> list[torch.optim.Optimizer]:
    """One optimiser, or Muon for the convolution filters and SGD for the rest; each group has its `base_lr`."""
    groups = parameter_groups(model)
    muon = config.optimizer == "muon" and groups["filters"]
    sgd_params = [p for kind, params in groups.items() for p in params if not (muon and kind == "filters")]
    sgd = torch.optim.SGD(
        [{"params": sgd_params, "base_lr": config.lr}],
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov and config.momentum > 0,
        weight_decay=config.weight_decay,
    )
    if not muon:
        return [sgd]
    return [Muon([{"params": groups["filters"], "base_lr": config.muon_lr}], lr=config.muon_lr), sgd]
