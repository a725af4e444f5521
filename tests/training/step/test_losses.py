"""Losses and scores against closed forms."""

import math

import pytest
import torch

from loaders.scoring import scores as sample_scores
from loaders.types import Mix
from training.step.losses import batch_loss, sample_losses

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5]])
LABELS = torch.tensor([0, 2])
P = torch.softmax(LOGITS.double(), 1)


def test_plain_loss_is_minus_log_p():
    expected = [-math.log(P[0, 0]), math.log(3)]
    assert sample_losses(LOGITS, LABELS).tolist() == pytest.approx(expected, rel=1e-6)


def test_smoothing_spreads_over_all_classes():
    smoothing = 0.2
    target = torch.full((2, 3), smoothing / 3, dtype=torch.float64)
    target[[0, 1], LABELS] += 1 - smoothing
    expected = -(target * P.log()).sum(1)
    assert torch.allclose(sample_losses(LOGITS, LABELS, label_smoothing=smoothing).double(), expected, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("fractions", [[0.7, 0.3], [[0.7, 0.3], [0.5, 0.5]]])
def test_mixed_loss_is_the_sum_weighted_by_the_fractions(smoothing, fractions):
    mix = Mix(torch.tensor([[0, 1], [1, 0]]), torch.tensor(fractions))
    first, second = (sample_losses(LOGITS, LABELS[i], label_smoothing=smoothing) for i in mix.partners.T)
    fraction = mix.shares.expand(2, 2)
    expected = fraction[:, 0] * first + fraction[:, 1] * second
    assert torch.allclose(sample_losses(LOGITS, LABELS, mix, smoothing), expected, atol=1e-6)


def test_weights_multiply_each_sample():
    losses = torch.tensor([1.0, 3.0])
    assert batch_loss(losses) == 2.0
    assert batch_loss(losses, torch.tensor([0.5, 1.5])) == 2.5


def test_scores_against_closed_forms():
    scores = sample_scores(LOGITS, LABELS)
    onehot = torch.nn.functional.one_hot(LABELS, 3)
    assert torch.allclose(scores.error.double(), 1 - P[[0, 1], LABELS], atol=1e-6)
    assert torch.allclose(scores.loss.double(), -P[[0, 1], LABELS].log(), atol=1e-6)
    assert torch.allclose(scores.el2n.double(), (P - onehot).norm(dim=1), atol=1e-6)


def test_scores_of_partners_and_of_low_precision_are_float32():
    partners = torch.tensor([[0, 2], [2, 1]])
    scores = sample_scores(LOGITS.bfloat16(), partners)
    for column in (0, 1):
        single = sample_scores(LOGITS.bfloat16(), partners[:, column])
        assert all(torch.equal(a[:, column], b) for a, b in zip(scores, single, strict=True))
    assert {score.dtype for score in scores} == {torch.float32}


def test_scores_of_certain_predictions_are_finite():
    scores = sample_scores(torch.tensor([[200.0, -200.0], [-200.0, 200.0]]), torch.tensor([0, 0]))
    assert scores.error.tolist() == [0.0, 1.0]
    assert scores.loss.tolist() == [0.0, 400.0]
    assert scores.el2n.tolist() == pytest.approx([0.0, math.sqrt(2)])
