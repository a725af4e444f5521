"""Scores of samples by a small network: pure functions of its outputs, and a count of forgetting events.

Every score is larger the harder the sample is.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from loaders.scoring import scores


class Answer(NamedTuple):
    """Outputs of a network for a batch.

    Attributes:
        logits: float32 [B, C].
        labels: int64 [B].
        features: float [B, F], what its last layer is given.
        has_bias: whether the last layer adds one.
    """

    logits: Tensor
    labels: Tensor
    features: Tensor
    has_bias: bool


def loss(answer: Answer) -> Tensor:
    """Cross-entropy, float32 [B]: of a network trained on other samples, what nobody can learn of this one (the
    irreducible loss of Mindermann et al., "Prioritized training on points that are learnable, worth learning, and not
    yet learnt", ICML 2022)."""
    return scores(answer.logits, answer.labels).loss


def el2n(answer: Answer) -> Tensor:
    """EL2N, |softmax - onehot|_2 (Paul et al., "Deep Learning on a Data Diet", NeurIPS 2021): float32 [B]."""
    return scores(answer.logits, answer.labels).el2n


def grand(answer: Answer) -> Tensor:
    """GraNd at the last layer: the norm of the loss's gradient by its matrix and bias, float32 [B].

    |softmax - onehot|_2 * sqrt(|h|^2 + 1), h being the features; without the 1 where the layer has no bias, and up to a
    factor that the network puts on its logits. Paul et al. (2021) define it over all parameters, which takes a backward
    pass per sample.
    """
    return el2n(answer) * (answer.features.float().square().sum(dim=1) + answer.has_bias).sqrt()


def entropy(answer: Answer) -> Tensor:
    """Entropy of the softmax in nats, float32 [B] (Coleman et al., "Selection via Proxy", ICLR 2020, section 2)."""
    log_p_BC = torch.log_softmax(answer.logits, dim=1)
    return -(log_p_BC.exp() * log_p_BC).sum(dim=1)


def margin(answer: Answer) -> Tensor:
    """One less the lead of the likeliest class over the second, in probability: float32 [B], from 0 to 1."""
    first_B, second_B = torch.softmax(answer.logits, dim=1).topk(2, dim=1).values.unbind(1)
    return 1 - (first_B - second_B)


def gradients(answer: Answer) -> Tensor:
    """The loss's gradient by the logits, softmax - onehot: float32 [B, C]."""
    return torch.softmax(answer.logits, dim=1) - F.one_hot(answer.labels, answer.logits.shape[1])


class ForgettingCounts:
    """How often each sample was classified right at one presentation and wrong at the next, while training goes on.

    Toneva et al., "An Empirical Study of Example Forgetting", ICLR 2019. A sample counts as wrong before its first
    presentation. No host synchronisation in `see`.

    Args:
        num_samples: N.
        device: where the logits are.
    """

    def __init__(self, num_samples: int, device: str | torch.device = "cpu"):
        self._is_right = torch.zeros(num_samples, dtype=torch.bool, device=device)
        self._was_learned = torch.zeros_like(self._is_right)
        self._forgotten = torch.zeros(num_samples, dtype=torch.int64, device=device)

    def see(self, ids_B: Tensor, is_right_B: Tensor) -> None:
        """Take in one batch, in the order of training; `ids_B` int64 without repeats, `is_right_B` bool."""
        self._forgotten[ids_B] += self._is_right[ids_B] & ~is_right_B
        self._is_right[ids_B] = is_right_B
        self._was_learned[ids_B] |= is_right_B

    def counts(self, never_learned: int) -> Tensor:
        """int64 [N] on the CPU; `never_learned` for a sample that was wrong at all presentations."""
        return torch.where(self._was_learned, self._forgotten, never_learned).cpu()
