"""Selective backprop: images with a large loss, among the recent ones, stay with a larger chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from loaders.types import Batch, EpochPlan
from training.methods.base import Context, Scorer
from training.methods.within_batch.gathering import GatheringMethod, KeepOptions, all_positions
from training.methods.within_batch.keyed_draws import random_bits, uniforms
from training.step import batch_ops
from training.step.losses import LossFailure, sample_losses

HISTORY = 1024
"""Losses that are remembered (Jiang et al. 2019, and their code)."""


@dataclass(frozen=True)
class SelectiveBackpropOptions(KeepOptions):
    """how many images stay, and how samples are drawn

    Args:
        keep: fraction of the images of a batch that stays in the mean (the exponent is 1/keep - 1); the budget when not
            given
    """


class SelectiveBackprop(GatheringMethod):
    """One forward pass per image for its loss; it is trained on with chance (percentile of the loss)^(1/keep - 1)
    (Jiang et al., "Accelerating deep learning by focusing on the biggest losers", 2019)."""

    Options = SelectiveBackpropOptions
    makes_passes = True

    def __init__(self, options: SelectiveBackpropOptions, context: Context):
        super().__init__(options.keep, options.design, context)
        self.label_smoothing = context.config.label_smoothing
        self.is_arazo = context.config.compat == "arazo"  # train on all of the first epoch, and percentiles are strict
        self.history = torch.zeros(0, device=self.device)
        self.passed_over = 0  # images since the last one that stayed

    def select(self, batch: Batch, plan: EpochPlan, index: int, score: Scorer) -> Batch | None:
        batch = batch_ops.own(batch)
        num = len(batch.images)
        losses_B = sample_losses(score(batch), batch.labels, batch.mix, self.label_smoothing)
        is_first = self.is_arazo and plan.epoch == 0  # theirs remembers nothing of the first epoch
        if not is_first:
            self.history = remember(self.history, losses_B)
            is_first = not self.is_arazo and len(self.history) < HISTORY
        if is_first:
            positions = all_positions(batch)
        else:
            draws = uniforms(random_bits(plan, index * self.batch_size, num), losses_B.device)
            positions = keep_by_loss(losses_B, self.history, 1 / self.keep_fraction - 1, draws, self.is_arazo)
        self.passed_over = 0 if len(positions) else self.passed_over + num
        if self.passed_over * self.keep_fraction > 100:
            raise LossFailure(
                f"selective-backprop has kept none of the last {self.passed_over:,} images, as their losses are all "
                "equal: lower the learning rate, or choose another method"
            )
        return self.gather(batch_ops.take(batch, positions))

    def describe(self) -> dict[str, float]:
        return {"remembered": len(self.history)}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "history": self.history, "passed_over": self.passed_over}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.history, self.passed_over = state["history"].to(self.device), state["passed_over"]


def percentiles(losses_B: Tensor, history_H: Tensor, strict: bool = False) -> Tensor:
    """The fraction of remembered losses that lie below each loss: float64 [B].

    Args:
        strict: count the smaller ones only, as the code of Jiang et al. (2019) does. By default an equal one counts
            half: for losses without ties that is half a place more, and losses that are all equal are kept with chance
            (1/2)^beta instead of never.
    """
    ordered = history_H.sort().values
    below = torch.searchsorted(ordered, losses_B)
    upto = below if strict else torch.searchsorted(ordered, losses_B, right=True)
    return (below + upto).double() / (2 * len(history_H))


def keep_by_loss(losses_B: Tensor, history_H: Tensor, beta: float, uniforms_B: Tensor, strict: bool = False) -> Tensor:
    """Which images stay: each with chance percentile^beta (Jiang et al. 2019, section 3).

    Percentiles of losses are uniform in [0, 1], so in the mean 1 / (beta + 1) of the images stay. The host waits for
    their number, since what follows has that shape.

    Args:
        losses_B: of a batch of candidates.
        history_H: the losses before, theirs included.
        uniforms_B: float64 in [0, 1).

    Returns:
        positions, int64 [K], ascending.
    """
    return (uniforms_B < percentiles(losses_B, history_H, strict) ** beta).nonzero().squeeze(1)


def remember(history_H: Tensor, losses_B: Tensor) -> Tensor:
    """The last HISTORY losses."""
    return torch.cat([history_H, losses_B])[-HISTORY:]
