"""Importance sampling by an upper bound of the gradient norm: of several batches one is drawn, and weighted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from loaders.types import Batch, EpochPlan
from training.methods.base import Context, DesignOption, Method, Scorer
from training.methods.within_batch.gathering import all_positions, require_one_process
from training.methods.within_batch.keyed_draws import random_bits, uniforms
from training.step import batch_ops

LOOK_EVERY = 10
"""Steps between two reads of tau by the host, which would otherwise wait for the device in each step."""


@dataclass(frozen=True)
class GradNormOptions(DesignOption):
    """when it begins, and how samples are drawn

    Args:
        presample: images that are scored for each one that is drawn
        tau_threshold: how uneven the gradients must be for drawing to begin, from 1; (presample + 3) / 3 when not given
    """

    presample: int = 3
    tau_threshold: float | None = None

    def __post_init__(self):
        if self.presample < 1:
            raise ValueError(f"presample must be at least 1, got {self.presample}")


class GradNorm(Method):
    """Draw each batch from `presample` scored ones by |softmax - target|, weighted so that the gradient stays unbiased,
    once that pays (Katharopoulos and Fleuret, "Not all samples are created equal", ICML 2018, algorithm 1)."""

    Options = GradNormOptions
    makes_passes = True
    even_epochs = False

    def __init__(self, options: GradNormOptions, context: Context):
        require_one_process(context)
        super().__init__(context.scheduler(design=options.design))
        config = context.config
        self.batch_size, self.device, self.label_smoothing = config.batch_size, context.device, config.label_smoothing
        self.presample = options.presample
        self.threshold = (options.presample + 3) / 3 if options.tau_threshold is None else options.tau_threshold
        self.held: Batch | None = None  # scored images that wait for more
        self.norms: Tensor | None = None  # of these
        self.tau = torch.zeros((), dtype=torch.float64, device=context.device)  # moving average
        self.steps = 0  # updates of tau
        self.draws = 0  # batches that were drawn
        self.is_drawing = False  # whether tau was above the threshold when it was last read

    def select(self, batch: Batch, plan: EpochPlan, index: int, score: Scorer) -> Batch | None:
        if self.held is None and self.steps % LOOK_EVERY == 0:
            self.is_drawing = bool(self.tau > self.threshold)
        if not self.is_drawing:
            return batch
        batch = batch_ops.own(batch)
        norms_B = gradient_norms(score(batch), batch, self.label_smoothing)
        copies = batch_ops.take(batch, all_positions(batch))
        self.norms = norms_B if self.norms is None else torch.cat([self.norms, norms_B])
        self.held = batch_ops.join(self.held, copies)
        if len(self.norms) < self.presample * self.batch_size:
            return None
        draws = uniforms(random_bits(plan, index * self.batch_size, len(batch.images)), norms_B.device)
        chosen = batch_ops.take(self.held, *draw_by_norm(self.norms, draws))
        self._watch(self.norms)
        self.held = self.norms = None
        self.draws += 1
        return chosen

    def keep(self, batch: Batch, logits_BC: Tensor, losses_B: Tensor) -> Tensor | None:
        if not self.is_drawing:
            self._watch(gradient_norms(logits_BC, batch_ops.own(batch), self.label_smoothing))
        return None

    def _watch(self, norms: Tensor) -> None:
        """Moving average: tau <- 0.9 tau + 0.1 tau(norms), which starts at 0."""
        self.tau = 0.9 * self.tau + 0.1 * tau(norms)
        self.steps += 1

    def did_not_choose(self) -> str | None:
        if self.draws:
            return None
        return (
            f"grad-norm never drew: tau, {self.tau.item():.3f} at the end, was never above its threshold "
            f"{self.threshold:g} when it looked (--tau_threshold)"
        )

    def describe(self) -> dict[str, float]:
        return {"tau": self.tau.item(), "is_drawing": int(self.is_drawing), "draws": self.draws}

    def state_dict(self) -> dict[str, Any]:
        names = ("norms", "tau", "steps", "draws", "is_drawing")
        return {"held": batch_ops.to_dict(self.held), **{name: getattr(self, name) for name in names}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.held = batch_ops.from_dict(state["held"], self.device)
        self.norms = None if state["norms"] is None else state["norms"].to(self.device)
        self.tau = state["tau"].to(self.device)
        self.steps, self.draws, self.is_drawing = state["steps"], state["draws"], state["is_drawing"]


def gradient_norms(logits_BC: Tensor, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
    """|softmax - target|_2, float32 [B]: the norm of the loss's gradient at the logits, which bounds that at the
    weights up to a factor (Katharopoulos and Fleuret 2018, section 3.2).

    Args:
        batch: has the labels, as `batch_ops.own` makes them.
    """
    return logit_gradients(logits_BC, batch, label_smoothing).norm(dim=1)


def logit_gradients(logits_BC: Tensor, batch: Batch, label_smoothing: float) -> Tensor:
    """softmax - target, float32 [B, C]: each image's gradient of its loss at the logits.

    The target is that of the loss: one class, the fractions of a mixed image, smoothed.

    Args:
        batch: has the labels, as `batch_ops.own` makes them.
    """
    target_BC = torch.zeros_like(logits_BC, dtype=torch.float32)
    if batch.mix is None:
        target_BC.scatter_(1, batch.labels.unsqueeze(1), 1.0)
    else:
        target_BC.scatter_add_(1, batch.labels, batch.mix.shares)
    target_BC = target_BC * (1 - label_smoothing) + label_smoothing / logits_BC.shape[1]
    return F.softmax(logits_BC.float(), dim=1) - target_BC


def tau(norms_M: Tensor) -> Tensor:
    """sqrt(1 + CV^2), CV the norms' standard deviation over their mean: float64 scalar, at least 1.

    Drawing by these norms makes the gradients' second moment tau^2 times smaller than drawing uniformly does.
    Katharopoulos and Fleuret (2018, section 3.3) write it as 1 / sqrt(1 - |g - u|^2 / |g|^2), g the chances and u the
    uniform ones; that is sqrt(M sum g^2).
    """
    norms_M = norms_M.double()
    return (len(norms_M) * norms_M.square().sum()).sqrt() / norms_M.sum().clamp_min(1e-30)


def draw_by_norm(norms_M: Tensor, uniforms_K: Tensor) -> tuple[Tensor, Tensor]:
    """K draws with replacement with chances g = norms / sum norms, and weights 1 / (M g).

    The weights' expected mean is one, and the mean of weight * f over the draws is unbiased for the mean of f over all
    M (Katharopoulos and Fleuret 2018, section 3.1).

    Args:
        norms_M: >= 0; all zero counts as all equal.
        uniforms_K: float64 in [0, 1), independent.

    Returns:
        positions int64 [K], weights float32 [K].
    """
    norms_M = norms_M.double()
    norms_M = torch.where(norms_M.sum() > 0, norms_M, torch.ones_like(norms_M))
    ends_M = norms_M.cumsum(0)
    positions_K = torch.searchsorted(ends_M, uniforms_K * ends_M[-1], right=True).clamp_max(len(norms_M) - 1)
    return positions_K, (norms_M.mean() / norms_M[positions_K]).float()
