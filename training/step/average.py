"""The running average of a model's weights and statistics, which is what a run evaluates."""

# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false
# (torch's operators on many tensors at once have no public name)

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from training.schedules import Schedule


class Average(AveragedModel):
    """Follows a model by the decay of a schedule; its first update is the model itself.

    torch's own update reads the number of updates from the device, for which the host would wait in each step. Here the
    host counts the updates (`advance`), and the update itself (`follow`) takes its weight as a number or from a tensor.

    Attributes:
        module: the averaged model.
        n_averaged: int64 scalar on the CPU, the number of updates.
    """

    def __init__(self, model: nn.Module, schedule: Schedule):
        super().__init__(model, use_buffers=True)
        self._schedule = schedule

    def advance(self) -> float:
        """Count an update; returns the part of the way to the model by which the average is to move, in (0, 1]."""
        count = int(self.n_averaged)
        self.n_averaged += 1
        return 1 - self._schedule.decay(count) if count else 1.0

    @torch.no_grad()
    def follow(self, model: nn.Module, part: float | Tensor) -> None:
        """Move the average to the model by a part of the way; integer buffers, which are counters, are copied.

        Args:
            part: in (0, 1]; a number, or a float32 scalar on the model's device, which the host does not read.
        """
        mine, theirs = ([*module.parameters(), *module.buffers()] for module in (self.module, model))
        pairs = [pair for pair in zip(mine, theirs, strict=True) if pair[0].is_floating_point()]
        averages, values = ([pair[side].detach() for pair in pairs] for side in (0, 1))
        if isinstance(part, Tensor):  # a lerp over many tensors takes no such part
            steps = torch._foreach_sub(values, averages)
            torch._foreach_mul_(steps, part)
            torch._foreach_add_(averages, steps)
        else:
            torch._foreach_lerp_(averages, values, part)
        for average, value in zip(mine, theirs, strict=True):
            if not average.is_floating_point():
                average.copy_(value)

    def update_parameters(self, model: nn.Module) -> None:
        """Count an update and make it."""
        self.follow(model, self.advance())
