"""Batch norm over the batches of all ranks, on CPUs: torch's own, SyncBatchNorm, is for GPUs only."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]


class GlobalBatchNorm(_BatchNorm):
    """A batch norm whose statistics, in training, are those of the ranks' equally large batches together.

    Of inputs [B, C] or [B, C, ...]. Its gradients are those of the ranks' summed losses, as DistributedDataParallel
    wants them.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes will do."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        assert self.momentum is not None
        x, axes, behind = input.float(), (0, *range(2, input.ndim)), (1,) * (input.ndim - 2)
        mean_C = _over_ranks(x.mean(axes))
        centred = x - mean_C.view(-1, *behind)
        variance_C = _over_ranks(centred.square().mean(axes))
        with torch.no_grad():
            count = x.numel() // self.num_features * dist.get_world_size()
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean_C, self.momentum)
            self.running_var.lerp_(variance_C * (count / max(count - 1, 1)), self.momentum)
        scale_C = (variance_C + self.eps).rsqrt()
        if not self.affine:
            return (centred * scale_C.view(-1, *behind)).to(input.dtype)
        scale_C = scale_C * self.weight
        return (centred * scale_C.view(-1, *behind) + self.bias.view(-1, *behind)).to(input.dtype)


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
    """The model, its batch norms replaced by `GlobalBatchNorm` with the same parameters and running statistics.

    As SyncBatchNorm does on GPUs, of all kinds: one that stayed as it is would take the statistics of its rank's part.

    Raises:
        ValueError: a batch norm has no running statistics, or no momentum.
    """
    for parent in list(model.modules()):
        for name, norm in parent.named_children():
            if isinstance(norm, _BatchNorm):
                if norm.momentum is None or not norm.track_running_stats:
                    raise ValueError(
                        f"the network's {type(norm).__name__} {name!r} has no momentum or no running statistics, which "
                        "several ranks on CPUs need: give it both, or train in one process"
                    )
                replaced = GlobalBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine)
                replaced.weight, replaced.bias = norm.weight, norm.bias
                for buffer in ("running_mean", "running_var", "num_batches_tracked"):
                    setattr(replaced, buffer, getattr(norm, buffer))
                setattr(parent, name, replaced.train(norm.training))
    return model
