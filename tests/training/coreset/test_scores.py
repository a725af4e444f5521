"""Scores of a proxy against their definitions: autograd, NumPy, and a plain count of forgetting events."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from training.coreset.options import Options
from training.coreset.scores import Answer, ForgettingCounts, el2n, entropy, gradients, grand, margin
from training.methods import make_method
from training.methods.base import Context
from training.models.build import build_model

NUM_CLASSES = 5


@pytest.fixture
def answer():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(40, NUM_CLASSES, generator=generator) * 3
    labels = torch.randint(NUM_CLASSES, (40,), generator=generator)
    return Answer(logits, labels, torch.randn(40, 7, generator=generator), has_bias=True)


def softmax(answer: Answer) -> np.ndarray:
    powers = np.exp(answer.logits.double().numpy())
    return powers / powers.sum(axis=1, keepdims=True)


def test_el2n_entropy_margin_and_gradients_are_their_formulae(answer):
    p = softmax(answer)
    residual = p - np.eye(NUM_CLASSES)[answer.labels]
    ordered = np.sort(p, axis=1)
    for got, expected in (
        (gradients(answer), residual),
        (el2n(answer), np.sqrt((residual**2).sum(axis=1))),
        (entropy(answer), -(p * np.log(p)).sum(axis=1)),
        (margin(answer), 1 - (ordered[:, -1] - ordered[:, -2])),
    ):
        assert got.dtype == torch.float32
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_certain_answers_have_finite_scores():
    sure = Answer(torch.tensor([[200.0, -200.0, 0.0]]), torch.tensor([0]), torch.zeros(1, 2), has_bias=False)
    for score in (el2n, grand, entropy, margin):
        assert score(sure).tolist() == [0.0]


@pytest.mark.parametrize("name", ["resnet8", "rebarnet"])
def test_grand_is_the_norm_of_autograds_gradient_at_the_last_layer(name):
    generator = torch.Generator().manual_seed(2)
    model = build_model(name, NUM_CLASSES, generator=generator, width=0.125).eval()
    images, labels = torch.randn(6, 3, 16, 16, generator=generator), torch.arange(6) % NUM_CLASSES
    given = {}
    model.head.register_forward_pre_hook(lambda head, inputs: given.update(features=inputs[0].detach()))
    logits = model(images)
    got = grand(Answer(logits.detach(), labels, given["features"], model.head.bias is not None))
    expected = []
    for loss in F.cross_entropy(logits, labels, reduction="none"):
        parts = torch.autograd.grad(loss, [*model.head.parameters()], retain_graph=True)
        expected.append(torch.cat([part.flatten() for part in parts]).norm() / getattr(model, "logit_scale", 1))
    torch.testing.assert_close(got, torch.stack(expected), rtol=1e-4, atol=1e-6)


def plain_counts(presentations: list[tuple[int, bool]], num_samples: int, never_learned: int) -> list[int]:
    """Toneva's definition, a sample at a time."""
    histories = [[right for sample, right in presentations if sample == i] for i in range(num_samples)]
    return [
        sum(a and not b for a, b in itertools.pairwise(history)) if any(history) else never_learned
        for history in histories
    ]


def test_forgetting_of_a_sequence_made_by_hand():
    #                 epoch 1            epoch 2             epoch 3             epoch 4 leaves out sample 3
    sequence = [[1, 0, 1, 0, 1], [0, 0, 1, 0, 1], [1, 1, 1, 0, 0], [0, 0, 1, None, 1]]
    counts = ForgettingCounts(5)
    for row in sequence:
        for batch in ([0, 1], [2, 3], [4]):
            shown = [sample for sample in batch if row[sample] is not None]
            counts.see(torch.tensor(shown, dtype=torch.int64), torch.tensor([bool(row[sample]) for sample in shown]))
    assert counts.counts(never_learned=9).tolist() == [2, 1, 0, 9, 1]


def test_a_proxy_sees_no_sample_twice_in_an_epoch():
    """Which is what counting events needs, also where the training set is no multiple of the batch."""
    config = Options("forgetting", batch_size=250).proxy(0)
    method = make_method(Context(config, 600))
    for epoch in range(3):
        ids = method.plan(epoch).ids
        assert len(ids) == len({*ids.tolist()}) == 500


def test_forgetting_agrees_with_a_plain_count():
    random = np.random.Generator(np.random.Philox(3))
    counts, presentations = ForgettingCounts(50), []
    for _ in range(30):
        ids = random.permutation(50)[:20]
        right = random.random(20) < ids / 60  # the first samples are hardly ever right
        counts.see(torch.from_numpy(ids), torch.from_numpy(right))
        presentations += zip(ids.tolist(), right.tolist(), strict=True)
    got = counts.counts(never_learned=30).tolist()
    assert got == plain_counts(presentations, 50, 30)
    assert got[0] == 30
    assert len({*got}) > 3
