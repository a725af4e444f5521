"""Drawing by gradient norms: the norms, when it pays, that it is unbiased, and what a run with it pays."""

import numpy as np
import pytest
import torch

from loaders.types import Batch, EpochPlan, Mix
from tests.training.methods.toy import (
    BATCH_SIZE,
    IMAGES,
    LABELS,
    NUM,
    check_counts,
    made,
    make_run,
    train,
    visits,
)
from training.loop import train_epoch
from training.machine.distributed import Ranks
from training.methods.within_batch.grad_norm import LOOK_EVERY, draw_by_norm, gradient_norms, tau
from training.step.losses import batch_loss, sample_losses


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_tau_is_both_its_forms(rng):
    norms = torch.from_numpy(rng.exponential(size=500).astype(np.float32))
    n = norms.double().numpy()
    assert tau(norms).item() == pytest.approx(np.sqrt(1 + (n.std() / n.mean()) ** 2), rel=1e-9)
    g, u = n / n.sum(), np.full(500, 1 / 500)
    published = 1 / np.sqrt(1 - ((g - u) ** 2).sum() / (g**2).sum())
    assert tau(norms).item() == pytest.approx(published, rel=1e-6)
    assert tau(torch.full((7,), 0.3)).item() == pytest.approx(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("is_mixed", [False, True])
def test_gradient_norms_are_those_of_autograd(rng, smoothing, is_mixed):
    logits = torch.from_numpy(rng.normal(size=(5, 4)).astype(np.float32)).requires_grad_()
    labels, mix = torch.tensor([0, 1, 3, 3, 2]), None
    if is_mixed:
        labels = torch.tensor([[0, 1], [1, 1], [3, 0], [3, 2], [2, 3]])
        mix = Mix(None, torch.tensor([[0.7, 0.3]]).expand(5, 2))
    losses = sample_losses(logits, labels, mix, smoothing)
    gradient = torch.autograd.grad(losses.sum(), logits)[0]
    batch = Batch(torch.zeros(5, 3, 8, 8), labels, labels, None, mix)
    assert torch.allclose(gradient_norms(logits.detach(), batch, smoothing), gradient.norm(dim=1), atol=1e-6)


def test_drawing_by_norm_is_unbiased_and_less_noisy_than_drawing_uniformly(rng):
    """The mean of the weighted batch gradients is the gradient of all, within its standard error."""
    num, size, trials = 90, 30, 2000
    inputs = torch.from_numpy(rng.normal(size=(num, 6)).astype(np.float32))
    weight = torch.from_numpy(rng.normal(size=(6, 3)).astype(np.float32) * 2).requires_grad_()
    labels = (inputs @ weight).argmax(1)
    labels[:8] = (labels[:8] + 1) % 3  # a few that the network gets wrong
    losses = sample_losses(inputs @ weight, labels)
    each = torch.stack([torch.autograd.grad(loss, weight, retain_graph=True)[0].flatten() for loss in losses]).double()
    norms = gradient_norms((inputs @ weight).detach(), Batch(inputs, labels, labels))
    assert tau(norms) > 1.5
    estimates, plain = [], []
    for _ in range(trials):
        positions, w = draw_by_norm(norms, torch.from_numpy(rng.random(size)))
        estimates.append((each[positions] * w[:, None]).mean(0))
        plain.append(each[rng.integers(0, num, size)].mean(0))
    estimates, plain = torch.stack(estimates), torch.stack(plain)
    error = estimates.std(0) / trials**0.5
    assert ((estimates.mean(0) - each.mean(0)).abs() < 4.5 * error).all()
    assert estimates.var(0).sum() < 0.6 * plain.var(0).sum()


def test_a_weighted_batch_loss_has_the_estimated_gradient():
    norms = torch.tensor([1.0, 3.0, 0.0])
    positions, weights = draw_by_norm(norms, torch.tensor([0.0, 0.2, 0.3, 0.999], dtype=torch.float64))
    assert positions.tolist() == [0, 0, 1, 1]
    assert weights.tolist() == pytest.approx([4 / 3, 4 / 3, 4 / 9, 4 / 9])
    assert (norms[:2] / 4 * weights[1:3]).tolist() == pytest.approx([1 / 3] * 2), "chance times weight is 1 / M for all"
    assert batch_loss(torch.tensor([1.0, 1.0, 3.0, 3.0]), weights).item() == pytest.approx(4 / 3)
    positions, weights = draw_by_norm(torch.zeros(4), torch.tensor([0.1, 0.3, 0.6, 0.9], dtype=torch.float64))
    assert (positions.tolist(), weights.tolist()) == ([0, 1, 2, 3], [1.0] * 4)


def test_a_run_trains_plainly_until_gradients_differ_and_then_scores_three_for_one():
    plain = make_run("grad-norm", lr=0.2, tau_threshold=1e9)
    train(plain, 2)
    check_counts(plain)
    ledger = plain.ledger
    assert (ledger.steps, ledger.samples, ledger.forward_samples) == (120, 2 * NUM, 2 * NUM)
    assert plain.method.tau.item() > 1
    run = make_run("grad-norm", lr=0.2, tau_threshold=0.5)
    train(run, 2)
    check_counts(run)
    assert run.method.is_drawing
    steps = LOOK_EVERY  # tau is above 0.5 by then, as it is at least 1 - 0.9^10
    drawn = (120 - steps) // 3
    assert run.ledger.steps == steps + drawn
    assert run.model.passes == {True: BATCH_SIZE * (steps + drawn), False: BATCH_SIZE * (120 - steps)}
    assert len(run.method.norms) == BATCH_SIZE * ((120 - steps) % 3)
    told = run.method.describe()
    assert told == {"tau": run.method.tau.item(), "is_drawing": 1, "draws": drawn}


def test_as_long_as_nothing_is_drawn_the_run_is_that_of_uniform():
    chosen, uniform = make_run("grad-norm", lr=0.2, tau_threshold=1e9), make_run("uniform", lr=0.2)
    for run in (chosen, uniform):
        train(run)
    assert torch.equal(chosen.model.linear.weight, uniform.model.linear.weight)
    assert np.array_equal(visits(chosen), visits(uniform))


def test_drawing_stops_when_gradients_are_alike():
    run = make_run("grad-norm", lr=0.0, tau_threshold=1.5)
    run.method.tau += 9
    train(run, 3)
    assert not run.method.is_drawing
    assert run.model.passes[False] > 0
    assert 1 <= run.method.tau.item() < 1.5


def test_weights_make_the_step_unbiased():
    """Over many keys, the mean of the drawn batches' gradients is that of the three candidate batches."""
    run, gradients = make_run("grad-norm", lr=0.0), []
    model, ids = run.model, np.random.default_rng(0).permutation(NUM)[: 3 * BATCH_SIZE]
    with torch.no_grad():
        model.linear.weight.mul_(4)
    losses = sample_losses(model(IMAGES[ids]), LABELS[ids])
    full = torch.autograd.grad(losses.mean(), model.linear.weight)[0]
    for key in range(500):
        run.batch, run.plan, run.method = 0, EpochPlan(ids, key=key), made("grad-norm", NUM, batch_size=BATCH_SIZE)
        run.method.tau += 9
        for _ in train_epoch(run):
            pass
        assert run.ledger.steps == key + 1
        gradients.append(model.linear.weight.grad.clone())
    gradients = torch.stack(gradients).double()
    assert ((gradients.mean(0) - full).abs() < 4.5 * gradients.std(0) / len(gradients) ** 0.5).all()


def test_options():
    assert made("grad-norm").threshold == 2
    assert made("grad-norm", presample=6).threshold == 3
    assert made("grad-norm", presample=6, tau_threshold=1.5).threshold == 1.5
    assert len(made("grad-norm").plan(0)) == 60
    with pytest.raises(ValueError, match="presample must be at least 1, got 0"):
        made("grad-norm", presample=0)
    with pytest.raises(ValueError, match="in one process: start it without torchrun"):
        made("grad-norm", ranks=Ranks(0, 2))
