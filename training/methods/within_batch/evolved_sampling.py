"""Evolved sampling: images stay with a chance that follows a moving average of their losses, and how it changes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from loaders.order.policy_parts import positive
from loaders.order.scheduler import IndexScheduler
from loaders.types import Batch, EpochPlan, Snapshot
from training.methods.base import Context, Scorer
from training.methods.within_batch.gathering import GatheringMethod, KeepOptions
from training.methods.within_batch.keyed_draws import random_bits, uniforms
from training.methods.within_batch.random_batch import even_fraction
from training.step import batch_ops
from training.step.losses import batch_scores


@dataclass(frozen=True)
class EvolvedSamplingOptions(KeepOptions):
    """how losses are remembered, how many images stay, and how samples are drawn

    Args:
        keep: fraction of the images of a batch that it is trained on; the budget when not given
        beta1: what the average of a sample's losses before counts in its weight, beside its loss
        beta2: what is left of that average when a loss comes in
        prune_ratio: fraction of the samples that an epoch leaves out, by the same weights; 0.2 is ESWP
        anneal: fraction of the budget at the beginning, and at the end, that is trained on whole batches
    """

    beta1: float = 0.2
    beta2: float = 0.9
    prune_ratio: float = 0.0
    anneal: float = 0.05

    def __post_init__(self):
        super().__post_init__()
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is at least 0 and at most 1, got {getattr(self, name):g}")
        if not 0 <= self.prune_ratio < 1:
            raise ValueError(f"prune_ratio is at least 0 and below 1, got {self.prune_ratio:g}")
        if not 0 <= self.anneal < 0.5:
            raise ValueError(f"anneal is at least 0 and below 0.5, got {self.anneal:g}: half would leave no choice")


class EvolvedSampling(GatheringMethod):
    """One forward pass per image for its loss; of each batch a fraction is drawn by weights beta1 s + (1 - beta1) loss,
    s the moving average of the sample's losses before (Cheng, Li and Bian, "Data-efficient training by evolved
    sampling", arXiv 2509.23461)."""

    Options = EvolvedSamplingOptions
    makes_passes = True

    def __init__(self, options: EvolvedSamplingOptions, context: Context):
        super().__init__(options.keep, options.design, context)
        self.options, self.subset = options, context.subset
        first = 1 / context.num_samples
        self.averages = torch.full((context.num_samples,), first, device=context.device)  # s of each sample
        self.weights_seen = torch.full_like(self.averages, first)  # w of each sample, when it was seen last
        self.pruned = dataclasses.replace(
            self.scheduler, policy=self._policy, budget=self.scheduler.budget * (1 - options.prune_ratio)
        )
        self.is_whole = True  # whether the running batch is trained on whole
        self.choices = 0  # batches that were chosen from

    def scheduler_of(self, epoch: int, progress: float) -> IndexScheduler:
        is_pruning = self.options.prune_ratio and not self._is_annealed(progress)
        return self.pruned if is_pruning else self.scheduler

    def _is_annealed(self, progress: float) -> bool:
        return not self.options.anneal <= progress < 1 - self.options.anneal

    def _policy(self, snapshot: Snapshot) -> np.ndarray:
        weights = self.weights_seen.cpu().numpy()
        return positive(weights if self.subset is None else weights[self.subset])

    def select(self, batch: Batch, plan: EpochPlan, index: int, score: Scorer) -> Batch | None:
        self.is_whole = self._is_annealed(score.progress)
        if self.is_whole:
            return batch
        batch, num = batch_ops.own(batch), len(batch.images)
        weights_B = self.see(batch, score(batch))
        draws = uniforms(random_bits(plan, index * self.batch_size, num), self.device)
        self.choices += 1
        positions = draw_without_replacement(weights_B, draws, even_fraction(self.keep_fraction, num, index))
        return self.gather(batch_ops.take(batch, positions))

    def keep(self, batch: Batch, logits_BC: Tensor, losses_B: Tensor) -> Tensor | None:
        if self.is_whole:
            self.see(batch_ops.own(batch), logits_BC)
        return None

    def see(self, batch: Batch, logits_BC: Tensor) -> Tensor:
        """Take in the losses of a batch made by `batch_ops.own`; returns the weights of its images, float32 [B].

        Of a mixed image, each partner's average moves by its fraction of the image, and the weight is the sum over the
        partners of fraction times weight.
        """
        losses = batch_scores(logits_BC, batch).loss
        before = self.averages[batch.ids]
        weights = self.options.beta1 * before + (1 - self.options.beta1) * losses
        moves = (1 - self.options.beta2) * (losses - before)
        shares = torch.ones_like(losses) if batch.mix is None else batch.mix.shares
        self.averages.index_add_(0, batch.ids.reshape(-1), (shares * moves).reshape(-1))
        self.weights_seen[batch.ids.reshape(-1)] = weights.reshape(-1)
        return weights if weights.ndim == 1 else (shares * weights).sum(dim=1)

    def did_not_choose(self) -> str | None:
        if self.choices:
            return None
        return "es trained on whole batches only: the run was over before it began to choose (--anneal)"

    def describe(self) -> dict[str, float]:
        return {"choices": self.choices, "average_loss": self.averages.mean().item()}

    def state_dict(self) -> dict[str, Any]:
        names = ("averages", "weights_seen", "choices")
        return {**super().state_dict(), **{name: getattr(self, name) for name in names}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.averages.copy_(state["averages"])
        self.weights_seen.copy_(state["weights_seen"])
        self.choices = state["choices"]


def draw_without_replacement(weights_B: Tensor, uniforms_B: Tensor, num: int) -> Tensor:
    """`num` positions of 0..B-1, one after another with a chance proportional to the weights of those that are left.

    They are the smallest of E / weight, E exponential (Efraimidis and Spirakis, IPL 2006); the host does not wait.

    Args:
        weights_B: >= 0.
        uniforms_B: float64 in [0, 1), independent.

    Returns:
        int64 [num].
    """
    keys_B = -torch.log1p(-uniforms_B) / weights_B.double().clamp_min(1e-30)
    return keys_B.topk(num, largest=False).indices
