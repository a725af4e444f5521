"""Choosing within a batch, as mathematics: from the scores of some images to the positions that are trained on.

Pure functions of scores and of random numbers that are handed in. Must not know how scores come about, nor what happens
to what is chosen. On a GPU none but `keep_by_loss` makes the host wait.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from loaders.backends.transfer import sent
from loaders.order.rng import CHOICE, fold_in, hash_array
from loaders.order.rounding import floor_fraction
from loaders.types import Batch, EpochPlan

HISTORY = 1024
"""Losses that selective backprop remembers (Jiang et al. 2019, and their code)."""


def random_bits(plan: EpochPlan, first: int, num: int) -> np.ndarray:
    """uint64 [num]: the random bits of positions first..first+num-1 of a rank's plan.

    A pure function of the plan's key and the place in the global plan, so where an epoch is taken up again, or how many
    images were chosen before, changes nothing.
    """
    positions = plan.rank + plan.world_size * np.arange(first, first + num, dtype=np.int64)
    return hash_array(fold_in(plan.key, CHOICE), positions)


def uniforms(bits: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """float64 in [0, 1) out of 64 random bits each."""
    return sent(torch.from_numpy((bits >> np.uint64(11)) * 2.0**-53), torch.device(device))


def percentiles(losses_B: Tensor, history_H: Tensor, strict: bool = False) -> Tensor:
    """The share of remembered losses that lie below each loss, float64 [B].

    Args:
        strict: count the smaller ones only, as the code of Jiang et al. (2019) does. By default an equal one counts
            half: for losses without ties that is half a place more, and losses that are all equal are kept at chance
            (1/2)^beta and not never.
    """
    ordered = history_H.sort().values
    below = torch.searchsorted(ordered, losses_B)
    upto = below if strict else torch.searchsorted(ordered, losses_B, right=True)
    return (below + upto).double() / (2 * len(history_H))


def keep_by_loss(losses_B: Tensor, history_H: Tensor, beta: float, uniforms_B: Tensor, strict: bool = False) -> Tensor:
    """Selective backprop (Jiang et al. 2019, section 3): each image stays with chance percentile^beta.

    Percentiles of losses are uniform in [0, 1], so in the mean 1 / (beta + 1) of the images stay. The host waits for
    their number: what follows has that shape.

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


def num_largest(batch_size: int, accuracy: float) -> int:
    """q by the training accuracy, a share from 0 to 1: the rule of Kawaguchi and Lu ("Ordered SGD", AISTATS 2020)."""
    halvings = {0.8: 2, 0.9: 4, 0.95: 8, 0.995: 16}
    return max(1, batch_size // max((d for threshold, d in halvings.items() if accuracy >= threshold), default=1))


def largest(losses_B: Tensor, q: int) -> Tensor:
    """The positions of the q largest losses, int64 [q]."""
    return losses_B.topk(q).indices


def gradient_norms(logits_BC: Tensor, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
    """|softmax - target|_2, float32 [B]: the norm of the loss's gradient at the logits, which bounds that at the
    weights up to a factor (Katharopoulos and Fleuret, ICML 2018, section 3.2). The target is that of the loss: onehot,
    shares of a mixed image, smoothed.

    Args:
        batch: has the labels, as `images.own` makes them.
    """
    target_BC = torch.zeros_like(logits_BC, dtype=torch.float32)
    if batch.mix is None:
        target_BC.scatter_(1, batch.labels.unsqueeze(1), 1.0)
    else:
        target_BC.scatter_add_(1, batch.labels, batch.mix.shares)
    target_BC = target_BC * (1 - label_smoothing) + label_smoothing / logits_BC.shape[1]
    return (F.softmax(logits_BC.float(), dim=1) - target_BC).norm(dim=1)


def tau(norms_M: Tensor) -> Tensor:
    """sqrt(1 + CV^2), CV the norms' standard deviation over their mean: float64 scalar, at least 1. Drawing by these
    norms makes the gradients' second moment tau^2 times smaller than drawing uniformly does.

    Katharopoulos and Fleuret (2018, section 3.3) write it as 1 / sqrt(1 - |g - u|^2 / |g|^2), g the chances and u the
    uniform ones; that is sqrt(M sum g^2).
    """
    norms_M = norms_M.double()
    return (len(norms_M) * norms_M.square().sum()).sqrt() / norms_M.sum().clamp_min(1e-30)


def draw_by_norm(norms_M: Tensor, uniforms_K: Tensor) -> tuple[Tensor, Tensor]:
    """K draws with replacement with chances g = norms / sum norms, and weights 1 / (M g): their expected mean is one,
    and the mean of weight * f over the draws is unbiased for the mean of f over all M (Katharopoulos and Fleuret 2018).

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


def random_subset(bits_B: np.ndarray, num: int) -> np.ndarray:
    """`num` positions out of 0..B-1, each subset equally likely: those of the smallest bits; int64, ascending."""
    return np.sort(np.argsort(bits_B)[:num])


def even_fraction(share: float, batch_size: int, index: int) -> int:
    """How many of batch `index` (0, 1, ...) make floor(share * images) in all so far."""
    so_far, before = (floor_fraction(batch_size * k, share) for k in (index + 1, index))
    return so_far - before
