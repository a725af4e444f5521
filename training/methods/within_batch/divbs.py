"""DivBS: of each batch, a diverse subset of images whose gradients span that of the whole batch."""

from __future__ import annotations

import torch
from torch import Tensor

from loaders.types import Batch, EpochPlan
from training.methods.base import Context, Scorer
from training.methods.within_batch.gathering import GatheringMethod, KeepOptions
from training.methods.within_batch.grad_norm import logit_gradients
from training.methods.within_batch.keyed_draws import random_bits, uniforms
from training.methods.within_batch.random_batch import even_fraction
from training.step import batch_ops

EXPLAINED = 1e-9
"""Fraction of the batch's gradient below which a remainder counts as rounding error."""


class DivBS(GatheringMethod):
    """One forward pass per image for its last-layer gradient; images are drawn one after another by how much
    each explains of the batch's gradient that those before do not (Hong et al., "Diversified batch selection for
    training acceleration", ICML 2024)."""

    Options = KeepOptions
    makes_passes = True

    def __init__(self, options: KeepOptions, context: Context):
        super().__init__(options.keep, options.design, context)
        self.label_smoothing = context.config.label_smoothing

    def select(self, batch: Batch, plan: EpochPlan, index: int, score: Scorer) -> Batch | None:
        batch, num = batch_ops.own(batch), len(batch.images)
        logits_BC, features_BD = score.with_features(batch)
        gram_BB = gram(logit_gradients(logits_BC, batch, self.label_smoothing), features_BD)
        draws = uniforms(random_bits(plan, index * self.batch_size, num), self.device)
        positions = draw_diverse(gram_BB, draws, even_fraction(self.keep_fraction, num, index))
        return self.gather(batch_ops.take(batch, positions))


def gram(errors_BC: Tensor, features_BD: Tensor) -> Tensor:
    """Inner products of the images' gradients at the weights of the last layer, float64 [B, B].

    A gradient is the outer product of the one at the logits and the features, so that nothing of size C * D is made.
    """
    errors_BC, features_BD = errors_BC.double(), features_BD.double()
    return (errors_BC @ errors_BC.T) * (features_BD @ features_BD.T)


def draw_diverse(gram_BB: Tensor, uniforms_B: Tensor, num: int) -> Tensor:
    """`num` positions of 0..B-1, each drawn with a chance proportional to |<g, r>|, g its gradient; the host does not
    wait.

    r is the mean gradient of the batch less its projection on the gradients of the positions that were drawn before
    (Hong et al. 2024, section 4; as their code, which draws where a greedy algorithm would take the largest). Where
    nothing of r is left, the rest is drawn uniformly.

    Args:
        gram_BB: inner products of the gradients, float64.
        uniforms_B: float64 in [0, 1), independent.

    Returns:
        int64 [num], all different.
    """
    shared_B = gram_BB.mean(dim=1)  # <g, r> of each image
    nothing = EXPLAINED * shared_B.abs().sum()
    basis_BK = gram_BB.new_zeros(len(gram_BB), num)  # <g, q>, q the orthonormalised gradients drawn so far
    is_left_B = torch.ones_like(shared_B)
    drawn = []
    for k in range(num):
        chances_B = shared_B.abs() * is_left_B
        ends_B = torch.where(chances_B.sum() > nothing, chances_B, is_left_B).cumsum(0)
        place = torch.searchsorted(ends_B, uniforms_B[k : k + 1] * ends_B[-1] * (1 - 1e-12), right=True)
        rest_B = gram_BB.index_select(1, place)[:, 0] - basis_BK[:, :k] @ basis_BK.index_select(0, place)[0, :k]
        square, tiny = rest_B[place], EXPLAINED * gram_BB[place, place]
        is_new = square > tiny
        basis_BK[:, k] = torch.where(is_new, rest_B / square.clamp_min(1e-300).sqrt(), 0.0)
        shared_B = shared_B - torch.where(is_new, rest_B * (shared_B[place] / square.clamp_min(1e-300)), 0.0)
        is_left_B = is_left_B.index_fill(0, place, 0.0)
        drawn.append(place)
    return torch.cat(drawn) if drawn else torch.zeros(0, dtype=torch.int64, device=gram_BB.device)
