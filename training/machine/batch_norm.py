"""Batch norm over the batches of all ranks, on CPUs: torch's own, SyncBatchNorm, is for GPUs only."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose statistics, in training, are those of the ranks' equally large batches together.

    Its gradients are those of the ranks' summed losses, as DistributedDataParallel wants them.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        assert self.momentum is not None
        x_BCHW, axes = input.float(), (0, 2, 3)
        mean_C = _over_ranks(x_BCHW.mean(axes))
        centred_BCHW = x_BCHW - mean_C[:, None, None]
        variance_C = _over_ranks(centred_BCHW.square().mean(axes))
        with torch.no_grad():
            count = x_BCHW.numel() // self.num_features * dist.get_world_size()
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean_C, self.momentum)
            self.running_var.lerp_(variance_C * (count / max(count - 1, 1)), self.momentum)
        scale_C = (variance_C + self.eps).rsqrt() * self.weight
        return (centred_BCHW * scale_C[:, None, None] + self.bias[:, None, None]).to(input.dtype)


class _MeanOverRanks(torch.autograd.Function):
    """The mean of the ranks' tensors; so is its gradient that of the ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, mean_C: Tensor) -> Tensor:
        total_C = mean_C.detach().clone()
        dist.all_reduce(total_C)
        return total_C / dist.get_world_size()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return _MeanOverRanks.forward(ctx, grad_outputs[0])


def _over_ranks(mean_C: Tensor) -> Tensor:
    mean: Tensor = _MeanOverRanks.apply(mean_C)  # pyright: ignore[reportAssignmentType]
    return mean


def over_all_ranks(model: nn.Module) -> nn.Module:
    """The model, its batch norms replaced by `GlobalBatchNorm2d` with the same parameters and running statistics."""
    for parent in list(model.modules()):
        for name, norm in parent.named_children():
            if type(norm) is nn.BatchNorm2d:
                replaced = GlobalBatchNorm2d(norm.num_features, norm.eps, norm.momentum)
                replaced.weight, replaced.bias = norm.weight, norm.bias
                for buffer in ("running_mean", "running_var", "num_batches_tracked"):
                    setattr(replaced, buffer, getattr(norm, buffer))
                setattr(parent, name, replaced.train(norm.training))
    return model
