"""From settings to optimisers: which parameter is stepped by what, and how fast."""

from typing import Any

import torch
from torch import nn

from training.config import Config
from training.machine.precision import has_native_bf16
from training.models.build import parameter_groups
from training.optim.muon import Muon


def build_optimizers(model: nn.Module, config: Config) -> list[torch.optim.Optimizer]:
    """SGD alone, or Muon for the convolution filters and SGD for the rest.

    Returns:
        optimisers whose groups each have `base_lr`, the rate at the first step.

    Raises:
        ValueError: Muon is asked for, and the network has no convolution.
    """
    groups = parameter_groups(model)
    if config.optimizer == "sgd":
        return [_sgd([_group([p for params in groups.values() for p in params], config.lr)], config)]
    filters = groups["filters"]
    if not filters:
        raise ValueError(f"model {config.model} has no convolution filters for Muon: give --optimizer sgd and --lr")
    in_bf16 = config.precision in ("auto", "bf16") and has_native_bf16(filters[0].device)
    dtype = torch.bfloat16 if in_bf16 else torch.float32
    muon = Muon([_group(filters, config.muon_lr)], lr=config.muon_lr, dtype=dtype)
    return [muon, _sgd([_group(groups["biases"], config.lr), _group(groups["head"], config.head_lr)], config)]


def _group(params: list[nn.Parameter], base_lr: float) -> dict[str, Any]:
    return {"params": params, "lr": base_lr, "base_lr": base_lr}


def _sgd(groups: list[dict[str, Any]], config: Config) -> torch.optim.SGD:
    nesterov = config.nesterov and config.momentum > 0
    return torch.optim.SGD(groups, momentum=config.momentum, nesterov=nesterov, weight_decay=config.weight_decay)
