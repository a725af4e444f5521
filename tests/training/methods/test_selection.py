"""The mathematics of choosing within a batch, against NumPy, autograd and Monte Carlo."""

import numpy as np
import pytest
import torch

from loaders.types import Batch, EpochPlan, Mix
from training.losses import batch_loss, sample_losses
from training.methods import selection
from training.methods.selection import (
    HISTORY,
    draw_by_norm,
    even_fraction,
    gradient_norms,
    keep_by_loss,
    largest,
    num_largest,
    percentiles,
    random_bits,
    random_subset,
    remember,
    tau,
    uniforms,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def exponentials(rng: np.random.Generator, size: int) -> torch.Tensor:
    return torch.from_numpy(rng.exponential(size=size).astype(np.float32))


def test_percentiles_against_numpy(rng):
    history = torch.from_numpy(rng.integers(0, 30, 200).astype(np.float32))  # with ties
    losses = torch.cat([history[:20], torch.tensor([-1.0, 99.0, 7.5])])
    below = (history.numpy() < losses.numpy()[:, None]).mean(1)
    equal = (history.numpy() == losses.numpy()[:, None]).mean(1)
    assert percentiles(losses, history, strict=True).numpy() == pytest.approx(below)
    assert percentiles(losses, history).numpy() == pytest.approx(below + equal / 2)


@pytest.mark.parametrize("keep", [0.5, 0.3, 0.2])
def test_selective_backprop_keeps_the_budgets_share_and_prefers_large_losses(rng, keep):
    beta, history, kept, num, chosen, all_losses = 1 / keep - 1, torch.zeros(0), 0, 0, [], []
    for _ in range(400):
        losses = exponentials(rng, 64)
        history = remember(history, losses)
        if len(history) == HISTORY:
            positions = keep_by_loss(losses, history, beta, torch.from_numpy(rng.random(64)))
            kept, num = kept + len(positions), num + 64
            chosen.append(losses[positions])
            all_losses.append(losses)
    assert len(history) == HISTORY
    error = 4 * np.sqrt(keep * (1 - keep) / num)
    assert abs(kept / num - keep) < error
    # The chance to stay is percentile^beta, so the k-th moment of the chosen ones' percentiles is known.
    ranks = torch.searchsorted(torch.cat(all_losses).sort().values, torch.cat(chosen)).double() / num
    assert ranks.mean().item() == pytest.approx((beta + 1) / (beta + 2), abs=0.01)


def test_equal_losses_are_kept_by_half_a_chance_and_never_in_the_reference(rng):
    losses, draws = torch.ones(4000), torch.from_numpy(rng.random(4000))
    kept = keep_by_loss(losses, torch.ones(HISTORY), 3.0, draws)
    assert len(kept) / 4000 == pytest.approx(1 / 8, abs=0.02)
    assert len(keep_by_loss(losses, torch.ones(HISTORY), 3.0, draws, strict=True)) == 0


def test_num_largest_by_training_accuracy():
    steps = [(0.0, 64), (0.799, 64), (0.8, 32), (0.899, 32), (0.9, 16), (0.95, 8), (0.994, 8), (0.995, 4), (1.0, 4)]
    assert [num_largest(64, accuracy) for accuracy, _ in steps] == [q for _, q in steps]
    assert num_largest(8, 1.0) == 1


def test_largest():
    assert set(largest(torch.tensor([0.5, 3.0, 0.1, 2.0]), 2).tolist()) == {1, 3}


def test_tau_is_both_its_forms(rng):
    norms = exponentials(rng, 500)
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


def test_random_subsets_are_distinct_and_each_position_is_as_likely():
    counts = np.zeros(20)
    for key in range(3000):
        chosen = random_subset(random_bits(EpochPlan(np.arange(20), key=key), 0, 20), 6)
        assert len(set(chosen.tolist())) == 6
        assert (np.diff(chosen) > 0).all()
        counts[chosen] += 1
    assert counts == pytest.approx(np.full(20, 900), abs=5 * np.sqrt(3000 * 0.3 * 0.7))


@pytest.mark.parametrize(("share", "size"), [(0.3, 128), (0.1, 7), (1.0, 5), (0.01, 10)])
def test_shares_of_batches_add_up(share, size):
    parts = [even_fraction(share, size, index) for index in range(1000)]
    assert sum(parts) == int(share * size * 1000 + 1e-6)
    assert max(parts) - min(parts) <= 1


def test_draws_are_keyed_by_the_place_in_the_global_plan():
    plan = EpochPlan(np.arange(40), key=5)
    whole = random_bits(plan, 0, 40)
    assert np.array_equal(random_bits(plan, 12, 8), whole[12:20])
    assert np.array_equal(random_bits(plan.shard(1, 2), 4, 6), whole[9:21:2])
    assert not np.isin(random_bits(EpochPlan(np.arange(40), key=6), 0, 40), whole).any()
    draws = uniforms(whole).numpy()
    assert (draws >= 0).all()
    assert (draws < 1).all()


def test_selection_reads_no_global_generator():
    before = torch.get_rng_state()
    selection.random_bits(EpochPlan(np.arange(4), key=1), 0, 4)
    draw_by_norm(torch.ones(4), uniforms(np.arange(4, dtype=np.uint64)))
    assert torch.equal(torch.get_rng_state(), before)
