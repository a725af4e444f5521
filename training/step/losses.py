"""The loss of a batch and the scores of its samples: pure functions of logits."""

import torch
import torch.nn.functional as F
from torch import Tensor

from loaders.scoring import scores
from loaders.types import Batch, Mix, Scores


class LossFailure(ValueError):
    """Training has diverged or cannot go on: a result of the run, not a mistake in its settings."""


def sample_losses(logits_BC: Tensor, labels_B: Tensor, mix: Mix | None = None, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy per sample, float32 [B].

    With a smoothing of s the target is 1 - s on the label plus s / C on each class. In a mixed batch it is the sum over
    partners of their fraction * cross-entropy with the partner's label.

    Args:
        labels_B: int64 [B]; or [B, P], of mixed images that have left the batch of their partners.
    """
    logits_BC = logits_BC.float()
    if mix is None:
        return F.cross_entropy(logits_BC, labels_B, reduction="none", label_smoothing=label_smoothing)
    targets_BP = labels_B if mix.partners is None else labels_B[mix.partners]
    log_p_BC = F.log_softmax(logits_BC, dim=1)
    smooth_B = log_p_BC.mean(dim=1)
    true_B = (log_p_BC.gather(1, targets_BP) * mix.shares).sum(dim=1)
    return -(1 - label_smoothing) * true_B - label_smoothing * smooth_B


def batch_loss(losses_B: Tensor, weights_B: Tensor | None = None) -> Tensor:
    """Mean over the batch, each sample times its importance weight (whose expected mean is one): float32 scalar."""
    return (losses_B if weights_B is None else losses_B * weights_B).mean()


@torch.no_grad()
def batch_scores(logits_BC: Tensor, batch: Batch, own_labels: bool = False) -> Scores:
    """Scores of what training saw.

    Args:
        own_labels: score a mixed image as if it were the sample at its place in the batch (`compat="arazo"`): in
            mixup the first of the two, in RICAP as a rule none of the four. Images that have left their batch are
            scored by their partners in any case.

    Returns:
        float32 [B], or [B, P] per partner of a mixed batch.
    """
    partners_BP = None if batch.mix is None or own_labels else batch.mix.partners
    return scores(logits_BC, batch.labels if partners_BP is None else batch.labels[partners_BP])
