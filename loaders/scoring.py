"""The scores of a batch from the logits that training computed anyway."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .types import Scores


@torch.no_grad()
def scores(logits: Tensor, labels: Tensor) -> Scores:
    """Score the samples of a batch, in float32 and without a gradient; `ImportanceTable.record` takes the result.

        table.record(ids, loaders.scores(logits, labels))

    Args:
        logits: [B, C], any float type.
        labels: int64 [B]; or int64 [B, P], the labels of the partners of a mixed batch, for
            `ImportanceTable.record_mixed`.

    Returns:
        of the shape of `labels`: error = 1 - p(label), loss = -log p(label), and el2n = |p - onehot(label)|_2 (Paul et
        al., "Deep learning on a data diet", NeurIPS 2021).

    Raises:
        ValueError: the shapes do not fit, or the labels are no integers.
    """
    if logits.ndim != 2 or labels.ndim not in (1, 2) or len(labels) != len(logits) or labels.is_floating_point():
        raise ValueError(
            "scores(logits, labels) takes logits [B, C] and whole labels [B] or [B, P], got shapes "
            f"{tuple(logits.shape)} and {tuple(labels.shape)}, the labels {labels.dtype}"
        )
    labels_BP = labels if labels.ndim == 2 else labels.unsqueeze(1)
    log_p_BC = F.log_softmax(logits.float(), dim=1)
    p_BC = log_p_BC.exp()
    loss_BP = -log_p_BC.gather(1, labels_BP)
    p_true_BP = p_BC.gather(1, labels_BP)
    # |p - onehot|^2 = sum p^2 - p_true^2 + (1 - p_true)^2, the difference taken in the form that cannot go negative.
    others_BP = ((p_BC * p_BC).sum(dim=1, keepdim=True) - p_true_BP * p_true_BP).clamp_min(0)
    el2n_BP = (others_BP + (1 - p_true_BP) ** 2).sqrt()
    return Scores(*(value.reshape(labels.shape) for value in (1 - p_true_BP, loss_BP, el2n_BP)))
