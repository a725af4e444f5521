"""RHO-LOSS: of each batch, the images that the network gets more wrong than one that was trained on other data."""

from __future__ import annotations

import torch
from torch import Tensor

from loaders.types import Batch, EpochPlan
from training.machine.commands import command
from training.methods.base import Context, Scorer
from training.methods.within_batch.gathering import GatheringMethod, KeepOptions
from training.methods.within_batch.random_batch import even_fraction
from training.step import batch_ops
from training.step.losses import batch_scores


class RHOLoss(GatheringMethod):
    """One forward pass per image; those with the largest loss less that of a reference network stay (Mindermann et al.,
    "Prioritized training on points that are learnable, worth learning, and not yet learnt", ICML 2022). Needs
    --coreset, a file that `python -m training.coreset --method rho` made."""

    Options = KeepOptions
    makes_passes = True

    def __init__(self, options: KeepOptions, context: Context):
        if context.reference_losses is None:
            raise ValueError(
                "method rho-loss needs the losses of a reference network: make them with "
                f"`{command('coreset', '--method', 'rho')}`, and give that file as --coreset"
            )
        super().__init__(options.keep, options.design, context)
        self.reference = torch.zeros(context.num_samples, device=context.device)
        ids = slice(None) if context.subset is None else torch.from_numpy(context.subset)
        self.reference[ids] = torch.from_numpy(context.reference_losses).to(context.device)

    def select(self, batch: Batch, plan: EpochPlan, index: int, score: Scorer) -> Batch | None:
        batch = batch_ops.own(batch)
        reducible_B = reducible_losses(score(batch), batch, self.reference)
        positions = reducible_B.topk(even_fraction(self.keep_fraction, len(batch.images), index)).indices
        return self.gather(batch_ops.take(batch, positions))


def reducible_losses(logits_BC: Tensor, batch: Batch, reference_N: Tensor) -> Tensor:
    """Loss less the reference loss of the same sample, float32 [B]: what the network may still learn of it
    (Mindermann et al. 2022, equation 3).

    Of a mixed image it is the sum over the partners of fraction times theirs.

    Args:
        batch: has labels and ids, as `batch_ops.own` makes them.
        reference_N: of each sample.
    """
    reducible = batch_scores(logits_BC, batch).loss - reference_N[batch.ids]
    return reducible if batch.mix is None else (batch.mix.shares * reducible).sum(dim=1)
